//! The command line: the only part that knows the terminal.
//!
//! stdout carries results, stderr progress and diagnostics. Exit codes: 0 done, 1 failed, 2 usage
//! or invalid recipe, 100 and 102 the gate's verdicts, 130 interrupted (101 would be a panic, which
//! is always a bug).

mod adapter;
mod compare;
mod convert;
mod demo;
mod diff;
mod eval;
mod gate;
mod harness_flags;
mod inspect;
mod merge;
mod mergekit_flags;
mod methods;
mod plan;
mod prompts;
mod report;
mod run;
mod runaway;
mod scores;
mod server;
mod signals;
mod size;
mod tasks;
mod train;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::event::CancelFlag;
use crate::parallel::{Workers, disable_candle_threads};
use crate::storage::shortened;
use crate::storage::unchanged::InputChanged;
use crate::visible;
use crate::yaml::RecipeError;

/// Merge specialist language models and prove what the merge kept and what it forgot.
#[derive(Debug, Parser)]
#[command(name = "billon", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Merge models after a mergekit recipe.
    Merge(merge::MergeArgs),
    /// Show what a merge would do, tensor by tensor, without doing it.
    Plan(plan::PlanArgs),
    /// Check a merged checkpoint against its lock, and derive a sample of it again.
    Verify(verify::VerifyArgs),
    /// The whole loop on a small model of this project's own: train, merge, evaluate, gate, report.
    Demo(demo::DemoArgs),
    /// Train a specialist: LoRA factors, or all weights of a small model.
    Train(train::TrainArgs),
    /// Score a model on tasks.
    Eval(Box<eval::EvalArgs>),
    /// Describe a model directory.
    Inspect(inspect::InspectArgs),
    /// Compare fine-tuned models with their base: task-vector statistics.
    Diff(diff::DiffArgs),
    /// Work with PEFT adapters: bake one into its model.
    Adapter(adapter::AdapterArgs),
    /// Write a GGUF model as a Hugging Face model directory.
    Convert(convert::ConvertArgs),
    /// List and check evaluation tasks, and show exactly what they ask.
    Tasks(tasks::TasksArgs),
    /// Compare evaluation results document by document.
    Compare(compare::CompareArgs),
    /// Decide whether a candidate forgot anything: exit code 0 pass, 100 fail, 102 inconclusive.
    Gate(gate::GateArgs),
    /// Train specialists, merge, evaluate, gate and report: everything an experiment file says.
    Run(run::RunArgs),
    /// List the merge methods and their parameters.
    Methods(methods::MethodsArgs),
}

/// Flags that every long command has.
#[derive(Debug, Clone, Args)]
struct OutputArgs {
    /// Print the result as JSON on stdout and events as JSON lines on stderr.
    #[arg(long)]
    json: bool,
    /// No progress on stderr; only errors, and warnings that the result may not be what is meant.
    #[arg(long, short)]
    quiet: bool,
    /// Worker threads (default: all cores).
    #[arg(long, short = 'j', alias = "num-threads", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl OutputArgs {
    fn workers(&self) -> Workers {
        self.threads.map_or_else(Workers::available, |threads| Workers::new(usize::from(threads)))
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    disable_candle_threads();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    crate::panics::print_only_uncaught();
    let cancel = Arc::new(CancelFlag::new());
    signals::watch(&cancel);
    signals::catch_file_size_signal();
    let json = cli.command.json();
    runaway::watch(json);
    let result = cli.command.run(&cancel).and_then(|code| match shortened::first() {
        // Whatever was made of such a file is not to be trusted, even where nobody asked before.
        Some(path) => Err(InputChanged { path, what: "it was shortened".to_owned() }.into()),
        None => Ok(code),
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            let text = if json { json_error(&error) } else { plain_error(&error) };
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::from(error.kind().exit_code())
        }
    }
}

impl Command {
    fn run(self, cancel: &CancelFlag) -> Result<ExitCode> {
        match self {
            // The one command whose result is a verdict.
            Self::Gate(args) => return args.run(),
            Self::Merge(args) => args.run(cancel),
            Self::Plan(args) => args.run(),
            Self::Verify(args) => args.run(cancel),
            Self::Demo(args) => args.run(cancel),
            Self::Train(args) => args.run(cancel),
            Self::Eval(args) => args.run(cancel),
            Self::Inspect(args) => args.run(),
            Self::Diff(args) => args.run(cancel),
            Self::Adapter(args) => args.run(cancel),
            Self::Convert(args) => args.run(cancel),
            Self::Tasks(args) => args.run(),
            Self::Compare(args) => args.run(),
            Self::Run(args) => args.run(cancel),
            Self::Methods(args) => args.run(),
        }
        .map(|()| ExitCode::SUCCESS)
    }

    fn json(&self) -> bool {
        match self {
            Self::Merge(args) => args.json(),
            Self::Plan(args) => args.json,
            Self::Verify(args) => args.json(),
            Self::Demo(args) => args.json(),
            Self::Train(args) => args.json(),
            Self::Eval(args) => args.json(),
            Self::Inspect(args) => args.json,
            Self::Diff(args) => args.json(),
            Self::Adapter(args) => args.json(),
            Self::Convert(args) => args.json(),
            Self::Tasks(args) => args.json(),
            Self::Compare(args) => args.json,
            Self::Gate(args) => args.json,
            Self::Run(args) => args.json(),
            Self::Methods(args) => args.json,
        }
    }
}

/// An error and its hints. What comes from files is escaped; only the excerpts of a recipe's problems have lines.
fn plain_error(error: &Error) -> String {
    let mut text = "error: ".to_owned();
    for (index, cause) in error.causes().enumerate() {
        if index > 0 {
            text.push_str(": ");
        }
        let message = cause.to_string();
        let laid_out = cause.is::<RecipeError>() || (index == 0 && error.is_laid_out());
        text.push_str(&if laid_out { visible::block(&message) } else { visible::message(&message) });
    }
    for hint in error.hints().iter().filter(|h| !h.is_empty()) {
        text.push_str("\n  hint: ");
        text.push_str(&visible::message(hint));
    }
    text.push('\n');
    text
}

fn json_error(error: &Error) -> String {
    let chain = error.chain();
    let value = serde_json::json!({
        "event": "error",
        "kind": error.kind().name(),
        "message": chain.first(),
        "chain": chain,
        "hints": error.hints(),
    });
    format!("{}\n", visible::json(&value.to_string()))
}

/// Writes a result to stdout, without characters that act on a terminal.
fn print(text: &str) -> Result<()> {
    write(&visible::block(text))
}

/// Writes a result that is JSON to stdout.
fn print_json_text(text: &str) -> Result<()> {
    write(&visible::json(text))
}

/// A reader that has closed the pipe is not an error.
fn write(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(StdoutError { source: error }.into()),
        _ => Ok(()),
    }
}

/// Writes a result as JSON to stdout.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|source| ResultError { source })?;
    text.push('\n');
    print_json_text(&text)
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout")]
struct StdoutError {
    source: io::Error,
}

impl crate::error::Diagnose for StdoutError {
    fn kind(&self) -> crate::error::ErrorKind {
        crate::error::ErrorKind::Io
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the result cannot be written as JSON")]
struct ResultError {
    source: serde_json::Error,
}

impl crate::error::Diagnose for ResultError {
    fn kind(&self) -> crate::error::ErrorKind {
        crate::error::ErrorKind::Internal
    }
}

/// A recipe or other text file that the user named.
fn read_text(path: &std::path::Path) -> Result<String> {
    crate::storage::input::read_text(path, crate::storage::input::TEXT_BYTES)
        .map_err(|source| ReadError { path: path.into(), source }.into())
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
struct ReadError {
    path: std::path::PathBuf,
    source: io::Error,
}

impl crate::error::Diagnose for ReadError {
    fn kind(&self) -> crate::error::ErrorKind {
        crate::error::ErrorKind::Usage
    }
}
