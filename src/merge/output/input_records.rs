//! Records of a merge's inputs for the lock.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::files::{FileRecord, copied_files};
use crate::error::Result;
use crate::event::Progress;
use crate::merge::execute::input_digests::InputDigests;
use crate::merge::plan::MergePlan;
use crate::merge::plan::options::MergeOptions;
use crate::storage::hash::{Digest, HashAlgorithm};
use crate::storage::publish::WriteError;

/// Records of input files, by model and file name.
pub(crate) type InputRecords = BTreeMap<String, BTreeMap<String, FileRecord>>;

/// Input files of every model, by the model's reference and the file's name.
///
/// # Errors
/// When a directory cannot be listed.
pub(crate) fn input_files(
    plans: &[MergePlan],
    options: &MergeOptions,
) -> Result<BTreeMap<(String, String), PathBuf>, WriteError> {
    let mut files: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
    for plan in plans {
        let copied = copied_files(plan, options)?;
        for (i, model) in plan.models.iter().enumerate() {
            if model.dir.is_none() {
                continue;
            }
            let donated = copied.iter().filter(|_| i == plan.donor);
            for path in model.input_files().iter().chain(donated) {
                let name = path.file_name().expect("an input file has a name").to_string_lossy().into_owned();
                files.insert((model.reference.to_string(), name), path.clone());
            }
        }
    }
    Ok(files)
}

/// The lock's records of files, all of which have a digest.
pub(crate) fn records(
    files: BTreeMap<(String, String), PathBuf>,
    digests: &BTreeMap<PathBuf, (u64, Digest)>,
) -> InputRecords {
    let mut records = InputRecords::new();
    for ((model, name), path) in files {
        let (bytes, digest) = digests.get(&path).expect("every file of the list was hashed").clone();
        records.entry(model).or_default().insert(name, FileRecord { bytes, digest: Some(digest) });
    }
    records
}

/// SHA-256 of every file of every model, before anything is merged; remembered ones of unchanged files are taken over.
///
/// # Errors
/// Read errors, or [`crate::error::Cancelled`].
pub(crate) fn hash_inputs(plans: &[MergePlan], options: &MergeOptions, progress: Progress<'_>) -> Result<InputRecords> {
    let files = input_files(plans, options)?;
    let digests = InputDigests::begin(files.values().cloned(), HashAlgorithm::Sha256, progress)?;
    Ok(records(files, &digests.finish(options.workers, progress)?))
}
