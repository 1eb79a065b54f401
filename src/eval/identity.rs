//! Identity of a model: all that its answers depend on besides the question; a part of the cache key.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::error::{Cancelled, Diagnose, ErrorKind, Result};
use crate::event::CancelFlag;
use crate::storage::hash::{HashCache, sha256_bytes, sha256_input};
use crate::storage::stated;

/// Raised when the decoder's or the engine's arithmetic changes: answers of older versions are then
/// not used any more.
const ARITHMETIC: u32 = 1;

/// Everything that decides an answer apart from the request. Two models that differ in any of it
/// never share a remembered answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelIdentity {
    /// Name and SHA-256 of every weight file and of `config.json`, or the server's URL and model.
    pub weights: Vec<(String, String)>,
    /// SHA-256 of each adapter's files, with its weight.
    pub adapters: Vec<(String, String)>,
    /// SHA-256 of the tokenizer.
    pub tokenizer: Option<String>,
    /// SHA-256 of the chat template, where one was applied.
    pub chat_template: Option<String>,
    /// Storage type of the weights in memory.
    pub precision: String,
}

/// A file of the model could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {} to identify the model", path.display())]
pub(crate) struct IdentityError {
    path: std::path::PathBuf,
    source: std::io::Error,
}

impl Diagnose for IdentityError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Io
    }
}

impl ModelIdentity {
    /// One hash of everything, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> String {
        let Self { weights, adapters, tokenizer, chat_template, precision } = self;
        // Strings are quoted, so no two identities have one text.
        let text = format!(
            "{ARITHMETIC} ModelIdentity {{ weights: {}, adapters: {}, tokenizer: {}, chat_template: {}, precision: {} }}",
            stated::pairs(weights),
            stated::pairs(adapters),
            stated::optional(tokenizer.as_deref().map(stated::quoted)),
            stated::optional(chat_template.as_deref().map(stated::quoted)),
            stated::quoted(precision),
        );
        sha256_bytes(text.as_bytes())
    }

    /// One hash of what is computed with: weights, adapters with their weights, storage type. Equal
    /// hashes stand for equal models, so it leaves out nothing but tokenizer and template.
    #[must_use]
    pub fn weights_digest(&self) -> String {
        let mut text = format!("{} {}\n", self.precision, stated::pairs(&self.adapters));
        for (name, hash) in &self.weights {
            let _ = writeln!(text, "{hash}  {name}");
        }
        sha256_bytes(text.as_bytes())
    }
}

/// Names and SHA-256 of the files in `dir` whose names `wanted` accepts, in order of name. Hashes
/// of unchanged files are remembered between runs.
///
/// # Errors
/// A file that can't be read, or [`Cancelled`].
pub(crate) fn file_hashes(
    dir: &Path,
    wanted: impl Fn(&str) -> bool,
    cache: &mut HashCache,
    cancel: &CancelFlag,
) -> Result<Vec<(String, String)>> {
    let failed = |path: &Path, source| IdentityError { path: path.into(), source };
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .map_err(|source| failed(dir, source))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| wanted(name))
        .collect();
    names.sort();
    let mut hashes = Vec::with_capacity(names.len());
    for name in names {
        let path = dir.join(&name);
        let hash = sha256_input(&path, cache, cancel).map_err(|source| failed(&path, source))?.ok_or(Cancelled)?;
        hashes.push((name, hash));
    }
    Ok(hashes)
}

/// Whether a file of a model directory decides what the decoder computes.
#[must_use]
pub(crate) fn is_model_file(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "safetensors")
        || ["config.json", "generation_config.json", "model.safetensors.index.json", "adapter_config.json"]
            .contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let base = ModelIdentity {
            weights: vec![("model.safetensors".into(), "a".into())],
            adapters: Vec::new(),
            tokenizer: Some("t".into()),
            chat_template: None,
            precision: "f32".into(),
        };
        // The key that version 0.1 used.
        assert_eq!(base.digest(), sha256_bytes(format!("{ARITHMETIC} {base:?}").as_bytes()));
        let changes: [fn(&mut ModelIdentity); 6] = [
            |i| i.weights[0].1 = "b".into(),
            |i| i.adapters.push(("x".into(), "1".into())),
            |i| i.adapters.push(("x".into(), "0.5".into())),
            |i| i.tokenizer = None,
            |i| i.chat_template = Some("c".into()),
            |i| i.precision = "bf16".into(),
        ];
        let mut digests: Vec<String> = changes
            .iter()
            .map(|change| {
                let mut changed = base.clone();
                change(&mut changed);
                changed.digest()
            })
            .collect();
        digests.push(base.digest());
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), changes.len() + 1);
    }
}
