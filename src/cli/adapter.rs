//! `billon adapter`: what is done to adapters by themselves.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::merge::{lock_algorithm, summary};
use super::output::{OutputArgs, print, print_json};
use super::report;
use super::size::parse_bytes;
use crate::compute::merge::cpu::Cpu;
use crate::dtype::DType;
use crate::error::{Diagnose, ErrorKind, Result};
use crate::event::{CancelFlag, Progress};
use crate::merge::{MergeOptions, merge};
use crate::recipe::{ModelReference, Recipe};

/// Arguments of `billon adapter`.
#[derive(Debug, Args)]
pub(crate) struct AdapterArgs {
    #[command(subcommand)]
    command: AdapterCommand,
}

#[derive(Debug, Subcommand)]
enum AdapterCommand {
    /// Write a model with a PEFT adapter merged into its weights: summed in f32, rounded once.
    Bake(BakeArgs),
}

/// Arguments of `billon adapter bake`.
#[derive(Debug, Args)]
struct BakeArgs {
    /// Hugging Face model directory, or a repository of the local cache.
    base: String,
    /// PEFT adapter folder, or a repository of the local cache.
    adapter: String,
    /// Output directory; appears whole when everything is done.
    out: PathBuf,
    /// Element type of the output (default: the base's, tensor by tensor).
    #[arg(long, value_parser = PossibleValuesParser::new(DType::RECIPE_NAMES))]
    dtype: Option<String>,
    /// Largest shard: 5GB, 500MB, 2GiB.
    #[arg(long, default_value = "5GB", value_name = "SIZE", value_parser = parse_bytes)]
    max_shard_size: u64,
    /// Replace a non-empty output directory, at the very end.
    #[arg(long, short)]
    force: bool,
    /// Record SHA-256 in the lock, as model hubs do, instead of BLAKE3.
    #[arg(long)]
    sha256: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl AdapterArgs {
    pub(super) fn json(&self) -> bool {
        let AdapterCommand::Bake(args) = &self.command;
        args.output.json
    }

    pub(super) fn run(self, cancel: &CancelFlag) -> Result<()> {
        let AdapterCommand::Bake(args) = self.command;
        let options = MergeOptions {
            max_shard_bytes: args.max_shard_size,
            workers: args.output.workers(),
            force: args.force,
            hash: Some(lock_algorithm(args.sha256)),
            ..MergeOptions::default()
        };
        let reporter = report::reporter(args.output.json, args.output.quiet);
        let progress = Progress { reporter: &*reporter, cancel };
        let result = merge(&args.recipe()?.into(), &args.out, &options, &Cpu, progress)?;
        drop(reporter);
        if args.output.json { print_json(&result) } else { print(&summary(&result)) }
    }
}

impl BakeArgs {
    /// Baking is a merge of one model: `verify` then knows what to derive again.
    fn recipe(&self) -> Result<Recipe> {
        let model = named(&self.base)?;
        let adapter = named(&self.adapter)?;
        let model = ModelReference { adapter: Some((adapter.path, adapter.revision)), ..model };
        let recipe = Recipe::new("passthrough").with_model(model);
        Ok(match self.dtype.as_deref().and_then(DType::from_recipe) {
            Some(dtype) => recipe.with_dtype(dtype),
            None => recipe,
        })
    }
}

/// A directory or repository, with a revision after `@`.
fn named(text: &str) -> Result<ModelReference> {
    let reference: ModelReference = text.parse()?;
    if reference.adapter.is_some() {
        return Err(AdapterInName { name: text.to_owned() }.into());
    }
    Ok(reference)
}

/// A `+` in the name of a model or of an adapter.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` names a model with an adapter, which does not belong here")]
struct AdapterInName {
    name: String,
}

impl Diagnose for AdapterInName {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        vec!["give model and adapter as two arguments; a directory with `+` in its name needs a recipe".to_owned()]
    }
}
