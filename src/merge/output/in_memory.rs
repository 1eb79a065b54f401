//! Merging without files: the result stays in memory, for a decoder to open.
//!
//! The executor is that of [`super::merge`], so the tensors are the bytes that it would write. What
//! the result was made from says what it is: the recipe's text and the hashes of all inputs stand
//! where an output's own hashes would.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checkpoint::{MemoryModel, Tensor};
use crate::compute::merge::MergeKernels;
use crate::error::Result;
use crate::event::{Event, Progress};
use crate::merge::execute::executor::execute_in_memory;
use crate::merge::output::input_records::{InputRecords, hash_inputs};
use crate::merge::output::lock::LockOptions;
use crate::merge::plan::MergePlan;
use crate::merge::plan::options::MergeOptions;
use crate::merge::plan::sources::{Model, Resolver};
use crate::merge::stages::{plan_again, plan_recipe, report_non_finite};
use crate::recipe::RecipeFile;
use crate::storage::hash::sha256_bytes;

/// The result of a merge, in memory.
#[derive(Debug)]
pub struct MergedModel {
    /// Tensors and config. The root is the directory of the config source, whose tokenizer it has.
    pub model: Arc<MemoryModel>,
    /// SHA-256 of the recipe with the options that decide the output.
    pub recipe_sha256: String,
    /// Files of every input by reference and name, with their SHA-256.
    pub inputs: InputRecords,
    /// Warnings of the plan and the run.
    pub warnings: Vec<String>,
}

impl MergedModel {
    /// Names and hashes of what the tensors depend on.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "what is expected holds by construction")]
    pub fn identity(&self) -> Vec<(String, String)> {
        let mut identity =
            vec![(format!("merge recipe, billon {}", env!("CARGO_PKG_VERSION")), self.recipe_sha256.clone())];
        for (reference, files) in &self.inputs {
            for (name, record) in files {
                let digest = record.digest.as_ref().expect("`hash_inputs` hashes every file");
                identity.push((format!("{reference}/{name}"), digest.hex.clone()));
            }
        }
        identity
    }
}

/// Merges what a recipe says into memory. Results of earlier documents stay in memory as well, until the last one is
/// there.
///
/// # Errors
/// Recipe and input errors, or [`crate::error::Cancelled`].
#[expect(clippy::missing_panics_doc, reason = "what is expected holds by construction")]
pub fn in_memory(
    file: &RecipeFile,
    options: &MergeOptions,
    backend: &dyn MergeKernels,
    progress: Progress<'_>,
) -> Result<MergedModel> {
    // The tokenizer is an input, and no file is written.
    let options = &MergeOptions { copy_tokenizer: true, model_card: false, ..options.clone() };
    let resolver = Resolver::from_environment();
    let planned = plan_recipe(file, &resolver, options)?;
    let mut warnings = planned.warnings.clone();
    planned.warn(progress);
    let inputs = hash_inputs(&planned.plans, options, progress)?;
    let mut results: BTreeMap<String, Arc<MemoryModel>> = BTreeMap::new();
    let count = planned.order.len();
    let mut last = None;
    for (index, (&document, mut plan)) in planned.order.iter().zip(planned.plans).enumerate() {
        let recipe = &file.recipes()[document];
        let name = recipe.name.as_ref().map(|name| name.value.clone());
        if count > 1 {
            progress.event(Event::StageStarted { index, count, name: name.clone() });
        }
        if plan.models.iter().any(|model| model.source().is_none()) {
            for model in plan.models.iter_mut().filter(|model| model.source().is_none()) {
                if let Some(result) = results.get(&model.reference.to_string()) {
                    *model = Model::in_memory(model.reference.clone(), Arc::clone(result));
                }
            }
            plan = plan_again(recipe, plan, file, &resolver, options)?;
        }
        let result = Arc::new(run(&plan, options, backend, &mut warnings, progress)?);
        if let Some(name) = name {
            results.insert(name, Arc::clone(&result));
        }
        last = Some(result);
    }
    let last = last.expect("a recipe without documents is refused before");
    progress.event(Event::Finished);
    let decides = serde_json::json!({"seed": options.seed, "options": LockOptions::of(options), "recipe": file.text()});
    Ok(MergedModel { model: last, recipe_sha256: sha256_bytes(decides.to_string().as_bytes()), inputs, warnings })
}

fn run(
    plan: &MergePlan,
    options: &MergeOptions,
    backend: &dyn MergeKernels,
    warnings: &mut Vec<String>,
    progress: Progress<'_>,
) -> Result<MemoryModel> {
    let (tensors, bytes_read) = (plan.jobs.len(), plan.bytes_read());
    progress.event(Event::PlanReady { tensors, bytes_read, bytes_written: plan.bytes_written() });
    let (buffers, execution) = execute_in_memory(plan, backend, options.workers, progress)?;
    plan.unchanged()?;
    report_non_finite(&execution.non_finite, "merge", options, warnings, progress)?;
    let tensors = plan.outputs.iter().enumerate().map(|(shard, output)| {
        let range = 0..output.bytes();
        (output.name.clone(), Tensor { dtype: output.dtype, shape: output.shape.clone(), shard, range })
    });
    let donor = plan.models[plan.donor].source().expect("a plan that is run has its models open");
    let root = donor.root().to_owned();
    Ok(MemoryModel::new(&root, plan.result().config, tensors.collect(), buffers))
}
