//! Texts from files as a terminal may show them: characters that act instead of being seen are escaped.
//!
//! A tensor name with ESC in it clears the screen or renames the window, one with a line break forges a line of
//! output, and direction marks show `safe.exe` for `exe.efas`. Compilers and version control escape them, and so do
//! we: [`value`] for a name or message on one line, [`block`] for text whose line ends are layout, [`json`] for JSON,
//! which stays JSON with the same meaning.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A value on one line: control characters, line ends, direction marks and invisible characters as `\n`, `\x1b`,
/// `\u{202e}`.
#[must_use]
pub(crate) fn value(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.is_control() || is_invisible(c) || is_joiner(c), escape)
}

/// A text of several lines: line ends, tabs and the joiners that some scripts and emoji need stay.
#[must_use]
pub(crate) fn block(text: &str) -> Cow<'_, str> {
    escaped(text, |c| !matches!(c, '\n' | '\t') && (c.is_control() || is_invisible(c)), escape)
}

/// A message whose line ends are layout where the next line is indented as one of a marked excerpt, and else escaped.
#[must_use]
pub(crate) fn message(text: &str) -> Cow<'_, str> {
    if !text.contains('\n') {
        return value(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push_str(if is_excerpt(line) { "\n" } else { "\\n" });
        }
        out.push_str(&escaped(line, |c| c != '\t' && (c.is_control() || is_invisible(c)), escape));
    }
    Cow::Owned(out)
}

/// JSON text without characters that act on a terminal: JSON leaves DEL, C1 controls and direction marks as they are.
#[must_use]
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |c| c >= '\x7f' && (c.is_control() || is_invisible(c)),
        |c, out| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

/// Whether a character would act on a terminal or a page, or hide there, instead of being seen.
#[must_use]
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

fn escaped(text: &str, acts: impl Fn(char) -> bool, write: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let Some(first) = text.find(&acts) else { return Cow::Borrowed(text) };
    let (head, tail) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(head);
    for c in tail.chars() {
        if acts(c) { write(c, &mut out) } else { out.push(c) }
    }
    Cow::Owned(out)
}

fn escape(c: char, out: &mut String) {
    let _ = match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if c.is_ascii() => write!(out, "\\x{:02x}", c as u32),
        c => write!(out, "\\u{{{:x}}}", c as u32),
    };
}

/// Characters that have no shape of their own: direction marks and overrides, spaces of no width, line and paragraph
/// separators, tags, annotation marks and fillers.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Zero-width joiner and non-joiner: part of the spelling in Persian, Hindi and emoji, a trick in a name.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// A line of an excerpt: ` --> file:1:2`, `  |`, `12 | text`, `12 |`, `  help: ...`.
fn is_excerpt(line: &str) -> bool {
    let text = line.trim_start_matches(' ');
    let indented = text.len() < line.len();
    let numbered = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (indented && (text.starts_with("--> ") || text == "|" || text.starts_with("| ") || text.starts_with("help: ")))
        || (numbered.len() < text.len() && (numbered == " |" || numbered.starts_with(" | ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_what_is_seen_stays() {
        assert_eq!(value("\u{1b}[31mEVIL\u{1b}]0;x\u{7}\n\r\t"), "\\x1b[31mEVIL\\x1b]0;x\\x07\\n\\r\\t");
        assert_eq!(value("a\u{9b}2Jb\u{7f}"), "a\\u{9b}2Jb\\x7f");
        assert_eq!(
            value("\u{202e}txt\u{2066}\u{200b}\u{200d}\u{feff}"),
            "\\u{202e}txt\\u{2066}\\u{200b}\\u{200d}\\u{feff}"
        );
        for plain in ["", "model.layers.0.weight", "Gewinn – 3 %", "日本語 😀 e\u{301}", "a\\nb"] {
            assert!(matches!(value(plain), Cow::Borrowed(text) if text == plain), "{plain}");
        }
        assert_eq!(block("a\tb\nमैं\u{200d}\u{1b}"), "a\tb\nमैं\u{200d}\\x1b");
    }

    #[test]
    fn only_excerpts_break_the_lines_of_a_message() {
        assert_eq!(message("key `a\nerror: forged`"), "key `a\\nerror: forged`");
        assert_eq!(message("key `a\n  hint: forged`"), "key `a\\n  hint: forged`");
        let excerpt = "unknown key `x`\n --> r.yml:2:1\n  |\n2 | x: 1\n  | ^\n  help: known here: y";
        assert_eq!(message(excerpt), excerpt);
    }

    #[test]
    fn json_keeps_its_meaning() {
        let given = serde_json::json!({"a\u{9b}\u{202e}": "\u{7f}\u{1b}\n\u{e0001}é"});
        let text = serde_json::to_string_pretty(&given).unwrap();
        let shown = json(&text);
        assert!(!shown.chars().any(|c| c != '\n' && is_hidden(c)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), given);
    }
}
