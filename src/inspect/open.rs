//! From a model reference on the command line to an opened model.

use std::path::Path;

use crate::checkpoint::CheckpointError;
use crate::error::{Diagnose, ErrorKind};
use crate::hub::HubError;
use crate::merge::plan::sources::{Model, Resolver};
use crate::recipe::ModelReference;

/// Reasons why a model can't be inspected.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum OpenError {
    #[error("`{text}` is not a model reference: {message}")]
    Reference { text: String, message: String },
    #[error("model `{text}` names a LoRA adapter; checkpoints are looked at as they are stored")]
    Adapter { text: String },
    #[error(transparent)]
    NotFound(#[from] HubError),
    #[error("cannot open model `{text}`")]
    Checkpoint { text: String, source: Box<CheckpointError> },
}

impl Diagnose for OpenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Reference { .. } => ErrorKind::Usage,
            Self::Adapter { .. } => ErrorKind::Input,
            Self::NotFound(error) => error.kind(),
            Self::Checkpoint { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Reference { .. } => {
                vec!["give a directory, or org/name[@revision] of the Hugging Face cache".to_owned()]
            }
            Self::Adapter { .. } => {
                vec!["merge the adapter into its base first (`billon adapter bake`) and name the result".to_owned()]
            }
            Self::NotFound(error) => error.hints(),
            Self::Checkpoint { source, .. } => source.hints(),
        }
    }
}

/// Opens the model that `text` names: a directory, or `org/name[@revision]` of the Hugging Face
/// cache.
///
/// # Errors
/// An [`OpenError`].
pub(crate) fn open(text: &str, resolver: &Resolver) -> Result<Model, OpenError> {
    // A directory may have any character in its name.
    let whole_is_directory = Path::new(text).is_dir();
    let reference = if whole_is_directory {
        ModelReference::directory(text)
    } else {
        ModelReference::parse(text).map_err(|message| OpenError::Reference { text: text.to_owned(), message })?
    };
    let root = resolver.directory(&reference)?;
    if reference.adapter.is_some() {
        return Err(OpenError::Adapter { text: text.to_owned() });
    }
    Model::open(reference, &root)
        .map_err(|source| OpenError::Checkpoint { text: text.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_distinguished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let resolver = Resolver::default();
        assert!(matches!(open("a@b@c", &resolver), Err(OpenError::Reference { .. })));
        assert!(matches!(open("no/model", &resolver), Err(OpenError::NotFound(_))));
        assert!(matches!(open(&format!("{path}+lora"), &resolver), Err(OpenError::Adapter { .. })));
        assert!(matches!(open(path, &resolver), Err(OpenError::Checkpoint { .. })));
        let odd = dir.path().join("a@b@c");
        std::fs::create_dir(&odd).unwrap();
        assert!(matches!(open(odd.to_str().unwrap(), &resolver), Err(OpenError::Checkpoint { .. })));
    }
}
