//! On what a step's result rests, as parts that can be named and as one hash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::ExperimentError;
use super::graph::{Graph, Step, leaves};
use super::value::canonical;
use crate::error::{Cancelled, Result};
use crate::event::CancelFlag;
use crate::storage::hash::{HashCache, sha256_bytes, sha256_input};

/// Writer of fingerprints: the version, and that of what they cover, raised when that changes.
const WRITER: &str = concat!(env!("CARGO_PKG_VERSION"), " (fingerprints 2)");

/// Stands for the hash of a file that was not found.
pub(crate) const MISSING: &str = "missing";

/// Parts by name, `setting:...`, `input:...`, `step:...` and `version`, and the hash of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Parts by name.
    pub parts: BTreeMap<String, String>,
    /// SHA-256 of the canonical JSON of the parts.
    pub digest: String,
}

impl Fingerprint {
    /// The parts that differ from those of an earlier run, in words; empty when none do.
    #[must_use]
    pub fn changes(&self, earlier: &BTreeMap<String, String>) -> Vec<String> {
        let mut by_kind: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let names = self.parts.keys().chain(earlier.keys().filter(|name| !self.parts.contains_key(*name)));
        for name in names.filter(|name| self.parts.get(*name) != earlier.get(*name)) {
            let (kind, name) = name.split_once(':').unwrap_or((name.as_str(), ""));
            by_kind.entry(kind).or_default().push(name);
        }
        // What the user changed stands before what follows from it.
        let words = [
            ("setting", "settings changed"),
            ("input", "input changed"),
            ("version", "billon changed"),
            ("step", "dependency changed"),
        ];
        words
            .iter()
            .filter_map(|(kind, said)| {
                let names = by_kind.get(kind)?;
                if *kind == "version" {
                    let old = earlier.get("version").map_or("unknown", String::as_str);
                    return Some(format!("{said}: {old} to {WRITER}"));
                }
                let (shown, more) = names.split_at(names.len().min(3));
                let rest = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
                Some(format!("{said}: {}{rest}", shown.join(", ")))
            })
            .collect()
    }
}

/// The fingerprints of all steps, in their order.
///
/// # Errors
/// A file that is there and can't be read; `Cancelled`.
pub(crate) fn fingerprints(graph: &Graph, cache: &mut HashCache, cancel: &CancelFlag) -> Result<Vec<Fingerprint>> {
    let mut hashes: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut found: Vec<Fingerprint> = Vec::new();
    for step in &graph.steps {
        let mut parts = BTreeMap::from([("version".to_owned(), WRITER.to_owned())]);
        for (name, value) in leaves(&step.settings) {
            parts.insert(format!("setting:{name}"), value);
        }
        for input in &step.inputs {
            let hash = match &input.path {
                Some(path) => file_hash(path, &mut hashes, cache, cancel)?,
                None => MISSING.to_owned(),
            };
            parts.insert(format!("input:{}", input.label), hash);
        }
        for need in &step.needs {
            let position = graph.steps.iter().position(|other| other.name == *need);
            let digest = position.and_then(|at| found.get(at)).map_or(MISSING, |print| &print.digest);
            parts.insert(format!("step:{need}"), digest.to_owned());
        }
        let digest = digest(step, &parts);
        found.push(Fingerprint { parts, digest });
    }
    Ok(found)
}

fn digest(step: &Step, parts: &BTreeMap<String, String>) -> String {
    let value = serde_json::json!({"step": step.name, "parts": parts});
    sha256_bytes(canonical(&value).as_bytes())
}

fn file_hash(
    path: &Path,
    hashes: &mut BTreeMap<PathBuf, String>,
    cache: &mut HashCache,
    cancel: &CancelFlag,
) -> Result<String> {
    if let Some(hash) = hashes.get(path) {
        return Ok(hash.clone());
    }
    let hash = sha256_input(path, cache, cancel)
        .map_err(|source| ExperimentError::Read { path: path.to_owned(), source })?
        .ok_or(Cancelled)?;
    hashes.insert(path.to_owned(), hash.clone());
    Ok(hash)
}
