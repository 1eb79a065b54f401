//! `billon adapter`: what is done to adapters by themselves.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::merge::{lock_algorithm, summary};
use super::size::parse_bytes;
use super::{OutputArgs, print, print_json, report};
use crate::compute::merge::cpu::Cpu;
use crate::dtype::DType;
use crate::error::Result;
use crate::event::{CancelFlag, Progress};
use crate::merge::output::files::CompanionOptions;
use crate::merge::{MergeOptions, PlanOptions, merge};

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
            plan: PlanOptions { max_shard_bytes: args.max_shard_size, ..PlanOptions::default() },
            threads: args.output.threads(),
            force: args.force,
            keep_intermediates: false,
            hash: Some(lock_algorithm(args.sha256)),
            companions: CompanionOptions { copy_tokenizer: true, model_card: true },
        };
        let reporter = report::reporter(args.output.json, args.output.quiet);
        let progress = Progress { reporter: &*reporter, cancel };
        let result = merge(Path::new(""), &args.recipe(), &args.out, &options, &Cpu, progress)?;
        drop(reporter);
        if args.output.json { print_json(&result) } else { print(&summary(&result)) }
    }
}

impl BakeArgs {
    /// Baking is a merge of one model: `verify` then knows what to derive again. The recipe has no file name,
    /// so that no message quotes it.
    fn recipe(&self) -> String {
        // JSON strings are YAML strings, whatever the paths hold.
        let quoted = |text: &str| serde_json::Value::from(text);
        let mut recipe = String::from("merge_method: passthrough\n");
        if let Some(dtype) = &self.dtype {
            let _ = writeln!(recipe, "dtype: {dtype}");
        }
        let (base, adapter) = (quoted(&self.base), quoted(&self.adapter));
        let _ = writeln!(recipe, "models:\n- model:\n    model: {base}\n    lora: {adapter}");
        recipe
    }
}
