//! The locked recipe planned again: resolved stages, config and copied files, and a sample of the tensors.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::{Check, check_file, is_hashed};
use super::{VerifyOptions, VerifyReport};
use crate::compute::merge::MergeKernels;
use crate::error::Result;
use crate::event::Progress;
use crate::merge::execute::executor::compute_tensors;
use crate::merge::methods::{Reduction, Sparsify};
use crate::merge::output::files::{companions, copied_files};
use crate::merge::output::input_records::input_files;
use crate::merge::output::lock::{LOCK_FILE, Lock, MASKS, locked_stage};
use crate::merge::plan::MergePlan;
use crate::merge::plan::options::MergeOptions;
use crate::merge::plan::sources::{Model, Resolver};
use crate::merge::stages::{PlannedRecipe, plan_recipe};
use crate::parallel::Pool;
use crate::recipe::{ModelReference, RecipeFile};
use crate::rng::stream_key;

/// The card says which version wrote it, and a stage what that version knew.
fn is_of_this_version(lock: &Lock) -> bool {
    lock.billon_version == env!("CARGO_PKG_VERSION")
}

/// Plans the locked recipe again and compares what it gives with what is there.
pub(super) fn derive(
    output: &Path,
    lock: &Lock,
    options: VerifyOptions,
    backend: &dyn MergeKernels,
    pool: &Pool,
    report: &mut VerifyReport,
    progress: Progress<'_>,
) -> Result<()> {
    let recorded = MergeOptions {
        // What was refused would not have been written; the plan is only compared here.
        allow_mismatch: true,
        allow_non_finite: true,
        ..lock.options.merge_options(lock.seed, options.workers)
    };
    let file = RecipeFile::parse(Path::new(LOCK_FILE), &lock.recipe, recorded.lenient);
    let planned = plan_recipe(&file, &Resolver::from_environment(), &recorded)?;
    let plan = planned.plans.last().expect("a recipe without documents is refused");
    let recorded = with_companions(recorded, lock, plan)?;
    if !check_inputs(&planned, &recorded, lock, pool, report, progress)? {
        return Ok(());
    }
    check_stages(&planned, lock, report);
    check_companions(output, plan, lock, &recorded, report)?;
    if planned.plans.len() > 1 {
        report.not_derived = Some("the recipe has several stages; merge it again to compare".to_owned());
        return Ok(());
    }
    if lock.masks != MASKS && plan.jobs.iter().any(draws_masks) {
        let reason = "its random masks are those of an earlier version, which keyed them by the text of the recipe";
        report.not_derived = Some(reason.to_owned());
        return Ok(());
    }
    let stored = Model::open(ModelReference::directory(&output.display().to_string()), output)?;
    let chosen = choose(plan, lock.seed, options.sample);
    let mut found = BTreeMap::new();
    compute_tensors(plan, backend, &chosen, options.workers, progress, |tensor, bytes| {
        let expected = &plan.outputs[tensor];
        let same = stored
            .tensors
            .get(&expected.name)
            .is_some_and(|t| t.dtype == expected.dtype && t.shape == expected.shape && stored.bytes(t) == bytes);
        found.insert(expected.name.clone(), same);
    })?;
    for (name, same) in found {
        if same {
            report.tensors_derived.push(name);
        } else {
            report.problems.push(format!("tensor `{name}` is not what its inputs give"));
        }
    }
    for name in stored.tensors.keys().filter(|name| !plan.outputs.iter().any(|output| output.name == **name)) {
        report.problems.push(format!("tensor `{name}` is in the output, and its inputs give no such tensor"));
    }
    Ok(())
}

/// The options with what was written besides the weights. A lock of before does not say: then what it lists tells.
fn with_companions(options: MergeOptions, lock: &Lock, plan: &MergePlan) -> Result<MergeOptions> {
    let copied = copied_files(plan, &MergeOptions { copy_tokenizer: true, ..options.clone() })?;
    let mut names = copied.iter().filter_map(|path| path.file_name());
    let listed = names.any(|name| lock.outputs.contains_key(&*name.to_string_lossy()));
    Ok(MergeOptions {
        copy_tokenizer: lock.options.copy_tokenizer.unwrap_or(listed),
        model_card: lock.options.model_card.unwrap_or_else(|| lock.outputs.contains_key("README.md")),
        ..options
    })
}

fn draws_masks(job: &crate::merge::plan::TensorJob) -> bool {
    matches!(&job.reduction, Reduction::Sparsify { rules, .. }
        if rules.iter().any(|rule| matches!(rule, Sparsify::Random { .. })))
}

/// Whether the resolved stages are those of the recipe.
fn check_stages(planned: &PlannedRecipe<'_>, lock: &Lock, report: &mut VerifyReport) {
    if lock.stages.len() != planned.plans.len() {
        let (found, expected) = (lock.stages.len(), planned.plans.len());
        report.problems.push(format!("the lock has {found} resolved stages, and its recipe gives {expected}"));
        return;
    }
    if !is_of_this_version(lock) {
        return;
    }
    for (number, (&document, plan)) in planned.order.iter().zip(&planned.plans).enumerate() {
        let name = planned.file.recipes()[document].name.as_ref().map(|n| n.value.as_str());
        // Through text, as the lock's own went: numbers then compare as they were written.
        let text = locked_stage(plan, name).to_string();
        let derived: serde_json::Value = serde_json::from_str(&text).expect("JSON of a moment ago");
        if derived != lock.stages[number] {
            report.problems.push(format!("stage {} of the lock is not what its recipe gives", number + 1));
        }
    }
}

/// Compares index, config, copied files and card with what the inputs give.
fn check_companions(
    output: &Path,
    plan: &MergePlan,
    lock: &Lock,
    options: &MergeOptions,
    report: &mut VerifyReport,
) -> Result<()> {
    let model_card = options.model_card && is_of_this_version(lock);
    for (name, expected) in companions(plan, &lock.recipe, &MergeOptions { model_card, ..options.clone() })? {
        match crate::storage::input::read(&output.join(&name), u64::MAX) {
            Ok(found) if found == expected => report.files_derived.push(name),
            Ok(_) => report.problems.push(format!("`{name}` is not what its inputs give")),
            Err(_) if lock.outputs.contains_key(&name) => {}
            Err(_) => report.problems.push(format!("`{name}` is missing, and its inputs give it")),
        }
    }
    Ok(())
}

/// Whether the inputs are those of the lock. Inputs that are here but different are no problems of the output.
fn check_inputs(
    planned: &PlannedRecipe<'_>,
    options: &MergeOptions,
    lock: &Lock,
    pool: &Pool,
    report: &mut VerifyReport,
    progress: Progress<'_>,
) -> Result<bool> {
    if !is_hashed(lock) && lock.inputs.is_empty() {
        return Ok(true);
    }
    // By name, as the lock has them: a name in a lock leads to no other file.
    let files = input_files(&planned.plans, options)?;
    let mut same = true;
    for ((model, name), path) in &files {
        let Some(record) = lock.inputs.get(model).and_then(|records| records.get(name)) else {
            report.problems.push(format!("the lock does not list the input `{model}/{name}`"));
            continue;
        };
        match check_file(path, record, pool, progress)? {
            Check::Right => report.inputs_verified += 1,
            Check::NoHash => report.problems.push(format!("the input `{model}/{name}` has no hash in the lock")),
            Check::Wrong(problem) => {
                same = false;
                report.not_derived = Some(format!("input `{model}/{name}` {problem}"));
            }
        }
    }
    for (model, records) in &lock.inputs {
        for name in records.keys().filter(|name| !files.contains_key(&(model.clone(), (*name).clone()))) {
            same = false;
            report.not_derived = Some(format!("input `{model}/{name}` is missing"));
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
