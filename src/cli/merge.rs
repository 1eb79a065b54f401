//! `billon merge`.

use std::path::PathBuf;

use clap::Args;

use super::input::read_text;
use super::mergekit_flags::MergekitFlags;
use super::output::{OutputArgs, print, print_json};
use super::plan::{PlanArgs, RecipeArgs};
use super::report;
use super::size::{human_bytes, human_count};
use crate::compute::merge::cpu::Cpu;
use crate::error::Result;
use crate::event::{CancelFlag, Progress};
use crate::merge::{MergeOptions, MergeReport, merge};
use crate::recipe::RecipeFile;
use crate::storage::hash::HashAlgorithm;

/// Arguments of `billon merge`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct MergeArgs {
    /// Recipe file (mergekit's YAML; several documents make a multi-stage merge).
    recipe: PathBuf,
    /// Output directory; appears whole when everything is done.
    #[arg(required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    #[command(flatten)]
    recipe_args: RecipeArgs,
    /// Replace a non-empty output directory, at the very end.
    #[arg(long, short)]
    force: bool,
    /// Only show the plan (same as `billon plan`).
    #[arg(long)]
    dry_run: bool,
    /// Keep the results of earlier documents as `OUT.stages/NAME`.
    #[arg(long)]
    keep_intermediates: bool,
    /// Don't copy tokenizer and generation files.
    #[arg(long, overrides_with = "copy_tokenizer")]
    no_copy_tokenizer: bool,
    /// Don't write a model card (`README.md`).
    #[arg(long, alias = "no-write-model-card", overrides_with = "write_model_card")]
    no_model_card: bool,
    /// Leave digests of inputs and weights out of the lock: faster, but can't be verified.
    #[arg(long)]
    no_hash: bool,
    /// Record SHA-256 in the lock, as model hubs do, instead of BLAKE3: slower, since one thread hashes a file.
    #[arg(long, conflicts_with = "no_hash")]
    sha256: bool,
    #[command(flatten)]
    mergekit: MergekitFlags,
    #[command(flatten)]
    output: OutputArgs,
}

impl MergeArgs {
    pub(super) fn json(&self) -> bool {
        self.output.json
    }

    pub(super) fn run(self, cancel: &CancelFlag) -> Result<()> {
        let reporter = report::reporter(self.output.json, self.output.quiet);
        let progress = Progress { reporter: &*reporter, cancel };
        self.mergekit.check(progress)?;
        let Some(out) = self.out.filter(|_| !self.dry_run) else {
            drop(reporter);
            return PlanArgs::new(self.recipe, self.recipe_args, self.output).run();
        };
        let options = self.recipe_args.merge_options(MergeOptions {
            workers: self.output.workers(),
            force: self.force,
            keep_intermediates: self.keep_intermediates,
            hash: (!self.no_hash).then_some(lock_algorithm(self.sha256)),
            copy_tokenizer: !self.no_copy_tokenizer,
            model_card: !self.no_model_card,
            ..MergeOptions::default()
        });
        let recipe = RecipeFile::parse(&self.recipe, &read_text(&self.recipe)?, options.lenient);
        let result = merge(&recipe, &out, &options, &Cpu, progress)?;
        drop(reporter);
        if self.output.json { print_json(&result) } else { print(&summary(&result)) }
    }
}

/// The function of the lock's digests: SHA-256 where `--sha256` asks for it.
pub(super) fn lock_algorithm(sha256: bool) -> HashAlgorithm {
    if sha256 { HashAlgorithm::Sha256 } else { HashAlgorithm::Blake3 }
}

pub(super) fn summary(report: &MergeReport) -> String {
    let rate = (report.bytes_read + report.bytes_written) as f64 / report.seconds.max(1e-9) / 1e9;
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut text = format!(
        "merged {} with {} into {}\n  {} parameters in {}, {}\n  read {}, wrote {} in {:.2} s ({rate:.1} GB/s, {})\n",
        plural(report.models.len(), "model"),
        report.method,
        crate::visible::value(&report.output.display().to_string()),
        human_count(report.parameters),
        plural(report.tensors, "tensor"),
        plural(report.shards, "shard"),
        human_bytes(report.bytes_read),
        human_bytes(report.bytes_written),
        report.seconds,
        plural(report.threads, "thread"),
    );
    if !report.warnings.is_empty() {
        text.push_str(&format!("  {}\n", plural(report.warnings.len(), "warning")));
    }
    text
}
