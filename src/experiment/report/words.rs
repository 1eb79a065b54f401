//! Numbers as text, and texts from files as text of a page.

use crate::visible::is_hidden;

/// A text inside an HTML element or attribute, control characters left out.
#[must_use]
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if is_hidden(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A text inside a Markdown paragraph or table cell: one line, without meaning to Markdown or HTML.
#[must_use]
pub(crate) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '!' | '~' | '<' | '>' | '&' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_hidden(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    // A bare address would become a link.
    out.replace("://", ":\\//")
}

/// A text as a fenced block that nothing in it can end.
#[must_use]
pub(crate) fn fenced(text: &str, language: &str) -> String {
    let runs = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(runs.max(2) + 1);
    let clean: String =
        text.chars().map(|c| if c != '\n' && c != '\t' && is_hidden(c) { '\u{fffd}' } else { c }).collect();
    format!("{fence}{language}\n{}\n{fence}\n", clean.trim_end())
}

/// A text on one line without characters that do something instead of being seen.
#[must_use]
pub(crate) fn visible(text: &str) -> String {
    let seen = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_hidden(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(seen).collect()
}

/// A score with three places.
#[must_use]
pub(crate) fn score(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "–".to_owned() }
}

/// A difference with its sign.
#[must_use]
pub(crate) fn signed(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    // What rounds to nothing has no sign.
    if value.abs() < 0.0005 {
        return "0.000".to_owned();
    }
    if value < 0.0 { format!("−{:.3}", -value) } else { format!("+{value:.3}") }
}

/// Formats a p-value.
#[must_use]
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// A number of any size in four significant digits.
#[must_use]
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    if !(1e-3..1e5).contains(&size) {
        return format!("{value:.2e}");
    }
    let places = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_signs_are_true() {
        assert_eq!((signed(-0.0004), signed(-0.0126), signed(0.2)), ("0.000".into(), "−0.013".into(), "+0.200".into()));
        assert_eq!(
            [number(0.25), number(1234.5678), number(2e-7), number(0.0)],
            ["0.2500", "1235", "2.00e-7", "0"].map(String::from)
        );
        assert_eq!((p_value(0.00001), p_value(0.05)), ("< 0.0001".into(), "0.0500".into()));
    }

    #[test]
    fn a_fence_is_longer_than_any_in_the_text() {
        assert_eq!(fenced("a\n```\nb", "yaml"), "````yaml\na\n```\nb\n````\n");
    }
}
