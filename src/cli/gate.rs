//! `billon gate`: the one command whose exit code is a verdict.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::compare::write_file;
use super::input::read_text;
use super::listing::Listing;
use super::output::{print, print_json};
use crate::error::{Diagnose, ErrorKind, Result};
use crate::eval::gate::{GateConfig, GateReport, Limit, Verdict, decide, junit, markdown};
use crate::eval::results::RunResults;
use crate::parallel::Workers;
use crate::visible;

/// Exit codes of the two verdicts that are no success (101 is a panic's).
const FAILED: u8 = 100;
const INCONCLUSIVE: u8 = 102;

/// Arguments of `billon gate`.
#[derive(Debug, Args)]
pub(crate) struct GateArgs {
    /// Results of the baseline and of the candidate: results files or their directories. One alone is
    /// the candidate's, when the gate file names the baseline.
    #[arg(required = true, num_args = 1..=2, value_names = ["BASELINE", "CANDIDATE"])]
    results: Vec<PathBuf>,
    /// Gate file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check these tasks only.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    tasks: Vec<String>,
    /// The metric, as `acc` or `acc,none` [default: each task's first].
    #[arg(long)]
    metric: Option<String>,
    /// Greatest drop that does not matter, in units of the metric (0.02 is two points of accuracy); for all
    /// tasks without their own [default: 0.05].
    #[arg(long, value_name = "X", conflicts_with = "max_drop_rel", allow_negative_numbers = true, value_parser = limit(Limit::MaxDrop))]
    max_drop: Option<f64>,
    /// The same as a share of the baseline's score, from 0 to 1.
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = limit(Limit::MaxDropRel))]
    max_drop_rel: Option<f64>,
    /// Score that the candidate must reach; for all tasks without their own.
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = limit(Limit::Min))]
    min: Option<f64>,
    /// Level of the tests, from 0.001 to below 0.5 [default: 0.05].
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = limit(Limit::Alpha))]
    alpha: Option<f64>,
    /// Seed of the bootstrap.
    #[arg(long)]
    seed: Option<u64>,
    /// End with exit code 102 when nothing failed but something could not be decided.
    #[arg(long)]
    fail_on_inconclusive: bool,
    /// Also write the report as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also write the report as Markdown, with the worst lost documents.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads a limit as a gate file does.
fn limit(limit: Limit) -> impl Fn(&str) -> std::result::Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| {
        limit.read(text).map_err(|slip| {
            let slip = slip.map_or_else(String::new, |slip| format!("; {slip}"));
            format!("must be {}{slip}", limit.range().words())
        })
    }
}

impl GateArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = self.gate()?;
        let (baseline, candidate) = match (self.results.as_slice(), &config.baseline) {
            ([baseline, candidate], _) => (baseline.clone(), candidate),
            ([candidate], Some(baseline)) => {
                // A path in a gate file is relative to that file.
                let folder = self.config.as_deref().and_then(std::path::Path::parent);
                (folder.map_or_else(|| PathBuf::from(baseline), |folder| folder.join(baseline)), candidate)
            }
            _ => return Err(NoBaseline.into()),
        };
        let report =
            decide(&config, &RunResults::load(&baseline)?, &RunResults::load(candidate)?, Workers::available())?;
        if let Some(path) = &self.junit {
            write_file(path, &junit::render(&report, config.fail_on_inconclusive))?;
        }
        if let Some(path) = &self.markdown {
            write_file(path, &markdown::render(&report))?;
        }
        if self.json {
            print_json(&report)?;
        } else {
            print(&render(&report))?;
        }
        Ok(match report.verdict {
            Verdict::Fail => ExitCode::from(FAILED),
            Verdict::Inconclusive if config.fail_on_inconclusive => ExitCode::from(INCONCLUSIVE),
            _ => ExitCode::SUCCESS,
        })
    }

    /// The gate file with what the command line adds.
    fn gate(&self) -> Result<GateConfig> {
        let mut config = match &self.config {
            Some(path) => GateConfig::parse(&path.display().to_string(), &read_text(path)?)?,
            None => GateConfig::default(),
        };
        if !self.tasks.is_empty() {
            config.only.clone_from(&self.tasks);
        }
        config.alpha = self.alpha.unwrap_or(config.alpha);
        config.seed = self.seed.unwrap_or(config.seed);
        config.fail_on_inconclusive |= self.fail_on_inconclusive;
        if self.max_drop.is_some() || self.max_drop_rel.is_some() {
            let roles = config.roles.iter_mut().map(|role| &mut role.rules);
            for rules in roles.chain(std::iter::once(&mut config.default)) {
                (rules.max_drop, rules.spans.max_drop) = (self.max_drop, None);
                (rules.max_drop_rel, rules.spans.max_drop_rel) = (self.max_drop_rel, None);
            }
        }
        let default = &mut config.default;
        default.metric = self.metric.clone().or(default.metric.take());
        if self.min.is_some() {
            (default.min, default.spans.min) = (self.min, None);
        }
        Ok(config)
    }
}

fn render(report: &GateReport) -> String {
    let header = ["check", "role", "metric", "rule", "baseline", "candidate", "verdict"];
    let mut table = Listing::new(&header, &[4, 5]);
    for check in &report.checks {
        table.row([
            check.name.clone(),
            check.role.clone().unwrap_or_else(String::new),
            if check.group { "mean of tasks".to_owned() } else { check.metric.clone() },
            format!("{} {}", check.rule, check.limit),
            format!("{:.4}", check.baseline),
            format!("{:.4}", check.candidate),
            check.verdict.name().to_owned(),
        ]);
    }
    let mut reasons = String::new();
    for check in report.checks.iter().filter(|check| !check.reason.is_empty()) {
        // A blank line stands before the first.
        let gap = if reasons.is_empty() { "\n" } else { "" };
        let _ = writeln!(reasons, "{gap}{}: {}", visible::value(&check.name), visible::value(&check.reason));
    }
    let count = |verdict| report.checks.iter().filter(|check| check.verdict == verdict).count();
    format!(
        "baseline   {}\ncandidate  {}\nrule       {}\n\n{}{reasons}\ngate: {} ({} passed, {} inconclusive, {} failed)\n",
        report.baseline,
        report.candidate,
        report.rule,
        table.render(),
        report.verdict.name(),
        count(Verdict::Pass),
        count(Verdict::Inconclusive),
        count(Verdict::Fail)
    )
}

#[derive(Debug, thiserror::Error)]
#[error("the gate has no baseline")]
struct NoBaseline;

impl Diagnose for NoBaseline {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        vec!["name two results, or set `baseline` in the gate file".to_owned()]
    }
}
