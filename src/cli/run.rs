//! `billon run`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::merge::lock_algorithm;
use super::output::{OutputArgs, print, print_json};
use super::prompts::PromptArgs;
use super::report;
use crate::error::Result;
use crate::event::{CancelFlag, Progress};
use crate::experiment::engine::Local;
use crate::experiment::report::data::{ReportData, Score};
use crate::experiment::state::State;
use crate::experiment::{Experiment, Graph, RunOptions, file, plan, run};
use crate::storage::hash::{HashAlgorithm, HashCache};

/// Arguments of `billon run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Experiment file.
    experiment: PathBuf,
    /// Where adapters, results and the report are written, and what is finished is remembered.
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// Where the tasks' data files are, instead of the experiment's `data`.
    #[arg(long, env = "BILLON_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Model directory or cached repository, instead of the experiment's `base_model`.
    #[arg(long, value_name = "MODEL")]
    base_model: Option<String>,
    /// Only show what would run, and why.
    #[arg(long)]
    plan: bool,
    /// Run a step (by its name in the plan, or `all`) whatever is remembered of it.
    #[arg(long, value_name = "STEP")]
    force: Vec<String>,
    /// Don't remember answers, and don't use remembered ones.
    #[arg(long)]
    no_cache: bool,
    /// Record SHA-256 in the locks of merged models, as model hubs do, instead of BLAKE3.
    #[arg(long)]
    sha256: bool,
    #[command(flatten)]
    prompts: PromptArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl RunArgs {
    pub(super) fn json(&self) -> bool {
        self.output.json
    }

    pub(super) fn run(self, cancel: &CancelFlag) -> Result<()> {
        let experiment = self.read()?;
        if self.plan {
            let graph = Graph::new(&experiment)?;
            let state = State::load(&self.out)?;
            let mut cache = HashCache::open_default();
            if let Some(warning) = cache.warning() {
                report::plain::write_line(&format!("warning: {warning}"));
            }
            let plan = plan(&graph, &state, &self.force, &mut cache, cancel)?;
            return if self.output.json { print_json(&plan) } else { print(&plan.render()) };
        }
        let algorithm = lock_algorithm(self.sha256);
        execute(&experiment, &self.out, &self.force, !self.no_cache, algorithm, &self.output, cancel)
    }

    fn read(&self) -> Result<Experiment> {
        let mut experiment = file::load(&self.experiment)?;
        if let Some(data) = &self.data {
            experiment.data = Some(data.clone());
        }
        if let Some(model) = &self.base_model {
            experiment.base_model.clone_from(model);
        }
        self.prompts.apply(&mut experiment.evaluation.prompts);
        Ok(experiment)
    }
}

/// Runs an experiment into a folder and prints its table.
pub(super) fn execute(
    experiment: &Experiment,
    out: &Path,
    force: &[String],
    remember: bool,
    algorithm: HashAlgorithm,
    output: &OutputArgs,
    cancel: &CancelFlag,
) -> Result<()> {
    let reporter = report::reporter(output.json, output.quiet);
    let progress = Progress { reporter: &*reporter, cancel };
    let mut steps = Local::new(output.workers(), remember, algorithm);
    let options = RunOptions { force: force.to_vec() };
    run(experiment, out, &options, &mut steps, progress)?;
    drop(reporter);
    // What the report shows is what is printed, whether or not it was written by this run.
    let text = super::input::read_text(&out.join("report.json"))?;
    if output.json {
        return super::output::print_json_text(&text);
    }
    let rows = serde_json::from_str::<ReportData>(&text).map_or_else(|_| String::new(), |data| table(&data));
    print(&format!("{rows}\nreport: {}\n", crate::visible::value(&out.join("report.html").display().to_string())))
}

/// Rows by tasks, then means and verdict.
fn table(report: &ReportData) -> String {
    let number = |score: Option<Score>| score.map_or_else(|| "–".to_owned(), |score| format!("{:.4}", score.value));
    let mut header = vec!["row".to_owned()];
    header.extend(report.tasks.iter().map(|task| task.name.clone()));
    header.extend(["mean seen", "mean unseen", "gate"].map(str::to_owned));
    let right: Vec<usize> = (1..header.len() - 1).collect();
    let mut lines = vec![header];
    for row in &report.rows {
        let mut line = vec![row.name.clone()];
        line.extend(row.cells.iter().map(|cell| number(*cell)));
        line.extend([number(row.seen), number(row.unseen)]);
        line.push(row.verdict.clone().unwrap_or_else(|| "–".to_owned()));
        lines.push(line);
    }
    let mut text = super::scores::fitting(&lines, &right);
    if let Some(gate) = report.gates.iter().find(|gate| !gate.rule.is_empty()) {
        text.push_str(&format!("\ngate: {}\n", gate.rule));
    }
    text
}
