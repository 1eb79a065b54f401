//! `billon demo`.

use std::path::PathBuf;

use clap::Args;

use super::output::OutputArgs;
use crate::demo;
use crate::error::Result;
use crate::event::CancelFlag;
use crate::storage::hash::HashAlgorithm;

/// Arguments of `billon demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where data, base model, adapters, results and the report are written.
    #[arg(long, short, value_name = "DIR", default_value = "billon-demo")]
    out: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

impl DemoArgs {
    pub(super) fn json(&self) -> bool {
        self.output.json
    }

    pub(super) fn run(self, cancel: &CancelFlag) -> Result<()> {
        // A tokenizer is trained, by a library that splits its work by rayon.
        let experiment = self.output.workers().install(|| demo::prepare(&self.out))??;
        // Answers are not remembered: the demo leaves nothing outside its folder.
        super::run::execute(&experiment, &self.out, &[], false, HashAlgorithm::Blake3, &self.output, cancel)
    }
}
