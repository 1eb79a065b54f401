//! `billon compare`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::listing::Listing;
use super::output::{print, print_json};
use crate::error::Result;
use crate::eval::compare::{Comparison, compare};
use crate::eval::results::RunResults;
use crate::parallel::Workers;
use crate::stats::resample::Resampling;
use crate::storage::publish::publish_file;
use crate::visible::value as shown;

/// Arguments of `billon compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Results of the baseline: a results file or its directory.
    baseline: PathBuf,
    /// Results of the candidates.
    #[arg(required = true)]
    candidates: Vec<PathBuf>,
    /// Compare these tasks only.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    tasks: Vec<String>,
    /// The metric, as `acc` or `acc,none` [default: each task's first].
    #[arg(long)]
    metric: Option<String>,
    /// Compare the shared documents even where prompts, template, shots or seed differ.
    #[arg(long)]
    allow_mismatch: bool,
    /// Flipped documents to list for each task.
    #[arg(long, value_name = "N", default_value_t = 0)]
    flips: usize,
    /// Seed of the bootstrap.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also write the comparison as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl CompareArgs {
    pub(super) fn run(self) -> Result<()> {
        let baseline = RunResults::load(&self.baseline)?;
        let resampling = Resampling { seed: self.seed, workers: Workers::available() };
        let mut comparisons = Vec::new();
        for candidate in &self.candidates {
            let candidate = RunResults::load(candidate)?;
            let metric = self.metric.as_deref();
            comparisons.push(compare(&baseline, &candidate, &self.tasks, metric, !self.allow_mismatch, resampling)?);
        }
        if let Some(path) = &self.markdown {
            let text: Vec<String> = comparisons.iter().map(|c| markdown(c, self.flips)).collect();
            write_file(path, &text.join("\n"))?;
        }
        if self.json {
            return if let [one] = comparisons.as_slice() { print_json(one) } else { print_json(&comparisons) };
        }
        let text: Vec<String> = comparisons.iter().map(|c| render(c, self.flips)).collect();
        print(&text.join("\n"))
    }
}

/// Writes a report that the user named, making its directory.
pub(super) fn write_file(path: &Path, text: &str) -> Result<()> {
    publish_file(path, text.as_bytes())?;
    Ok(())
}

const HEADER: [&str; 10] = [
    "task",
    "role",
    "metric",
    "documents",
    "baseline",
    "candidate",
    "difference",
    "95 % interval",
    "McNemar p",
    "lost/won",
];

/// The rows of the table, shared by terminal and Markdown.
fn rows(comparison: &Comparison) -> Vec<[String; 10]> {
    let interval = |[low, high]: [f64; 2]| format!("{low:+.4} … {high:+.4}");
    let tasks = comparison.tasks.iter().map(|task| {
        [
            task.task.clone(),
            task.role.clone().unwrap_or_else(String::new),
            task.metric.clone(),
            task.documents.map_or_else(String::new, |documents| documents.to_string()),
            format!("{:.4}", task.baseline),
            format!("{:.4}", task.candidate),
            format!("{:+.4}", task.difference),
            task.interval.map_or_else(|| "–".to_owned(), interval),
            task.mcnemar_p.map_or_else(String::new, crate::eval::gate::run::p_text),
            if task.paired { format!("{}/{}", task.lost, task.won) } else { String::new() },
        ]
    });
    let groups = comparison.groups.iter().map(|group| {
        [
            group.name.clone(),
            String::new(),
            format!("mean of {}", group.tasks.len()),
            String::new(),
            format!("{:.4}", group.baseline),
            format!("{:.4}", group.candidate),
            format!("{:+.4}", group.difference),
            interval(group.interval),
            String::new(),
            String::new(),
        ]
    });
    tasks.chain(groups).collect()
}

fn render(comparison: &Comparison, flips: usize) -> String {
    let mut text =
        format!("baseline   {}\ncandidate  {}\n\n", shown(&comparison.baseline), shown(&comparison.candidate));
    let mut table = Listing::new(&HEADER, &[3, 4, 5, 6, 8, 9]);
    for row in rows(comparison) {
        table.row(row);
    }
    text.push_str(&table.render());
    text.push('\n');
    if comparison.tasks.iter().any(|task| task.paired) {
        let (draws, seed) = (comparison.draws, comparison.seed);
        let _ = writeln!(text, "intervals: paired bootstrap (BCa), {draws} resamples, seed {seed}");
    }
    for note in &comparison.notes {
        let _ = writeln!(text, "{note}");
    }
    for task in &comparison.tasks {
        if let Some(note) = &task.note {
            let _ = writeln!(text, "{}: {note}", task.task);
        }
        for mismatch in &task.mismatches {
            let _ = writeln!(text, "{}: {}", shown(&task.task), shown(mismatch));
        }
        for flip in task.flips.iter().take(flips) {
            let kind = if flip.lost { "lost" } else { "won" };
            let _ = writeln!(
                text,
                "{} {kind} document {}: {} -> {} (right: {})",
                shown(&task.task),
                flip.doc_id,
                shown(&flip.baseline),
                shown(&flip.candidate),
                shown(&flip.target)
            );
        }
    }
    text
}

fn markdown(comparison: &Comparison, flips: usize) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text =
        format!("Baseline `{}`, candidate `{}`.\n\n", shown(&comparison.baseline), shown(&comparison.candidate));
    text.push_str(&line(&HEADER.map(str::to_owned)));
    text.push_str("| --- | --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |\n");
    for row in rows(comparison) {
        text.push_str(&line(&row.map(|cell| shown(&cell).replace('|', "\\|"))));
    }
    let notes = comparison.tasks.iter().filter_map(|task| Some(format!("{}: {}", task.task, task.note.as_ref()?)));
    for note in notes.chain(comparison.notes.iter().cloned()) {
        let _ = write!(text, "\n{note}.\n");
    }
    for task in comparison.tasks.iter().filter(|task| flips > 0 && !task.flips.is_empty()) {
        let _ = write!(text, "\n### {}\n\n| document | | right answer | baseline | candidate |\n", shown(&task.task));
        text.push_str("| ---: | --- | --- | --- | --- |\n");
        for flip in task.flips.iter().take(flips) {
            let kind = if flip.lost { "lost" } else { "won" };
            let cell = |text: &str| shown(&text.replace('\n', " ")).replace('|', "\\|");
            let cells =
                [flip.doc_id.to_string(), kind.into(), cell(&flip.target), cell(&flip.baseline), cell(&flip.candidate)];
            text.push_str(&line(&cells));
        }
    }
    text
}
