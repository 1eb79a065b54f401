//! `billon plan`, and the options it shares with `billon merge`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::input::read_text;
use super::output::{OutputArgs, print, print_json};
use super::report;
use super::size::{human_bytes, human_count, parse_bytes};
use crate::error::Result;
use crate::event::{CancelFlag, Progress};
use crate::merge::output::report::{PlanReport, StagePlan, TensorPlan};
use crate::merge::plan::sources::Resolver;
use crate::merge::{MergeOptions, TrimScope as Scope, plan_recipe};
use crate::recipe::RecipeFile;
use crate::visible::value as shown;

/// Options that shape a plan.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct RecipeArgs {
    /// Seed of random masks.
    #[arg(long, alias = "random-seed", default_value_t = 0, value_name = "S")]
    seed: u64,
    /// Largest shard: 5GB, 500MB, 2GiB.
    #[arg(long, alias = "out-shard-size", default_value = "5GB", value_name = "SIZE", value_parser = parse_bytes)]
    max_shard_size: u64,
    /// Trim TIES task vectors per tensor (mergekit) or as a whole (the authors); overrides the recipe.
    #[arg(long, value_name = "SCOPE")]
    trim_scope: Option<TrimScope>,
    /// Unknown keys are warnings instead of errors.
    #[arg(long)]
    lenient: bool,
    /// Merge models of different architectures.
    #[arg(long)]
    allow_crimes: bool,
    /// Merge models whose configs or tokenizers disagree in what their weights mean.
    #[arg(long)]
    allow_mismatch: bool,
    /// Publish the result even if it has infinities or NaN where no input has any.
    #[arg(long)]
    allow_non_finite: bool,
    /// Cut vocabulary tensors of different length to the smallest; tokens after that are lost.
    #[arg(long)]
    unsafe_truncate_embeddings: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TrimScope {
    Tensor,
    Model,
}

impl RecipeArgs {
    /// The options of a merge that these flags set, on top of the others.
    pub(crate) fn merge_options(&self, others: MergeOptions) -> MergeOptions {
        MergeOptions {
            seed: self.seed,
            max_shard_bytes: self.max_shard_size,
            trim_scope: self.trim_scope.map(|scope| match scope {
                TrimScope::Tensor => Scope::Tensor,
                TrimScope::Model => Scope::Model,
            }),
            lenient: self.lenient,
            allow_crimes: self.allow_crimes,
            allow_mismatch: self.allow_mismatch,
            allow_non_finite: self.allow_non_finite,
            truncate_embeddings: self.unsafe_truncate_embeddings,
            ..others
        }
    }
}

/// Arguments of `billon plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Recipe file.
    recipe: PathBuf,
    #[command(flatten)]
    recipe_args: RecipeArgs,
    /// Print the plan as JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Only warnings on stderr that the result may not be what is meant.
    #[arg(long, short)]
    quiet: bool,
    /// Worker threads, for the memory estimate (default: all cores).
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl PlanArgs {
    pub(super) fn new(recipe: PathBuf, recipe_args: RecipeArgs, output: OutputArgs) -> Self {
        Self { recipe, recipe_args, json: output.json, quiet: output.quiet, threads: output.threads }
    }

    pub(super) fn run(self) -> Result<()> {
        let resolver = Resolver::from_environment();
        let options = self.recipe_args.merge_options(MergeOptions::default());
        let recipe = RecipeFile::parse(&self.recipe, &read_text(&self.recipe)?, options.lenient);
        let planned = plan_recipe(&recipe, &resolver, &options)?;
        let output = OutputArgs { json: self.json, quiet: self.quiet, threads: self.threads };
        let plan = planned.report(output.workers().threads());
        let reporter = report::reporter(self.json, self.quiet);
        let cancel = CancelFlag::new();
        planned.warn(Progress { reporter: &*reporter, cancel: &cancel });
        drop(reporter);
        if self.json { print_json(&plan) } else { print(&render(&plan)) }
    }
}

fn render(plan: &PlanReport) -> String {
    let mut text = String::new();
    for (i, stage) in plan.stages.iter().enumerate() {
        if plan.stages.len() > 1 {
            let name = shown(stage.name.as_deref().unwrap_or("output"));
            let _ = writeln!(text, "stage {} of {}: {name}", i + 1, plan.stages.len());
        }
        render_stage(stage, &mut text);
    }
    text
}

fn render_stage(stage: &StagePlan, text: &mut String) {
    let width = stage.tensors.iter().map(|t| shown(&t.name).chars().count()).max().unwrap_or(0);
    for tensor in &stage.tensors {
        let shape = format!("{:?}", tensor.shape);
        let _ = writeln!(
            text,
            "{:width$}  {:5} {shape:16} {:>9}  {}",
            shown(&tensor.name),
            tensor.dtype,
            human_bytes(tensor.bytes),
            shown(&operation(stage, tensor)),
        );
    }
    let _ = writeln!(text, "\nmethod        {}", stage.method);
    for model in &stage.models {
        let note = if *model == stage.donor { "  (config and tokenizer)" } else { "" };
        let _ = writeln!(text, "model         {}{note}", shown(model));
    }
    let _ = writeln!(text, "parameters    {} in {} tensors", human_count(stage.parameters), stage.tensors.len());
    let _ = writeln!(text, "to read       {}", human_bytes(stage.bytes_read));
    let _ = writeln!(text, "to write      {}", human_bytes(stage.bytes_written));
    let _ = writeln!(text, "peak memory   about {}", human_bytes(stage.peak_memory));
    for (name, bytes) in &stage.shards {
        let _ = writeln!(text, "shard         {}  {}", shown(name), human_bytes(*bytes));
    }
}

/// `ties lambda=1 ... (0: weight=1 density=0.2) (1: ...)`, inputs by their number in the list of
/// models.
fn operation(stage: &StagePlan, tensor: &TensorPlan) -> String {
    let list = |map: &serde_json::Map<String, serde_json::Value>| {
        map.iter()
            .map(|(k, v)| format!(" {k}={}", v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
            .collect::<String>()
    };
    let mut text = tensor.operation.clone();
    text.push_str(&list(&tensor.parameters));
    for input in &tensor.inputs {
        let number = stage.models.iter().position(|m| *m == input.model).map_or(0, |i| i + 1);
        let renamed = if input.tensor == tensor.name { String::new() } else { format!(" {}", input.tensor) };
        let _ = write!(text, " [{number}:{renamed}{}]", list(&input.parameters));
    }
    text
}
