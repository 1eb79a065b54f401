//! Excerpts of a file below a message: place, line, and a marker under the text that is meant.
//!
//! `annotate-snippets` draws line and marker, since it knows how many columns a character takes on a terminal: two
//! for East Asian wide characters and emoji, none for combining marks, four for a tab. It is given one line, because a
//! [`Span`] lies within its line (of a mapping or a list it marks the start), and a short one: files may have lines of
//! megabytes, and the crate lays out all it gets.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source_text::SourceText;
use super::tree::Span;
use crate::visible;

/// Characters of the file that an excerpt shows.
const WIDEST: usize = 160;

/// Returns ` --> file:line:column`, the line and its marker. Characters of the file that would act on a terminal are
/// escaped, as everywhere in our output.
#[must_use]
pub(super) fn excerpt(source: &SourceText, span: Span) -> String {
    let line = source.text.lines().nth(span.line.saturating_sub(1)).unwrap_or("");
    let shown = Shown::new(line, span.column.saturating_sub(1), span.length);
    let marked = AnnotationKind::Primary.span(shown.start..shown.end);
    let snippet = Snippet::source(shown.text.as_str()).line_start(span.line).annotation(marked);
    let group = [Group::with_level(Level::ERROR).element(snippet)];
    // Lines are cut here, around the marker, so the renderer's own trimming is switched off by width.
    let drawn = Renderer::plain().term_width(10_000).render(&group);
    let gutter = " ".repeat(span.line.to_string().len());
    let mut text = String::with_capacity(drawn.len() + 80);
    // The column counts characters of the file, which the renderer does not see when the line is cut.
    let _ = write!(text, "{gutter}--> {}:{}:{}\n{drawn}", visible::value(&source.name), span.line, span.column);
    text
}

/// A line as it is shown, and the bytes of it that are marked.
struct Shown {
    text: String,
    start: usize,
    end: usize,
}

impl Shown {
    /// Cuts a line to [`WIDEST`] characters around the marked ones.
    fn new(line: &str, column: usize, length: usize) -> Self {
        let long = line.char_indices().nth(WIDEST).is_some();
        let skipped = if long && column > WIDEST / 2 { column - WIDEST / 4 } else { 0 };
        // Counting from the skipped part on keeps a long line from being walked once for each piece.
        let rest = after(line, skipped);
        let (before, rest) = rest.split_at(rest.len() - after(rest, column - skipped).len());
        let room = WIDEST.saturating_sub(column - skipped);
        // A marker of no length marks one character, or the end of the line.
        let (marked, rest) = rest.split_at(rest.len() - after(rest, length.clamp(1, room.max(1))).len());
        let behind = if long { first(rest, room.saturating_sub(length.max(1))) } else { rest };
        let cut = behind.len() < rest.len();
        let mut text = String::new();
        if skipped > 0 {
            text.push('…');
        }
        text.push_str(&visible::block(before));
        let start = text.len();
        text.push_str(&visible::block(marked));
        let end = text.len();
        text.push_str(&visible::block(behind));
        if cut {
            text.push('…');
        }
        Self { text, start, end }
    }
}

/// The text behind the first `count` characters.
fn after(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or("", |(place, _)| text.split_at(place).1)
}

/// The first `count` characters.
fn first(text: &str, count: usize) -> &str {
    text.split_at(text.len() - after(text, count).len()).0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The excerpt of a file with this text.
    fn shown(text: &str, line: usize, column: usize, length: usize) -> String {
        let source = SourceText { name: "r.yml".to_owned(), text: text.to_owned() };
        excerpt(&source, Span { line, column, length })
    }

    #[test]
    fn ascii() {
        assert_eq!(shown("a: 1\nbcd: 2\n", 2, 1, 3), " --> r.yml:2:1\n  |\n2 | bcd: 2\n  | ^^^");
        let eleventh = "\n".repeat(10) + "x: {y: 1}";
        assert_eq!(shown(&eleventh, 11, 5, 1), "  --> r.yml:11:5\n   |\n11 | x: {y: 1}\n   |     ^");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(
            shown("{模型: 基线, weigth: 1}", 1, 10, 6),
            " --> r.yml:1:10\n  |\n1 | {模型: 基线, weigth: 1}\n  |              ^^^^^^"
        );
        // A wide word is marked over its whole width.
        assert_eq!(shown("a: 日本", 1, 4, 2), " --> r.yml:1:4\n  |\n1 | a: 日本\n  |    ^^^^");
        assert_eq!(shown("😀: 🚀 x", 1, 6, 1), " --> r.yml:1:6\n  |\n1 | 😀: 🚀 x\n  |        ^");
        // Full-width forms, and half-width ones.
        assert_eq!(shown("Ａ: ｱ x", 1, 6, 1), " --> r.yml:1:6\n  |\n1 | Ａ: ｱ x\n  |       ^");
    }

    #[test]
    fn combining_marks_take_none() {
        assert_eq!(shown("e\u{301}te\u{301}: x", 1, 8, 1), " --> r.yml:1:8\n  |\n1 | e\u{301}te\u{301}: x\n  |      ^");
        assert_eq!(shown("नमस्ते: x", 1, 9, 1).lines().count(), 4);
    }

    #[test]
    fn tabs_take_four() {
        assert_eq!(shown("a: 1\n\tbc: 2\n", 2, 2, 2), " --> r.yml:2:2\n  |\n2 |     bc: 2\n  |     ^^");
        assert_eq!(shown("a:\tb\tc", 1, 6, 1), " --> r.yml:1:6\n  |\n1 | a:    b    c\n  |            ^");
    }

    #[test]
    fn characters_that_act_on_a_terminal_are_escaped_and_the_marker_stays_below_its_target() {
        let expected = format!(" --> r.yml:1:13\n  |\n1 | a\\x1b[31m\\u{{202e}}b\\rc: x\n  | {}^", " ".repeat(23));
        assert_eq!(shown("a\u{1b}[31m\u{202e}b\rc: x", 1, 13, 1), expected);
        let marked = shown("\u{1b}: 1", 1, 1, 1);
        assert_eq!(marked, " --> r.yml:1:1\n  |\n1 | \\x1b: 1\n  | ^^^^");
    }

    #[test]
    fn long_lines_are_cut_around_the_marker() {
        let line = format!("{}KEY{}", "a".repeat(300), "b".repeat(300));
        let expected =
            format!(" --> r.yml:1:301\n  |\n1 | …{}KEY{}…\n  | {}^^^", "a".repeat(40), "b".repeat(117), " ".repeat(41));
        assert_eq!(shown(&line, 1, 301, 3), expected);
        let wide = shown(&"模".repeat(1000), 1, 501, 2);
        assert!(wide.ends_with(&format!("\n  | {}^^^^", " ".repeat(81))), "{wide}");
        // A marker that is longer than what is shown ends where the line does.
        let all = shown(&"x".repeat(400), 1, 1, 400);
        assert_eq!(all, format!(" --> r.yml:1:1\n  |\n1 | {0}…\n  | {1}", "x".repeat(160), "^".repeat(160)));
        // At the end of a long line.
        let end = shown(&"x".repeat(400), 1, 400, 1);
        assert_eq!(end, format!(" --> r.yml:1:400\n  |\n1 | …{}\n  | {}^", "x".repeat(41), " ".repeat(41)));
    }

    #[test]
    fn places_beyond_the_text_are_shown_at_its_end() {
        assert_eq!(shown("a: 1", 1, 5, 0), " --> r.yml:1:5\n  |\n1 | a: 1\n  |     ^");
        assert_eq!(shown("a: 1", 1, 90, 4), " --> r.yml:1:90\n  |\n1 | a: 1\n  |     ^");
        assert_eq!(shown("a: 1\n\nb", 2, 1, 1), " --> r.yml:2:1\n  |\n2 |\n  | ^");
        assert_eq!(shown("", 1, 1, 1), " --> r.yml:1:1\n  |\n1 |\n  | ^");
        assert_eq!(shown("", 9, 1, 1), " --> r.yml:9:1\n  |\n9 |\n  | ^");
    }

    /// A block of several lines is marked where it starts, and its span never reaches into the next line.
    #[test]
    fn blocks_of_several_lines_are_marked_at_their_start() {
        assert_eq!(shown("a:\n  b: 1\n  c: 2\n", 2, 3, 9), " --> r.yml:2:3\n  |\n2 |   b: 1\n  |   ^^^^");
        assert_eq!(shown("a: |\n  one\n  two\n", 1, 4, 0), " --> r.yml:1:4\n  |\n1 | a: |\n  |    ^");
    }

    #[test]
    fn a_line_of_fifty_megabytes_takes_no_time() {
        let line = "a: ".to_owned() + &"x".repeat(50 << 20);
        let start = std::time::Instant::now();
        for column in [1, 4, 25 << 20, 50 << 20] {
            assert!(shown(&line, 1, column, 50 << 20).len() < 1000);
        }
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }
}
