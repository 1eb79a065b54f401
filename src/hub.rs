//! From a model reference to a directory: local paths, then the standard Hugging Face cache.
//! Nothing is downloaded.

use std::path::{Path, PathBuf};

use crate::error::{Diagnose, ErrorKind};

/// Reasons why a model reference can't be resolved.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum HubError {
    #[error("model `{reference}` was not found; looked in {}", list(places))]
    NotFound { reference: String, places: Vec<PathBuf> },
    #[error("model `{reference}` names a revision, but `{path}` is a local directory, which has none")]
    LocalRevision { reference: String, path: String },
    #[error("model `{reference}` has no revision `{revision}` in {}", repository.display())]
    NoRevision { reference: String, revision: String, repository: PathBuf },
}

fn list(places: &[PathBuf]) -> String {
    places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Diagnose for HubError {
    /// The command names what is not there.
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        if matches!(self, Self::LocalRevision { .. }) {
            return vec!["remove the `@...`".to_owned()];
        }
        if matches!(self, Self::NotFound { reference, .. } if reference.contains('+')) {
            return vec![
                "`MODEL+ADAPTER` is a model of merge recipes and of `eval`; elsewhere give the model alone".to_owned(),
            ];
        }
        vec![
            "billon does not download: fetch the model first (for example with `hf download`), give a local \
             directory, or set HF_HOME or HF_HUB_CACHE to where it is"
                .to_owned(),
        ]
    }
}

/// Directory of the Hugging Face cache: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME/hub`,
/// `XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub`; first one set wins.
#[must_use]
pub(crate) fn cache_dir() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("HF_HUB_CACHE")
        .or_else(|| var("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| var("HF_HOME").map(|d| d.join("hub")))
        .or_else(|| var("XDG_CACHE_HOME").map(|d| d.join("huggingface/hub")))
        .or_else(|| var("HOME").map(|d| d.join(".cache/huggingface/hub")))
}

/// The directory of a model: `path` itself when it exists, else the snapshot of a cached
/// repository `org/name` at `revision` (default `main`).
///
/// # Errors
/// [`HubError`] saying where it looked.
pub(crate) fn resolve(path: &str, revision: Option<&str>, cache: Option<&Path>) -> Result<PathBuf, HubError> {
    let local = PathBuf::from(path);
    if local.is_dir() && revision.is_none() {
        return Ok(local);
    }
    let reference = revision.map_or_else(|| path.to_owned(), |r| format!("{path}@{r}"));
    let is_local = local.is_dir();
    let mut places = vec![local];
    if let (Some(cache), true) = (cache, is_repository_id(path)) {
        let repository = cache.join(format!("models--{}", path.replace('/', "--")));
        if repository.is_dir() {
            let wanted = revision.unwrap_or("main");
            return snapshot(&repository, wanted).ok_or(HubError::NoRevision {
                reference,
                revision: wanted.to_owned(),
                repository,
            });
        }
        places.push(repository);
    }
    if is_local {
        return Err(HubError::LocalRevision { reference, path: path.to_owned() });
    }
    Err(HubError::NotFound { reference, places })
}

/// `name` or `org/name`, made of the characters repositories may have.
#[must_use]
pub(crate) fn is_repository_id(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let valid = |part: &&str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    parts.len() <= 2 && parts.iter().all(valid)
}

/// The snapshot of a branch, tag, full or abbreviated commit.
fn snapshot(repository: &Path, revision: &str) -> Option<PathBuf> {
    let snapshots = repository.join("snapshots");
    // Branches may contain slashes but must stay inside `refs`.
    let plain = Path::new(revision).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if !plain {
        return None;
    }
    if let Ok(commit) =
        crate::storage::input::read_text(&repository.join("refs").join(revision), crate::storage::input::SETTINGS_BYTES)
    {
        let path = snapshots.join(commit.trim());
        if path.is_dir() {
            return Some(path);
        }
    }
    let exact = snapshots.join(revision);
    if exact.is_dir() {
        return Some(exact);
    }
    let mut matches = std::fs::read_dir(&snapshots)
        .ok()?
        .filter_map(Result::ok)
        .filter(|e| revision.len() >= 7 && e.file_name().to_string_lossy().starts_with(revision));
    let first = matches.next()?;
    matches.next().is_none().then(|| first.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_local_paths_branches_and_commits() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path();
        let repository = cache.join("models--acme--tiny");
        let commit = "0123456789abcdef";
        std::fs::create_dir_all(repository.join("snapshots").join(commit)).unwrap();
        std::fs::create_dir_all(repository.join("refs")).unwrap();
        std::fs::write(repository.join("refs/main"), commit).unwrap();
        let expected = repository.join("snapshots").join(commit);
        for revision in [None, Some("main"), Some(commit), Some("0123456")] {
            assert_eq!(resolve("acme/tiny", revision, Some(cache)).unwrap(), expected);
        }
        assert!(matches!(resolve("acme/tiny", Some("v2"), Some(cache)), Err(HubError::NoRevision { .. })));
        assert!(matches!(resolve("acme/tiny", Some("../../x"), Some(cache)), Err(HubError::NoRevision { .. })));
        let local = cache.to_str().unwrap();
        assert_eq!(resolve(local, None, None).unwrap(), cache);
        assert!(matches!(resolve(local, Some("v1"), None), Err(HubError::LocalRevision { .. })));
        let error = resolve("acme/other", None, Some(cache)).unwrap_err().to_string();
        assert!(error.contains("models--acme--other"), "{error}");
    }
}
