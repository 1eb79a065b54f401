//! The report as Markdown: the page's facts without its plots, which stand in its tables.

use std::fmt::Write as _;

use super::data::ReportData;
use super::section::{Block, Cell, Table, lead, sections};
use super::words::{fenced, markdown};
use crate::experiment::error::ExperimentError;

/// The text.
///
/// # Errors
/// A plot that can't be drawn.
pub(crate) fn render(data: &ReportData) -> Result<String, ExperimentError> {
    let mut text = format!("# {}\n\n{}\n", markdown(&data.title), markdown(&lead(data)));
    for section in sections(data)?.iter().filter(|section| !section.blocks.is_empty()) {
        let _ = write!(text, "\n## {}\n", section.title);
        for block in &section.blocks {
            match block {
                Block::Text(words) => {
                    let _ = write!(text, "\n{}\n", markdown(words));
                }
                Block::Table(table) => render_table(table, &mut text),
                Block::Figure { .. } => {}
                Block::Code { title, text: code, language } => {
                    let _ = write!(text, "\n### {}\n\n{}", markdown(title), fenced(code, language));
                }
            }
        }
        if section.id == "training" {
            render_curves(data, &mut text);
        }
    }
    let _ = write!(text, "\nMade by billon {}.\n", env!("CARGO_PKG_VERSION"));
    Ok(text)
}

/// Writes the values of the plots as numbers.
fn render_curves(data: &ReportData, text: &mut String) {
    for curve in &data.curves {
        let _ = write!(
            text,
            "\n### Training of {}\n\n| step | loss | learning rate |\n| ---: | ---: | ---: |\n",
            markdown(&curve.name)
        );
        // Every point is on the page; here about twenty say how it went.
        let every = curve.loss.len().div_ceil(20).max(1);
        for (index, (step, loss)) in curve.loss.iter().enumerate() {
            if index % every == 0 || index + 1 == curve.loss.len() {
                let rate =
                    curve.learning_rate.get(index).map_or_else(|| "–".to_owned(), |(_, r)| super::words::number(*r));
                let _ = writeln!(text, "| {step} | {} | {rate} |", super::words::number(*loss));
            }
        }
        for (name, points) in &curve.evaluations {
            let list: Vec<String> =
                points.iter().map(|(step, value)| format!("{} at {step}", super::words::number(*value))).collect();
            let _ = write!(text, "\n{}: {}\n", markdown(name), list.join(", "));
        }
    }
}

fn render_table(table: &Table, text: &mut String) {
    if table.rows.is_empty() {
        return;
    }
    let _ = write!(text, "\n{}:\n\n|", markdown(&table.caption));
    let mut groups = table.groups.iter().flat_map(|(title, span)| std::iter::repeat_n(title, *span));
    for title in &table.header {
        let group = groups.next().filter(|group| !group.is_empty());
        let shown = group.map_or_else(|| markdown(title), |group| format!("{} ({})", markdown(title), markdown(group)));
        let _ = write!(text, " {shown} |");
    }
    text.push_str("\n|");
    for numeric in &table.numeric {
        text.push_str(if *numeric { " ---: |" } else { " --- |" });
    }
    text.push('\n');
    for row in &table.rows {
        text.push('|');
        for cell in row {
            let _ = write!(text, " {} |", shown(cell));
        }
        text.push('\n');
    }
}

fn shown(cell: &Cell) -> String {
    let mut out = markdown(&cell.text);
    if cell.strong && !out.is_empty() {
        out = format!("**{out}**");
    }
    if !cell.more.is_empty() {
        let _ = write!(out, " ({})", markdown(&cell.more.replace('\n', ", ")));
    }
    out
}
