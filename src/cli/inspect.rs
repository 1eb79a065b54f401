//! `billon inspect`.

use std::fmt::Write as _;

use clap::Args;

use super::listing::Listing;
use super::output::{print, print_json};
use super::size::{human_bytes, human_count};
use crate::error::Result;
use crate::inspect::model::{CONFIG_KEYS, ModelSummary, TensorSummary, TiedWeights, summarize};
use crate::inspect::open::open;
use crate::merge::plan::sources::Resolver;
use crate::visible;

/// Arguments of `billon inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Model directory, or org/name or org/name@revision in the Hugging Face cache.
    model: String,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
    /// Print as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl InspectArgs {
    pub(super) fn run(self) -> Result<()> {
        let model = open(&self.model, &Resolver::from_environment())?;
        let summary = summarize(&model, self.tensors);
        if self.json { print_json(&summary) } else { print(&render(&summary)) }
    }
}

fn render(summary: &ModelSummary) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key:<24}{}", visible::value(value));
    };
    line("model", &summary.model);
    if summary.directory.as_os_str() != summary.model.as_str() {
        line("directory", &summary.directory.display().to_string());
    }
    line("architecture", summary.architecture.as_deref().unwrap_or("unknown"));
    line("model type", summary.model_type.as_deref().unwrap_or("unknown"));
    let (short, exact) = (human_count(summary.parameters), summary.parameters.to_string());
    line("parameters", &if short == exact { exact } else { format!("{short} ({exact})") });
    line("tensors", &format!("{}, {}", summary.tensor_count, human_bytes(summary.bytes)));
    let layers = &summary.layers;
    line(
        "layers",
        &match layers.count {
            0 => "none".to_owned(),
            n => format!("{n} as {}*, {} parameters", layers.prefix, human_count(layers.parameters)),
        },
    );
    line("tied weights", &tied(&summary.tied_weights));
    for key in CONFIG_KEYS {
        if let Some(value) = summary.config.get(*key) {
            line(key, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    for warning in &summary.warnings {
        line("warning", warning);
    }
    let mut dtypes = Listing::new(&["dtype", "tensors", "parameters", "bytes"], &[1, 2, 3]);
    for (name, d) in &summary.dtypes {
        dtypes.row([name.clone(), d.tensors.to_string(), human_count(d.parameters), human_bytes(d.bytes)]);
    }
    let mut shards = Listing::new(&["shard", "tensors", "bytes"], &[1, 2]);
    for shard in &summary.shards {
        shards.row([shard.file.display().to_string(), shard.tensors.to_string(), human_bytes(shard.bytes)]);
    }
    let _ = write!(text, "\n{}\n{}", dtypes.render(), shards.render());
    if let Some(tensors) = &summary.tensors {
        let _ = write!(text, "\n{}", tensor_table(tensors));
    }
    text
}

fn tied(tied: &TiedWeights) -> String {
    match (&tied.head, &tied.embedding) {
        (None, Some(embedding)) if tied.is_tied() => format!("the output head, if there is one, is {embedding}"),
        _ => "none".to_owned(),
    }
}

fn tensor_table(tensors: &[TensorSummary]) -> String {
    let mut table = Listing::new(&["tensor", "layer", "dtype", "shape", "bytes", "shard"], &[1, 4]);
    for tensor in tensors {
        table.row([
            tensor.name.clone(),
            tensor.layer.map_or_else(String::new, |layer| layer.to_string()),
            tensor.dtype.to_owned(),
            format!("{:?}", tensor.shape),
            human_bytes(tensor.bytes),
            tensor.shard.display().to_string(),
        ]);
    }
    table.render()
}
