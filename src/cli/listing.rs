//! Tables for the terminal, as wide as it is.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle, Width};

use super::terminal;
use crate::visible;

/// Columns of text become no narrower than the longest piece of a name in them, or this where one is longer.
const NARROWEST: u16 = 20;

/// A table with a rule under its header and nothing else.
///
/// In a pipe a row is a line. On a terminal that is too narrow, text is wrapped in its cells and numbers are not; where
/// even that is too wide, a row is a block of lines, a cell a line.
pub(super) struct Listing {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Listing {
    /// A table with these headers; the columns `right` hold numbers: right-aligned and never wrapped.
    pub(super) fn new(header: &[&str], right: &[usize]) -> Self {
        let header = header.iter().map(|cell| visible::value(cell).into_owned()).collect();
        Self { header, rows: Vec::new(), right: right.to_vec() }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| visible::value(&cell).into_owned()).collect());
    }

    /// The text for stdout as it is, without trailing blanks.
    pub(super) fn render(self) -> String {
        self.render_within(terminal::width())
    }

    fn render_within(self, width: Option<usize>) -> String {
        let mut table = Table::new();
        let rule = LineStyle::none().fill('─').junction('─');
        table.load_style(TableStyle::new().header_separator(rule));
        table.set_content_arrangement(ContentArrangement::Disabled).set_header(self.header.clone());
        let natural = self.natural();
        let widths = match width {
            Some(width) if total(&natural) > width => match self.wrapped(&natural, width) {
                Some(widths) => Some(widths),
                None => return self.blocks(),
            },
            _ => None,
        };
        for row in &self.rows {
            let cells = row.iter().enumerate();
            table.add_row(cells.map(|(column, cell)| match widths.as_ref().and_then(|widths| widths.get(column)) {
                Some(width) if !self.right.contains(&column) => wrap(cell, usize::from(*width)),
                _ => cell.clone(),
            }));
        }
        let last = natural.len().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            // The rule's junction takes one more place between columns.
            column.set_padding((0, u16::from(index < last)));
            if self.right.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if let Some(width) = widths.as_ref().and_then(|widths| widths.get(index)) {
                // With its padding.
                let width = width + u16::from(index < last);
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
            }
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Widths of columns that wrap nothing.
    fn natural(&self) -> Vec<u16> {
        let mut table = Table::new();
        table.set_header(self.header.clone()).add_rows(self.rows.clone());
        table.column_max_content_widths()
    }

    /// Widths that fit: the widest column of text gives way first.
    fn wrapped(&self, natural: &[u16], width: usize) -> Option<Vec<u16>> {
        let mut widths = natural.to_vec();
        let least: Vec<u16> = (0..widths.len()).map(|column| self.least(column, natural)).collect();
        while total(&widths) > width {
            let spare = widths.iter_mut().zip(&least).filter(|(width, least)| **width > **least);
            let (widest, _) = spare.max_by_key(|(width, _)| **width)?;
            *widest -= 1;
        }
        Some(widths)
    }

    fn least(&self, column: usize, natural: &[u16]) -> u16 {
        let natural = natural.get(column).copied().unwrap_or(0);
        if self.right.contains(&column) {
            return natural;
        }
        let cells = std::iter::once(&self.header).chain(&self.rows).filter_map(|row| row.get(column));
        let piece = cells.flat_map(|cell| pieces(cell)).map(|piece| piece.trim_end().chars().count()).max();
        u16::try_from(piece.unwrap_or(0)).unwrap_or(u16::MAX).min(NARROWEST).min(natural)
    }

    /// A cell a line, named by its header.
    fn blocks(&self) -> String {
        let names = self.header.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            for (name, cell) in self.header.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
                text.push_str(&format!("{name:<names$}  {cell}\n"));
            }
        }
        text
    }
}

/// A text cut where a line may end: after a space, and in names after `_`, `/` and a dot before a letter, so that no number
/// is broken.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.char_indices().find_map(|(at, c)| {
        let after = rest.get(at + c.len_utf8()..).filter(|after| !after.is_empty())?;
        let ends = matches!(c, ' ' | '_' | '/') || (c == '.' && after.starts_with(char::is_alphabetic));
        ends.then_some(at + c.len_utf8())
    }) {
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// A text in lines of at most this width, as far as its pieces are not longer.
fn wrap(text: &str, width: usize) -> String {
    let (mut lines, mut filled) = (String::new(), 0);
    for piece in pieces(text) {
        let long = piece.chars().count();
        if filled > 0 && filled + piece.trim_end().chars().count() > width {
            lines.truncate(lines.trim_end().len());
            lines.push('\n');
            filled = 0;
        }
        lines.push_str(piece);
        filled += long;
    }
    lines
}

/// Two places stand between columns.
fn total(widths: &[u16]) -> usize {
    widths.iter().map(|width| usize::from(*width)).sum::<usize>() + 2 * widths.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let mut listing = Listing::new(&["check", "score", "kind"], &[1]);
        listing.row(["mean of all unseen tasks".to_owned(), "-1234.5678".to_owned(), "group of tasks".to_owned()]);
        listing.row(["model.layers.0.weight".to_owned(), "0.5".to_owned(), String::new()]);
        listing
    }

    #[test]
    fn a_row_is_a_line_where_there_is_room() {
        let expected = "check                          score  kind\n\
                        ──────────────────────────────────────────────────\n\
                        mean of all unseen tasks  -1234.5678  group of tasks\n\
                        model.layers.0.weight            0.5\n";
        let plain: Vec<String> = listing().render_within(None).lines().map(str::to_owned).collect();
        assert_eq!(plain.len(), 4);
        assert_eq!(plain[2], expected.lines().nth(2).unwrap());
        assert_eq!(listing().render_within(Some(52)).lines().collect::<Vec<_>>(), plain);
    }

    #[test]
    fn text_is_wrapped_between_words_and_numbers_are_not() {
        for width in [42, 45, 51] {
            let text = listing().render_within(Some(width));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            assert!(text.contains("-1234.5678"), "{text}");
            assert!(text.split_whitespace().any(|word| word == "unseen"), "{text}");
        }
    }

    #[test]
    fn names_are_broken_between_their_parts() {
        assert_eq!(wrap("financial_phrasebank", 12), "financial_\nphrasebank");
        assert_eq!(wrap("model.layers.0.self_attn.q_proj", 16), "model.layers.0.\nself_attn.q_proj");
        assert_eq!(wrap("max_drop 0.02", 10), "max_drop\n0.02");
        assert_eq!(wrap("+0.0100 … -0.0200", 9), "+0.0100 …\n-0.0200");
    }

    #[test]
    fn a_gate_fits_eighty_columns() {
        let mut listing =
            Listing::new(&["check", "role", "metric", "rule", "baseline", "candidate", "verdict"], &[4, 5]);
        let row =
            ["financial_phrasebank", "unseen", "mean of tasks", "max_drop 0.02", "0.8123", "0.8012", "INCONCLUSIVE"];
        listing.row(row.map(str::to_owned));
        let text = listing.render_within(Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.starts_with("check ") && text.contains("INCONCLUSIVE") && text.contains("0.8123"), "{text}");
    }

    #[test]
    fn a_row_is_a_block_where_words_would_be_broken() {
        let text = listing().render_within(Some(26));
        assert_eq!(
            text,
            "check  mean of all unseen tasks\nscore  -1234.5678\nkind   group of tasks\n\n\
             check  model.layers.0.weight\nscore  0.5\n"
        );
    }
}
