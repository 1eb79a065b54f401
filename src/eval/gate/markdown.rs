//! The gate as Markdown, for a pull request's comment or a job's summary.

use std::fmt::Write as _;

use super::run::GateReport;
use crate::visible;

/// Lost documents shown for each task.
const SHOWN: usize = 5;

/// The Markdown.
#[must_use]
pub(crate) fn render(report: &GateReport) -> String {
    let mut text = format!("## Gate: {}\n\n", report.verdict.name());
    let _ = writeln!(text, "Baseline {}, candidate {}.\n", code(&report.baseline), code(&report.candidate));
    let _ = writeln!(text, "Rule: {}.\n", cell(&report.rule));
    text.push_str("| check | rule | baseline | candidate | verdict | why |\n| --- | --- | ---: | ---: | --- | --- |\n");
    for check in &report.checks {
        let metric = if check.metric.is_empty() { "mean of tasks" } else { &check.metric };
        let _ = writeln!(
            text,
            "| {} {} | {} | {:.4} | {:.4} | **{}** | {} |",
            cell(&check.name),
            code(metric),
            code(&format!("{}: {}", check.rule, check.limit)),
            check.baseline,
            check.candidate,
            check.verdict.name(),
            cell(&check.reason)
        );
    }
    for (task, flips) in &report.flips {
        let lost = flips.iter().filter(|flip| flip.lost).count();
        if flips.is_empty() {
            continue;
        }
        let _ = write!(text, "\n### {}: {lost} lost, {} won\n", cell(task), flips.len() - lost);
        if lost == 0 {
            continue;
        }
        text.push_str("\n| document | right answer | baseline | candidate | margin | prompt ends |\n");
        text.push_str("| ---: | --- | --- | --- | ---: | --- |\n");
        for flip in flips.iter().filter(|flip| flip.lost).take(SHOWN) {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {:.2} | {} |",
                flip.doc_id,
                cell(&flip.target),
                cell(&flip.baseline),
                cell(&flip.candidate),
                flip.margin,
                cell(&flip.prompt)
            );
        }
        if lost > SHOWN {
            let _ = writeln!(text, "\n{} more lost documents are in the JSON report.", lost - SHOWN);
        }
    }
    text
}

/// A text that stays inside its table cell and is shown as it is.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '\n' | '\r' | '\t' => out.push(' '),
            c if visible::is_hidden(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A text as inline code that it cannot leave, in a table cell too.
fn code(text: &str) -> String {
    let clean = |c: char| match c {
        '`' => '\'',
        '\n' | '\r' | '\t' => ' ',
        c if visible::is_hidden(c) => '\u{fffd}',
        c => c,
    };
    format!("`{}`", text.chars().map(clean).collect::<String>().replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_their_cells_and_code_spans() {
        assert_eq!(code("a`b|c\n\u{202e}d"), "`a'b\\|c \u{fffd}d`");
        assert_eq!(cell("a|b`<x>\n\u{1b}[31m\u{200b}"), "a\\|b\\`&lt;x> \u{fffd}\\[31m\u{fffd}");
    }
}
