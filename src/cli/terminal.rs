//! The terminal that results are shown on.

use std::io;

use rustix::termios::tcgetwinsize;

/// Columns that a line of stdout may have: `COLUMNS`, else those of the terminal. `None` in a pipe.
pub(super) fn width() -> Option<usize> {
    columns(std::env::var("COLUMNS").ok().as_deref())
        .or_else(|| tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0))
}

fn columns(text: Option<&str>) -> Option<usize> {
    text?.trim().parse().ok().filter(|width| *width > 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_is_a_number_above_zero() {
        let texts = [None, Some(""), Some("0"), Some("x"), Some("-1"), Some("80"), Some(" 120 ")];
        assert_eq!(texts.map(super::columns), [None, None, None, None, None, Some(80), Some(120)]);
    }
}
