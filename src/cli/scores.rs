//! The table of an evaluation: Markdown, so that it can be pasted where people read it, where the terminal has room.

use std::fmt::Write as _;

use super::listing::Listing;
use super::terminal;
use crate::eval::results::RunRecord;
use crate::eval::results::write::results_json;
use crate::visible::value as shown;

/// Tasks with their metrics and intervals, then groups.
pub(crate) fn table(record: &RunRecord) -> String {
    let mut rows =
        vec![["task", "role", "metric", "filter", "shots", "documents", "score", "95 % interval"].map(str::to_owned)];
    for task in &record.tasks {
        let mut first = true;
        for score in task.metrics() {
            let shown = |text: String| if first { text } else { String::new() };
            let estimate = &score.estimate;
            let interval =
                estimate.interval.as_ref().map_or_else(|| "–".to_owned(), |i| format!("{:.4} – {:.4}", i.low, i.high));
            rows.push([
                shown(task.alias.clone().unwrap_or_else(|| task.name.clone())),
                shown(task.role.clone().unwrap_or_else(|| "–".to_owned())),
                score.metric.clone(),
                score.slot.clone(),
                task.num_fewshot.to_string(),
                task.evaluated().to_string(),
                format!("{:.4}", estimate.value),
                interval,
            ]);
            first = false;
        }
    }
    let mut text = fitting(&rows, &[4, 5, 6]);
    for task in &record.tasks {
        for metric in &task.not_scored {
            let _ = writeln!(text, "not scored: {} {}", shown(&task.name), shown(metric));
        }
    }
    let json = results_json(record);
    let mut groups = vec![["group", "metric", "documents", "score", "stderr"].map(str::to_owned)];
    for group in &record.groups {
        let Some(results) = json.pointer(&format!("/groups/{}", group.name)).and_then(|g| g.as_object()) else {
            continue;
        };
        for (key, value) in results.iter().filter(|(key, _)| key.contains(',') && !key.contains("_stderr,")) {
            let Some((metric, slot)) = key.split_once(',') else { continue };
            let number = |value: Option<&serde_json::Value>| {
                value.and_then(serde_json::Value::as_f64).map_or_else(|| "–".to_owned(), |x| format!("{x:.4}"))
            };
            let count =
                results.get("sample_count").and_then(|c| c.get(key)).map_or_else(String::new, ToString::to_string);
            groups.push([
                group.alias.clone().unwrap_or_else(|| group.name.clone()),
                key.clone(),
                count,
                number(Some(value)),
                number(results.get(&format!("{metric}_stderr,{slot}"))),
            ]);
        }
    }
    if groups.len() > 1 {
        text.push('\n');
        text.push_str(&fitting(&groups, &[2, 3, 4]));
    }
    text
}

/// A table for stdout: Markdown, or a listing where the terminal is too narrow for it.
pub(super) fn fitting<R: AsRef<[String]>>(rows: &[R], right: &[usize]) -> String {
    let text = markdown(rows, right);
    let needed = text.lines().next().map_or(0, |line| line.chars().count());
    let Some((header, rows)) = rows.split_first().filter(|_| terminal::width().is_some_and(|width| needed > width))
    else {
        return text;
    };
    let header: Vec<&str> = header.as_ref().iter().map(String::as_str).collect();
    let mut listing = Listing::new(&header, right);
    for row in rows {
        listing.row(row.as_ref().to_vec());
    }
    listing.render()
}

/// A Markdown table whose columns line up; `right` names those of numbers.
fn markdown<R: AsRef<[String]>>(rows: &[R], right: &[usize]) -> String {
    let cell = |cell: &String| shown(cell).replace('|', "\\|");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.as_ref().iter().map(cell).collect()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        text.push('|');
        for (column, (cell, w)) in row.iter().zip(&widths).enumerate() {
            let _ = if right.contains(&column) { write!(text, " {cell:>w$} |") } else { write!(text, " {cell:<w$} |") };
        }
        text.push('\n');
        if index == 0 {
            text.push('|');
            for (column, w) in widths.iter().enumerate() {
                let dashes = "-".repeat(*w);
                let _ = if right.contains(&column) { write!(text, " {dashes}:|") } else { write!(text, " {dashes} |") };
            }
            text.push('\n');
        }
    }
    text
}
