//! `billon diff`.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};

use super::listing::Listing;
use super::output::{OutputArgs, print, print_json};
use super::report;
use super::size::{human_bytes, human_count};
use crate::compute::merge::cpu::Cpu;
use crate::error::Result;
use crate::event::{CancelFlag, Progress};
use crate::inspect::TaskVectorReport;
use crate::inspect::open::open;
use crate::inspect::statistics::GroupSummary;
use crate::inspect::task_vectors::compare;
use crate::merge::plan::sources::Resolver;
use crate::visible::value as shown;

/// Arguments of `billon diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Base model: directory, or org/name or org/name@revision in the Hugging Face cache.
    base: String,
    /// Models fine-tuned from it.
    #[arg(required = true)]
    tuned: Vec<String>,
    /// What to list; may be repeated [default: total and module].
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    by: Vec<Grouping>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Grouping {
    /// Everything as one vector.
    Total,
    /// Tensors of the same name in all layers as one vector.
    Module,
    /// Decoder layers.
    Layer,
    /// Every tensor.
    Tensor,
}

impl DiffArgs {
    pub(super) fn json(&self) -> bool {
        self.output.json
    }

    pub(super) fn run(self, cancel: &CancelFlag) -> Result<()> {
        let resolver = Resolver::from_environment();
        let base = open(&self.base, &resolver)?;
        let tuned = self.tuned.iter().map(|text| open(text, &resolver)).collect::<Result<Vec<_>, _>>()?;
        let reporter = report::reporter(self.output.json, self.output.quiet);
        let progress = Progress { reporter: &*reporter, cancel };
        let mut under_base_names = Vec::with_capacity(tuned.len());
        for model in tuned {
            let (model, rules) = model.named_as(&base);
            for (from, to) in rules {
                let (own, base) = (&model.reference, &base.reference);
                progress.warn(format!(
                    "tensor names of `{own}` differ from `{base}` by a prefix: `{from}*` stands for `{to}*`"
                ));
            }
            under_base_names.push(model);
        }
        let tuned = under_base_names;
        let mut result = compare(&base, &tuned, &Cpu, self.output.workers(), progress)?;
        drop(reporter);
        let by = if self.by.is_empty() { &[Grouping::Total, Grouping::Module][..] } else { &self.by };
        let parts = [
            (Grouping::Module, &mut result.modules),
            (Grouping::Layer, &mut result.layers),
            (Grouping::Tensor, &mut result.tensors),
        ];
        for (grouping, groups) in parts {
            if !by.contains(&grouping) {
                groups.clear();
            }
        }
        if self.output.json { print_json(&result) } else { print(&render(&result, by.contains(&Grouping::Total))) }
    }
}

fn render(report: &TaskVectorReport, total: bool) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "base      {}", shown(&report.base));
    for (i, tuned) in report.tuned.iter().enumerate() {
        let _ = writeln!(text, "{:<10}{}", format!("[{}]", i + 1), shown(tuned));
    }
    let all = &report.total;
    let _ = writeln!(
        text,
        "compared  {} tensors, {} parameters, {} read",
        all.tensors,
        human_count(all.elements),
        human_bytes(report.bytes_read)
    );
    if !report.skipped.is_empty() {
        let mut names: Vec<&str> = report.skipped.iter().map(|s| s.tensor.as_str()).collect();
        names.dedup();
        let _ = writeln!(text, "skipped   {} tensors: {}", names.len(), shown(&names.join(", ")));
    }
    let sections = [
        ("total", if total { std::slice::from_ref(all) } else { &[] }),
        ("module", &report.modules[..]),
        ("layer", &report.layers[..]),
        ("tensor", &report.tensors[..]),
    ];
    for (title, groups) in sections.into_iter().filter(|(_, groups)| !groups.is_empty()) {
        let _ = write!(text, "\n{}", table(title, groups, report.tuned.len()));
    }
    text
}

/// One line per group and model; what belongs to the group as a whole stands on its first line.
fn table(title: &str, groups: &[GroupSummary], models: usize) -> String {
    let mut header = vec![if title == "total" { String::new() } else { title.to_owned() }, "parameters".to_owned()];
    if models > 1 {
        header.push("model".to_owned());
    }
    header.extend(["norm", "relative", "zeros", "largest"].map(str::to_owned));
    match models {
        1 => {}
        2 => header.extend(["cosine", "conflicts"].map(str::to_owned)),
        _ => {
            header.extend((1..=models).map(|i| format!("cos [{i}]")));
            header.push("conflicts".to_owned());
        }
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let right: Vec<usize> = (1..header.len()).filter(|i| header[*i] != "model").collect();
    let mut table = Listing::new(&header, &right);
    for group in groups {
        for (i, vector) in group.task_vectors.iter().enumerate() {
            let first = |text: String| if i == 0 { text } else { String::new() };
            let mut row = vec![first(group.name.clone()), first(human_count(group.elements))];
            if models > 1 {
                row.push(format!("[{}]", i + 1));
            }
            row.extend([
                number(vector.norm),
                share(vector.relative_norm),
                share(vector.zero_share),
                number(vector.largest),
            ]);
            if models == 2 {
                row.push(first(cosine(group, 0, 1)));
            } else if models > 2 {
                row.extend((0..models).map(|j| if i == j { String::new() } else { cosine(group, i.min(j), i.max(j)) }));
            }
            if let Some(conflicts) = group.sign_conflicts {
                row.push(first(share(conflicts.rate)));
            }
            table.row(row);
        }
    }
    table.render()
}

fn cosine(group: &GroupSummary, first: usize, second: usize) -> String {
    let pair = group.pairs.iter().find(|p| (p.first, p.second) == (first, second));
    pair.and_then(|p| p.cosine)
        .map_or_else(|| "–".to_owned(), |c| format!("{:.4}", if c.abs() < 5e-5 { 0.0 } else { c }))
}

/// Four digits.
fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(x) if !(1e-3..1e5).contains(&x.abs()) => format!("{x:.3e}"),
        Some(x) => {
            let decimals = (3 - x.abs().log10().floor() as i32).max(0);
            format!("{x:.*}", usize::try_from(decimals).unwrap_or(0))
        }
    }
}

fn share(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(x) if x != 0.0 && x.abs() < 1e-4 => format!("{:.1e}%", x * 100.0),
        Some(x) => format!("{:.2}%", x * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        let texts = [0.0, 1.0, 0.001_234_56, 12.345_67, 99_999.4, 1e-4, 1e7].map(|x| number(Some(x)));
        assert_eq!(texts, ["0", "1.000", "0.001235", "12.35", "99999", "1.000e-4", "1.000e7"]);
        assert_eq!([None, Some(0.0), Some(0.5), Some(2e-6)].map(share), ["–", "0.00%", "50.00%", "2.0e-4%"]);
    }
}
