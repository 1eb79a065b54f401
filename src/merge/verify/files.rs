//! The files of an output against its lock: hashes of what is listed, and whether all is listed that ought to be.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use super::VerifyReport;
use crate::error::{Cancelled, Result};
use crate::event::Progress;
use crate::merge::output::files::FileRecord;
use crate::merge::output::lock::{LOCK_FILE, Lock};
use crate::parallel::Pool;
use crate::storage::file_digests::digest;

/// Extensions of files that loaders read: weights, code, templates, vocabularies.
const LOADED_EXTENSIONS: &[&str] = &[
    "safetensors",
    "bin",
    "pt",
    "pth",
    "ckpt",
    "gguf",
    "ggml",
    "h5",
    "msgpack",
    "onnx",
    "npz",
    "pkl",
    "jinja",
    "jinja2",
    "py",
    "so",
    "model",
    "tiktoken",
    "vocab",
    "bpe",
    "spm",
];

/// Parts of the names of JSON and text files that loaders read.
const LOADED_NAMES: &[&str] = &[
    "config",
    "tokenizer",
    "vocab",
    "merges",
    "added_tokens",
    "special_tokens",
    "template",
    "adapter",
    "index",
    "modules",
    "params",
    "normalizer",
    "processor",
    "dict",
];

/// Folders below an output that are looked into.
const DEPTH: usize = 3;

pub(super) fn check(
    output: &Path,
    lock: &Lock,
    pool: &Pool,
    report: &mut VerifyReport,
    progress: Progress<'_>,
) -> Result<()> {
    let weights = |name: &str| name.ends_with(".safetensors");
    if !lock.outputs.keys().any(|name| weights(name)) {
        report.problems.push("the lock lists no weights".to_owned());
    }
    let hashed = is_hashed(lock);
    for (name, record) in &lock.outputs {
        if !is_plain_name(name) {
            report.problems.push(format!("the lock lists {name:?}, which is no name of a file in the output"));
            continue;
        }
        match check_file(&output.join(name), record, pool, progress)? {
            Check::Right => report.files_verified += 1,
            // `--no-hash` leaves out those of the weights, and of all of them.
            Check::NoHash if weights(name) && !hashed => report.files_without_hash.push(name.clone()),
            Check::NoHash => report.problems.push(format!("`{name}` has no hash in the lock")),
            Check::Wrong(problem) => report.problems.push(format!("`{name}` {problem}")),
        }
    }
    let known: BTreeSet<&str> = lock.outputs.keys().map(String::as_str).chain([LOCK_FILE]).collect();
    let mut unknown = BTreeSet::new();
    list(output, "", DEPTH, &mut unknown);
    for name in unknown.into_iter().filter(|name| !known.contains(name.as_str())) {
        if is_loaded(&name) {
            report.problems.push(format!("`{name}` is not in the lock, and loaders read such files"));
        } else {
            report.unknown_files.push(name);
        }
    }
    Ok(())
}

/// Whether the lock was written with hashes of inputs and weights.
pub(super) fn is_hashed(lock: &Lock) -> bool {
    lock.outputs.iter().any(|(name, record)| name.ends_with(".safetensors") && record.digest.is_some())
}

/// One component that names an entry of a directory.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(only)), None) if only == name)
        && !name.contains('\0')
}

/// Names of all files, relative to the output; folders deeper than `depth` and hidden ones by their own name.
fn list(directory: &Path, prefix: &str, depth: usize, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if folder && depth > 0 && !name.starts_with('.') {
            list(&entry.path(), &format!("{path}/"), depth - 1, names);
        } else {
            names.insert(path);
        }
    }
}

/// Whether a loader of models would read a file of this name.
fn is_loaded(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    if path.starts_with('.') || name.starts_with('.') {
        return false;
    }
    match name.rsplit_once('.') {
        Some((_, extension)) if LOADED_EXTENSIONS.contains(&extension) => true,
        Some((stem, "json" | "txt" | "yaml" | "yml")) => LOADED_NAMES.iter().any(|part| stem.contains(part)),
        _ => false,
    }
}

pub(super) enum Check {
    Right,
    NoHash,
    Wrong(String),
}

pub(super) fn check_file(path: &Path, record: &FileRecord, pool: &Pool, progress: Progress<'_>) -> Result<Check> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(Check::Wrong("is missing".to_owned())) };
    if !metadata.is_file() {
        return Ok(Check::Wrong("is no regular file".to_owned()));
    }
    if metadata.len() != record.bytes {
        return Ok(Check::Wrong(format!("has {} bytes instead of {}", metadata.len(), record.bytes)));
    }
    let Some(expected) = &record.digest else { return Ok(Check::NoHash) };
    match digest(pool, path, expected.algorithm, progress.cancel) {
        Ok(Some(found)) if found == *expected => Ok(Check::Right),
        Ok(Some(found)) => Ok(Check::Wrong(format!("has {found} instead of {}", expected.hex))),
        Ok(None) => Err(Cancelled.into()),
        Err(error) => Ok(Check::Wrong(format!("cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_lock_is_one_component() {
        for name in ["model.safetensors", "a b.json", ".hidden"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["../x", "/etc/passwd", "a/b", "", ".", "..", "a/", "./a", "a/../b"] {
            assert!(!is_plain_name(name), "{name}");
        }
    }

    #[test]
    fn what_loaders_read_is_told_from_notes_and_results() {
        for name in [
            "adapter_config.json",
            "adapter_model.safetensors",
            "chat_template.jinja",
            "model-00002.safetensors",
            "modeling_x.py",
            "tokenizer.model",
            "pytorch_model.bin",
            "vocab.txt",
            "additional_chat_templates/x.jinja",
            "1_Pooling/config.json",
            "generation_config.json",
        ] {
            assert!(is_loaded(name), "{name}");
        }
        for name in ["NOTES.md", "LICENSE", "results_2026.json", "loss.png", ".gitattributes", "samples_fpb.jsonl"] {
            assert!(!is_loaded(name), "{name}");
        }
    }
}
