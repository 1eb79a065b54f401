//! `billon verify`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::output::{OutputArgs, print, print_json};
use super::report;
use crate::compute::merge::cpu::Cpu;
use crate::error::Result;
use crate::event::{CancelFlag, Progress};
use crate::merge::verify::{VerifyOptions, VerifyReport, require_clean, verify};
use crate::visible::value as shown;

/// Arguments of `billon verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Output directory of a merge.
    out: PathBuf,
    /// Tensors to derive again from the inputs, if these are at hand (relative references are
    /// looked up from the current directory, as when merging).
    #[arg(long, default_value_t = 16, value_name = "N")]
    sample: usize,
    /// Derive every tensor again.
    #[arg(long, conflicts_with = "sample")]
    all: bool,
    /// Fail when no tensor could be recomputed: inputs that are missing or have changed, or a recipe of several
    /// documents.
    #[arg(long)]
    require_derived: bool,
    #[command(flatten)]
    output: OutputArgs,
}

impl VerifyArgs {
    pub(super) fn json(&self) -> bool {
        self.output.json
    }

    pub(super) fn run(self, cancel: &CancelFlag) -> Result<()> {
        let reporter = report::reporter(self.output.json, true);
        let options = VerifyOptions {
            sample: if self.all { usize::MAX } else { self.sample },
            workers: self.output.workers(),
            require_derived: self.require_derived,
        };
        let result = verify(&self.out, options, &Cpu, Progress { reporter: &*reporter, cancel })?;
        if self.output.json {
            print_json(&result)?;
        } else {
            print(&summary(&result))?;
        }
        require_clean(&result)
    }
}

fn summary(report: &VerifyReport) -> String {
    let mut text = format!("{} files match their hashes\n", report.files_verified);
    if !report.files_without_hash.is_empty() {
        let _ = writeln!(text, "{} files have no hash in the lock; their sizes match", report.files_without_hash.len());
    }
    if !report.unknown_files.is_empty() {
        let _ = writeln!(text, "not in the lock: {}", shown(&report.unknown_files.join(", ")));
    }
    if report.inputs_verified > 0 {
        let _ = writeln!(text, "{} input files match their hashes", report.inputs_verified);
    }
    let files = match report.files_derived.len() {
        0 => String::new(),
        files => format!(" and {files} other files"),
    };
    match &report.not_derived {
        Some(reason) => {
            if !report.files_derived.is_empty() {
                let _ = writeln!(text, "{} files recomputed, byte for byte equal", report.files_derived.len());
            }
            let _ = writeln!(text, "no tensor was recomputed: {}", shown(reason));
        }
        None => {
            let tensors = report.tensors_derived.len();
            let _ = writeln!(text, "{tensors} tensors{files} recomputed, byte for byte equal");
        }
    }
    for problem in &report.problems {
        let _ = writeln!(text, "WRONG: {}", shown(problem));
    }
    text
}
