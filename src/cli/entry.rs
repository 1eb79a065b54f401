//! The program: its commands, and what becomes of their results.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use super::error_text::{json_error, plain_error};
use super::{
    adapter, compare, convert, demo, diff, eval, gate, inspect, merge, methods, plan, run, runaway, signals, tasks,
    train, verify,
};
use crate::error::Result;
use crate::event::CancelFlag;
use crate::parallel::disable_candle_threads;
use crate::storage::shortened;
use crate::storage::unchanged::InputChanged;

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
