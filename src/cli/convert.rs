//! `billon convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::output::{OutputArgs, print, print_json};
use super::report;
use super::size::{human_bytes, human_count, parse_bytes};
use crate::convert::{ConvertOptions, ConvertReport, convert};
use crate::dtype::DType;
use crate::error::Result;
use crate::event::{CancelFlag, Progress};
use crate::visible::value as shown;

/// Arguments of `billon convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// GGUF file, or all its parts in order, then the output directory, which appears whole when
    /// everything is done.
    #[arg(required = true, num_args = 2.., value_names = ["MODEL.gguf", "OUT"])]
    paths: Vec<PathBuf>,
    /// Take config, tokenizer and chat template from this directory of the original model instead of
    /// rebuilding them from the metadata.
    #[arg(long, value_name = "DIR")]
    like: Option<PathBuf>,
    /// Stored type (default: f16 or bf16 when all matrices of the file are, else f32, which keeps
    /// quantised values exact).
    #[arg(long)]
    dtype: Option<OutputDtype>,
    /// Largest shard: 5GB, 500MB, 2GiB.
    #[arg(long, default_value = "5GB", value_name = "SIZE", value_parser = parse_bytes)]
    max_shard_size: u64,
    /// Replace a non-empty output directory, at the very end.
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OutputDtype {
    #[value(alias = "float32")]
    F32,
    #[value(alias = "bfloat16")]
    Bf16,
    #[value(alias = "float16")]
    F16,
}

impl ConvertArgs {
    pub(super) fn json(&self) -> bool {
        self.output.json
    }

    pub(super) fn run(mut self, cancel: &CancelFlag) -> Result<()> {
        let out = self.paths.pop().expect("the parser asks for two paths");
        let options = ConvertOptions {
            like: self.like,
            dtype: self.dtype.map(|dtype| match dtype {
                OutputDtype::F32 => DType::F32,
                OutputDtype::Bf16 => DType::BF16,
                OutputDtype::F16 => DType::F16,
            }),
            max_shard_bytes: self.max_shard_size,
            force: self.force,
            workers: self.output.workers(),
        };
        let reporter = report::reporter(self.output.json, self.output.quiet);
        let result = convert(&self.paths, &out, &options, Progress { reporter: &*reporter, cancel })?;
        drop(reporter);
        if self.output.json { print_json(&result) } else { print(&summary(&result)) }
    }
}

fn summary(report: &ConvertReport) -> String {
    let types: Vec<String> = report.types.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let origin = match (&report.like, report.tokenizer) {
        (Some(like), _) => format!("config and tokenizer from {}", shown(&like.display().to_string())),
        (None, true) => "config and tokenizer from the metadata".to_owned(),
        (None, false) => "config from the metadata, no tokenizer".to_owned(),
    };
    format!(
        "converted {} model to {}\n  {} parameters in {} tensors ({}) as {}\n  {origin}\n  wrote {} in {:.2} s\n",
        shown(report.architecture),
        shown(&report.output.display().to_string()),
        human_count(report.parameters),
        report.tensors,
        types.join(", "),
        report.dtype,
        human_bytes(report.bytes_written),
        report.seconds,
    )
}
