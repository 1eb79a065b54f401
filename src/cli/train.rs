//! `billon train`: a recipe and data in, an adapter or a model out.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::output::{OutputArgs, print, print_json};
use super::report;
use crate::error::Result;
use crate::event::{CancelFlag, Progress};
use crate::tokenizer::Tokenizer;
use crate::train::data::{SetSummary, TrainingData, show};
use crate::train::recipe::{Parsed, TrainRecipe};
use crate::train::{self, TrainError, TrainOptions, TrainReport};
use crate::visible::value as shown;

/// Arguments of `billon train`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(crate) struct TrainArgs {
    /// Training recipe (YAML; keys of axolotl, TRL and LLaMA-Factory are understood).
    recipe: PathBuf,
    /// Where checkpoints, logs and the result go.
    #[arg(long, short, value_name = "DIR", required_unless_present_any = ["show_config", "show_batch"])]
    out: Option<PathBuf>,
    /// Where the tasks' data files are.
    #[arg(long, env = "BILLON_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Set a key of the recipe anew, as `lora_r=8` or `evaluation.limit=100`; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
    /// Print the recipe with every default written out, and stop.
    #[arg(long)]
    show_config: bool,
    /// Print the first example with its loss mask, and stop.
    #[arg(long)]
    show_batch: bool,
    /// Go on from the last checkpoint in the output directory.
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Start over in an output directory that holds a run already.
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    output: OutputArgs,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

impl TrainArgs {
    pub(super) fn json(&self) -> bool {
        self.output.json
    }

    pub(super) fn run(self, cancel: &CancelFlag) -> Result<()> {
        let (recipe, warnings) = self.resolve()?;
        let reporter = report::reporter(self.output.json, self.output.quiet);
        let progress = Progress { reporter: &*reporter, cancel };
        for warning in warnings {
            progress.warn(warning);
        }
        if self.show_config {
            drop(reporter);
            let text = recipe.to_yaml();
            return if self.output.json { print_json(&text) } else { print(&text) };
        }
        let directory = crate::hub::resolve(&recipe.base_model, None, crate::hub::cache_dir().as_deref())?;
        if self.show_batch {
            let tokenizer = Tokenizer::open(&directory)?;
            let data = TrainingData::load(&recipe, self.data.as_deref(), &tokenizer, self.output.workers(), progress)?;
            drop(reporter);
            let first = data.rows(&recipe, 0).into_iter().flatten().next();
            let example = first.and_then(|first| data.examples.get(first)).ok_or(TrainError::NothingTrained)?;
            return print(&show(example, &tokenizer)?);
        }
        let options = TrainOptions {
            out: self.out.clone().expect("the parser asks for `--out` unless a dry run has returned"),
            data_dir: self.data.clone(),
            resume: self.resume,
            force: self.force,
            inputs: vec![self.recipe.clone()],
            pool: None,
            workers: self.output.workers(),
        };
        let done = train::run(&recipe, &directory, &options, progress)?;
        drop(reporter);
        if self.output.json { print_json(&json(&done)) } else { print(&text(&done)) }
    }

    /// The recipe with the command line's settings, and warnings about it.
    fn resolve(&self) -> Result<Parsed> {
        Ok(TrainRecipe::load(&self.recipe, &self.overrides)?)
    }
}

fn json(report: &TrainReport) -> Value {
    let set = |set: &SetSummary| {
        json!({
            "name": set.name, "rows": set.rows, "examples": set.examples, "per_epoch": set.per_epoch,
            "held_out": set.held_out, "shortened": set.shortened, "dropped": set.dropped, "refused": set.refused,
            "tokens": set.tokens, "trained_tokens": set.trained_tokens,
        })
    };
    json!({
        "out": report.out, "steps": report.steps, "epochs": report.epochs, "parameters": report.parameters,
        "loss": report.loss, "best_step": report.best.map(|(step, _)| step),
        "best_metric": report.best.map(|(_, value)| value), "stopped_early": report.stopped_early,
        "tokens": report.tokens, "seconds": report.seconds,
        "datasets": report.sets.iter().map(set).collect::<Vec<_>>(),
    })
}

fn text(report: &TrainReport) -> String {
    let mut text = String::new();
    for set in &report.sets {
        let share = 100.0 * set.trained_tokens as f64 / set.tokens.max(1) as f64;
        text.push_str(&format!(
            "{}: {} examples of {} rows, {} an epoch, {} tokens ({share:.1} % trained)\n",
            shown(&set.name),
            set.examples,
            set.rows,
            set.per_epoch,
            set.tokens
        ));
        for (count, what) in
            [(set.shortened, "shortened"), (set.dropped + set.refused, "left out"), (set.held_out, "held out")]
        {
            if count > 0 {
                text.push_str(&format!("  {count} {what}\n"));
            }
        }
    }
    let loss = report.loss.map_or_else(String::new, |loss| format!(", loss {loss:.4}"));
    text.push_str(&format!(
        "{} parameters, {} steps, {:.2} epochs{loss}, {:.0} s\n",
        report.parameters, report.steps, report.epochs, report.seconds
    ));
    if let Some((step, value)) = report.best {
        text.push_str(&format!("best evaluation {value:.4} after step {step}\n"));
    }
    if report.stopped_early {
        text.push_str("stopped early: no evaluation was better for too long\n");
    }
    text.push_str(&format!("written to {}\n", shown(&report.out.display().to_string())));
    text
}
