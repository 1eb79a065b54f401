//! `billon verify`: does a directory still hold what its lock says, and do its inputs give it again?

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::adapted::ModelAdapter;
use super::executor::compute_tensors;
use super::lock::{LOCK_FILE, Lock};
use super::output::{CompanionOptions, FileRecord, copied_files};
use super::plan::{MergePlan, PlanOptions};
use super::sources::{Model, Resolver};
use super::stages::plan_recipe;
use crate::backend::Backend;
use crate::checkpoint::hash::sha256_file;
use crate::error::{Cancelled, Diagnose, Error, ErrorKind, Result};
use crate::event::Progress;
use crate::recipe::ModelReference;
use crate::rng::stream_key;

/// What to check.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Tensors to derive again; all when there are fewer.
    pub sample: usize,
    /// Worker threads.
    pub threads: usize,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    /// The directory.
    pub output: PathBuf,
    /// Output files whose hash is right.
    pub files_verified: usize,
    /// Files without a hash in the lock; only their size was checked.
    pub files_without_hash: Vec<String>,
    /// Files in the directory that the lock does not know.
    pub unknown_files: Vec<String>,
    /// Input files whose hash is right.
    pub inputs_verified: usize,
    /// Why tensors were not derived again, if they were not.
    pub not_derived: Option<String>,
    /// Tensors derived again and found equal.
    pub tensors_derived: Vec<String>,
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

/// Something in the directory is not what the lock says.
#[derive(Debug, thiserror::Error)]
#[error("{} does not match its lock: {}", output.display(), problems.join("; "))]
pub struct VerifyError {
    /// The directory.
    pub output: PathBuf,
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

impl Diagnose for VerifyError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Verification
    }
}

/// Checks a directory against its lock. Problems are in the report, not errors.
///
/// # Errors
/// A missing or unreadable lock, read errors, cancellation.
pub fn verify(
    output: &Path,
    options: VerifyOptions,
    backend: &dyn Backend,
    progress: Progress<'_>,
) -> Result<VerifyReport> {
    let lock = Lock::read(output)?;
    let mut report = VerifyReport { output: output.to_owned(), ..VerifyReport::default() };
    check_files(output, &lock, &mut report, progress)?;
    match derive(output, &lock, options, backend, &mut report, progress) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        // The inputs need not be at hand; the hashes above stand on their own.
        Err(error) => report.not_derived = Some(error.chain().join(": ")),
    }
    Ok(report)
}

fn check_files(output: &Path, lock: &Lock, report: &mut VerifyReport, progress: Progress<'_>) -> Result<()> {
    for (name, record) in &lock.outputs {
        match check_file(&output.join(name), record, progress)? {
            Check::Right => report.files_verified += 1,
            Check::NoHash => report.files_without_hash.push(name.clone()),
            Check::Wrong(problem) => report.problems.push(format!("`{name}` {problem}")),
        }
    }
    let known: BTreeSet<&str> = lock.outputs.keys().map(String::as_str).chain([LOCK_FILE]).collect();
    if let Ok(entries) = std::fs::read_dir(output) {
        let names = entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()));
        report.unknown_files = names.filter(|n| !known.contains(n.as_str())).collect();
        report.unknown_files.sort();
    }
    Ok(())
}

enum Check {
    Right,
    NoHash,
    Wrong(String),
}

fn check_file(path: &Path, record: &FileRecord, progress: Progress<'_>) -> Result<Check> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(Check::Wrong("is missing".to_owned())) };
    if metadata.len() != record.bytes {
        return Ok(Check::Wrong(format!("has {} bytes instead of {}", metadata.len(), record.bytes)));
    }
    let Some(expected) = &record.sha256 else { return Ok(Check::NoHash) };
    match sha256_file(path, progress.cancel) {
        Ok(Some(found)) if found == *expected => Ok(Check::Right),
        Ok(Some(found)) => Ok(Check::Wrong(format!("has SHA-256 {found} instead of {expected}"))),
        Ok(None) => Err(Cancelled.into()),
        Err(error) => Ok(Check::Wrong(format!("cannot be read: {error}"))),
    }
}

/// Plans the locked recipe again and compares a sample of tensors byte for byte.
fn derive(
    output: &Path,
    lock: &Lock,
    options: VerifyOptions,
    backend: &dyn Backend,
    report: &mut VerifyReport,
    progress: Progress<'_>,
) -> Result<()> {
    if lock.stages.len() > 1 {
        report.not_derived = Some("the recipe has several stages; merge it again to compare".to_owned());
        return Ok(());
    }
    let plan_options = PlanOptions {
        seed: lock.seed,
        max_shard_bytes: lock.options.max_shard_bytes,
        trim_scope: match lock.options.trim_scope.as_deref() {
            Some("model") => Some("model"),
            Some("tensor") => Some("tensor"),
            _ => None,
        },
        lenient: lock.options.lenient,
        allow_crimes: lock.options.allow_crimes,
        truncate_embeddings: lock.options.truncate_embeddings,
    };
    let planned = plan_recipe(Path::new(LOCK_FILE), &lock.recipe, &Resolver::from_environment(), &plan_options)?;
    let Some(plan) = planned.plans.into_iter().next() else { return Ok(()) };
    if !check_inputs(&plan, lock, report, progress)? {
        return Ok(());
    }
    let stored = Model::open(ModelReference::directory(&output.display().to_string()), output)?;
    let chosen = choose(&plan, lock.seed, options.sample);
    let mut found = BTreeMap::new();
    compute_tensors(&plan, backend, &chosen, options.threads, progress, |tensor, bytes| {
        let name = &plan.outputs[tensor].name;
        let same = stored.tensors.get(name).is_some_and(|t| stored.bytes(t) == bytes);
        found.insert(name.clone(), same);
    })?;
    for (name, same) in found {
        if same {
            report.tensors_derived.push(name);
        } else {
            report.problems.push(format!("tensor `{name}` is not what its inputs give"));
        }
    }
    Ok(())
}

/// Whether the inputs are those of the lock. Inputs that are here but different are problems.
fn check_inputs(plan: &MergePlan, lock: &Lock, report: &mut VerifyReport, progress: Progress<'_>) -> Result<bool> {
    if lock.inputs.is_empty() {
        return Ok(true);
    }
    let mut same = true;
    let copied = copied_files(plan, CompanionOptions { copy_tokenizer: true, model_card: false });
    for (i, model) in plan.models.iter().enumerate() {
        let Some(dir) = &model.dir else { continue };
        let reference = model.reference.to_string();
        let mut adapter = model.adapter.iter().flat_map(ModelAdapter::input_files).collect::<Vec<_>>();
        adapter.extend(copied.iter().filter(|_| i == plan.donor).cloned());
        for (name, record) in lock.inputs.get(&reference).into_iter().flatten() {
            let own = adapter.iter().find(|path| path.file_name().is_some_and(|file| file == name.as_str()));
            let path = own.cloned().unwrap_or_else(|| dir.root().join(name));
            match check_file(&path, record, progress)? {
                Check::Right => report.inputs_verified += 1,
                Check::NoHash => {}
                Check::Wrong(problem) => {
                    same = false;
                    report.not_derived = Some(format!("input `{reference}/{name}` {problem}"));
                }
            }
        }
    }
    Ok(same)
}

/// A sample that depends on nothing but the seed and the names.
fn choose(plan: &MergePlan, seed: u64, sample: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..plan.outputs.len()).collect();
    order.sort_by_key(|&i| stream_key(seed, &["verify", &plan.outputs[i].name]));
    order.truncate(sample);
    order
}

/// The report as an error when something is wrong.
///
/// # Errors
/// [`VerifyError`] listing the problems.
pub fn require_clean(report: &VerifyReport) -> Result<()> {
    if report.problems.is_empty() {
        return Ok(());
    }
    Err(Error::from(VerifyError { output: report.output.clone(), problems: report.problems.clone() }))
}
