//! Merge specialist language models and prove what the merge kept and what it forgot.
//!
//! A [`Recipe`] says what is merged. [`plan`] shows every tensor of the output before anything is computed, [`merge()`]
//! writes the model, [`verify`] derives it again from its inputs. [`train()`] makes specialists, [`evaluate`] scores models,
//! [`gate`] decides from two results whether anything was lost, and [`run`] does all of it as one experiment.
//!
//! ```
//! use billon::{MergeOptions, ModelReference, Progress, Recipe, Setting, Source, VerifyOptions};
//!
//! let checkpoint = |name: &str| ModelReference::directory(&format!("fixtures/checkpoints/bf16/{name}"));
//! let recipe = Recipe::new("ties")
//!     .with_base_model(checkpoint("base"))
//!     .with_model(Source::new(checkpoint("ft1")).with_parameter("weight", 0.5))
//!     .with_model(Source::new(checkpoint("ft2")).with_parameter("weight", Setting::when("mlp", 0.2).otherwise(0.7)))
//!     .with_parameter("density", 0.4);
//!
//! let folder = tempfile::tempdir().unwrap();
//! let out = folder.path().join("merged");
//! let report = billon::merge(recipe, &out, &MergeOptions::default(), Progress::silent())?;
//! assert_eq!((report.method.as_str(), report.models.len()), ("ties", 3));
//!
//! let model = billon::open(&out)?;
//! let (name, tensor) = model.tensors().iter().next().unwrap();
//! assert!(!model.bytes(tensor).is_empty(), "{name} has elements");
//!
//! let verified = billon::verify(&out, &VerifyOptions::default(), Progress::silent())?;
//! assert!(verified.problems.is_empty() && verified.not_derived.is_none());
//! # Ok::<(), billon::Error>(())
//! ```
//!
//! Data flows one way: a recipe is planned against opened checkpoints, the plan is executed chunk by chunk into output
//! shards. Errors say what to do next ([`Error::hints`]); long work tells a [`Reporter`] and stops at a [`CancelFlag`].
//! The module list below is in dependency order; a test holds it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

mod clock;
mod dtype;
mod error;
mod event;
mod machine;
mod panics;
mod rng;
mod visible;

mod parallel;
mod suggest;

mod storage;
mod yaml;

mod python;
mod stats;

mod compute;

mod arch;
mod checkpoint;
mod hub;
mod tokenizer;

mod lora;
mod recipe;
mod task;

mod merge;
mod model;

mod convert;
mod eval;
mod inspect;

mod train;

mod experiment;

mod demo;

mod cli;

#[doc(hidden)]
pub mod internal;

use std::path::Path;

pub use checkpoint::{ModelDir, Tensor};
pub use dtype::DType;
pub use error::{Error, ErrorKind, Result};
pub use eval::gate::{Check, GateConfig, GateReport, Verdict};
pub use eval::on_disk::EvaluateOptions;
pub use eval::results::{RunResults, TaskResults};
pub use event::{CancelFlag, Event, Progress, Reporter, Silent};
pub use experiment::{Experiment, RunOptions};
pub use merge::output::report::{InputPlan, PlanReport, StagePlan, TensorPlan};
pub use merge::verify::{VerifyOptions, VerifyReport};
pub use merge::{MergeOptions, MergeReport, TrimScope};
pub use parallel::Workers;
pub use recipe::setting::Setting;
pub use recipe::{ModelReference, Recipe, RecipeFile, Source};
pub use storage::hash::HashAlgorithm;
pub use train::data::SetSummary;
pub use train::recipe::TrainRecipe;
pub use train::{TrainOptions, TrainReport};

/// Opens a model directory: config and tensors, of which none is read yet.
///
/// ```
/// let model = billon::open("fixtures/checkpoints/bf16/base".as_ref())?;
/// assert_eq!(model.tensors()["model.norm.weight"].dtype, billon::DType::BF16);
/// # Ok::<(), billon::Error>(())
/// ```
///
/// # Errors
/// A directory without safetensors weights, a damaged file, a quantised model.
pub fn open(directory: &Path) -> Result<ModelDir> {
    Ok(ModelDir::open(directory)?)
}

/// Plans a merge: every output tensor with its inputs and parameters. Nothing is written.
///
/// ```
/// use billon::{MergeOptions, ModelReference, Recipe};
///
/// let checkpoint = |name: &str| ModelReference::directory(&format!("fixtures/checkpoints/f32/{name}"));
/// let recipe = Recipe::new("linear").with_model(checkpoint("ft1")).with_model(checkpoint("ft2"));
/// // `linear` needs weights.
/// let error = billon::plan(recipe.clone(), &MergeOptions::default()).unwrap_err();
/// assert!(error.to_string().contains("needs parameter `weight`"), "{error}");
///
/// let plan = billon::plan(recipe.with_parameter("weight", 0.5), &MergeOptions::default())?;
/// assert_eq!(plan.stages[0].tensors[0].inputs.len(), 2);
/// # Ok::<(), billon::Error>(())
/// ```
///
/// # Errors
/// Everything that is wrong with the recipe, or with the models together.
pub fn plan(recipe: impl Into<RecipeFile>, options: &MergeOptions) -> Result<PlanReport> {
    let resolver = merge::plan::sources::Resolver::from_environment();
    Ok(merge::plan_recipe(&recipe.into(), &resolver, options)?.report(options.workers.threads()))
}

/// Merges models into a new model directory, which appears whole when everything is done. The crate's first example
/// merges a recipe made in Rust; a file is merged the same way:
///
/// ```no_run
/// use billon::{MergeOptions, Progress, RecipeFile};
///
/// let recipe = RecipeFile::open("recipe.yml".as_ref())?;
/// let options = MergeOptions { seed: 7, force: true, ..MergeOptions::default() };
/// billon::merge(recipe, "merged".as_ref(), &options, Progress::silent())?;
/// # Ok::<(), billon::Error>(())
/// ```
///
/// # Errors
/// As [`plan`], and what reading or writing says; the output is then as it was.
pub fn merge(
    recipe: impl Into<RecipeFile>,
    output: &Path,
    options: &MergeOptions,
    progress: Progress<'_>,
) -> Result<MergeReport> {
    merge::merge(&recipe.into(), output, options, &compute::merge::cpu::Cpu, progress)
}

/// Checks a merged model against its lock: the hashes of its files, and tensors derived again from the inputs. What is
/// wrong stands in the report.
///
/// # Errors
/// A missing or unreadable lock, read errors, cancellation.
pub fn verify(output: &Path, options: &VerifyOptions, progress: Progress<'_>) -> Result<VerifyReport> {
    merge::verify::verify(output, *options, &compute::merge::cpu::Cpu, progress)
}

/// Trains an adapter, or a whole model, from the base model in `model`.
///
/// ```no_run
/// use billon::{Progress, TrainOptions, TrainRecipe};
///
/// let text = "base_model: models/base\nlora_r: 16\ndatasets: [{path: rows.jsonl, type: alpaca}]\n";
/// let (recipe, warnings) = TrainRecipe::parse("train.yml", text)?;
/// assert!(warnings.is_empty());
/// let options = TrainOptions::new("adapter".as_ref());
/// let report = billon::train(&recipe, "models/base".as_ref(), &options, Progress::silent())?;
/// println!("{} steps, loss {:?}", report.steps, report.loss);
/// # Ok::<(), billon::Error>(())
/// ```
///
/// # Errors
/// What recipe, data or model have wrong; a run that diverges; interruption, after which the run can be resumed.
pub fn train(
    recipe: &TrainRecipe,
    model: &Path,
    options: &TrainOptions,
    progress: Progress<'_>,
) -> Result<TrainReport> {
    train::run(recipe, model, options, progress)
}

/// Scores a model on tasks: names of the built-in suite, task files, or folders of them. Results and samples are
/// published below `out`, in the layout of lm-evaluation-harness.
///
/// ```
/// use billon::{EvaluateOptions, Progress};
///
/// let out = tempfile::tempdir().unwrap();
/// let options = EvaluateOptions {
///     data: Some("fixtures/tasks/prompts/data".into()),
///     limit: Some(2),
///     remember: false,
///     ..EvaluateOptions::default()
/// };
/// let tasks = ["fixtures/tasks/prompts/plain.yaml".to_owned()];
/// let model = "fixtures/eval/model".as_ref();
/// let results = billon::evaluate(model, &tasks, out.path(), &options, Progress::silent())?;
/// assert_eq!(results.tasks.len(), 1);
/// # Ok::<(), billon::Error>(())
/// ```
///
/// # Errors
/// Task files and data that can't be read or asked, a model that can't be opened, an output that can't be written.
pub fn evaluate(
    model: &Path,
    tasks: &[String],
    out: &Path,
    options: &EvaluateOptions,
    progress: Progress<'_>,
) -> Result<RunResults> {
    eval::on_disk::evaluate(model, tasks, out, options, progress)
}

/// Decides whether a candidate lost anything against a baseline, from the results of both.
///
/// ```no_run
/// use billon::{GateConfig, RunResults, Verdict};
///
/// let (base, merged) = (RunResults::load("results/base".as_ref())?, RunResults::load("results/merged".as_ref())?);
/// let report = billon::gate(&GateConfig::default(), &base, &merged)?;
/// assert_ne!(report.verdict, Verdict::Fail);
/// # Ok::<(), billon::Error>(())
/// ```
///
/// # Errors
/// Results that lack what the gate needs, or were not asked the same way.
pub fn gate(config: &GateConfig, baseline: &RunResults, candidate: &RunResults) -> Result<GateReport> {
    eval::gate::decide(config, baseline, candidate, parallel::Workers::available())
}

/// Runs what has to run of an experiment into a folder: training, merges, evaluations, gates and the report. Finished
/// steps are remembered there, so that a second run goes on from the first.
///
/// ```no_run
/// use billon::{Experiment, Progress, RunOptions};
///
/// let experiment = Experiment::open("experiment.yml".as_ref())?;
/// billon::run(&experiment, "out".as_ref(), &RunOptions::default(), Progress::silent())?;
/// # Ok::<(), billon::Error>(())
/// ```
///
/// # Errors
/// Missing inputs before anything runs; the step that failed; cancellation.
pub fn run(experiment: &Experiment, out: &Path, options: &RunOptions, progress: Progress<'_>) -> Result<()> {
    let workers = parallel::Workers::available();
    let mut steps = experiment::engine::Local::new(workers, true, storage::hash::HashAlgorithm::Blake3);
    experiment::run(experiment, out, options, &mut steps, progress)
}
