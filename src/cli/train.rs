//! `billon train`: a recipe and data in, an adapter or a model out.

use std::path::PathBuf;

use clap::Args;

use super::{OutputArgs, print, print_json, report};
use crate::error::Result;
use crate::event::{CancelFlag, Progress};
use crate::train::recipe::{Parsed, TrainRecipe};

/// Arguments of `billon train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
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
    #[arg(long)]
    resume: bool,
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
        // Here the trainer takes over: data, model, `config.resolved.yaml` in the output directory.
        Ok(())
    }

    /// The recipe with the command line's settings, and warnings about it.
    fn resolve(&self) -> Result<Parsed> {
        Ok(TrainRecipe::load(&self.recipe, &self.overrides)?)
    }
}
