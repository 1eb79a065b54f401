//! Numbers in answers to financial questions, and when two of them are equal.
//!
//! The text must be one number and nothing else (extract it with a `regex` filter if need be).
//! Currency signs, thousands separators, a leading `+`, brackets around negative numbers and a
//! trailing `%` are understood. Where exactly one side has a `%`, either reading of it counts: 12.5 %
//! equals 12.5 and 0.125, as data sets of financial questions write both.

/// A number read from an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quantity {
    /// The value as written, without regard to `%`.
    pub value: f64,
    /// Whether a `%` followed.
    pub percent: bool,
}

impl Quantity {
    /// Reads a whole text as a number.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().trim_end_matches('.').trim_end();
        let mut negative = false;
        if let Some(inner) = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            negative = true;
            rest = inner.trim();
        }
        let mut percent = false;
        if let Some(before) = rest.strip_suffix('%') {
            percent = true;
            rest = before.trim_end();
        }
        // Signs and currency stand in either order: -$5, $-5, - 5.
        let mut signs = 0;
        loop {
            let first = rest.chars().next()?;
            match first {
                '-' | '\u{2212}' | '\u{2013}' if signs == 0 => {
                    negative = !negative;
                    signs += 1;
                }
                '+' if signs == 0 => signs += 1,
                '$' | '€' | '£' | '¥' | '₹' => {}
                c if c.is_whitespace() => {}
                _ => break,
            }
            rest = &rest[first.len_utf8()..];
        }
        let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | 'e' | 'E' | '-' | '+');
        if !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !rest.chars().all(plain) {
            return None;
        }
        let value: f64 = rest.replace(',', "").parse().ok()?;
        value.is_finite().then_some(Self { value: if negative { -value } else { value }, percent })
    }

    /// Whether a prediction equals this right answer within a relative tolerance (0 is exact).
    #[must_use]
    pub(crate) fn matches(self, predicted: Self, tolerance: f64) -> bool {
        let near = |predicted: f64, gold: f64| (predicted - gold).abs() <= tolerance * gold.abs();
        near(predicted.value, self.value)
            || match (self.percent, predicted.percent) {
                (true, false) => near(predicted.value, self.value / 100.0),
                (false, true) => near(predicted.value / 100.0, self.value),
                _ => false,
            }
    }
}

/// Whether an answer is right: equal numbers, or equal words where the right answer is no number.
#[must_use]
pub(crate) fn numeric_match(predicted: &str, gold: &str, tolerance: f64) -> bool {
    match (Quantity::parse(gold), Quantity::parse(predicted)) {
        (Some(gold), Some(predicted)) => gold.matches(predicted, tolerance),
        (Some(_), None) => false,
        (None, _) => predicted.trim().to_lowercase() == gold.trim().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, value, percent) in [
            ("12.50", 12.5, false),
            (" $1,234.5 ", 1234.5, false),
            ("-$5", -5.0, false),
            ("$-5", -5.0, false),
            ("(3.2%)", -3.2, true),
            ("(1,000)", -1000.0, false),
            ("\u{2212}7 %", -7.0, true),
            ("+.5", 0.5, false),
            ("1e3", 1000.0, false),
            ("94.", 94.0, false),
        ] {
            assert_eq!(Quantity::parse(text), Some(Quantity { value, percent }), "{text}");
        }
        for text in ["", "-", "yes", "12 apples", "nan", "inf", "1.2.3", "%", "--5", "$"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn equality_knows_per_cent_words_and_tolerance() {
        for (predicted, gold, tolerance, equal) in [
            ("12.5%", "12.50%", 0.0, true),
            ("0.125", "12.5%", 0.0, true),
            ("12.5", "12.5%", 0.0, true),
            ("12.5%", "0.125", 0.0, true),
            ("0.125%", "12.5%", 0.0, false),
            ("12.51", "12.5", 0.0, false),
            ("12.51", "12.5", 0.01, true),
            ("-12.5", "12.5", 0.5, false),
            ("Yes", "yes", 0.0, true),
            ("5", "yes", 0.0, false),
            ("about 5", "5", 0.0, false),
        ] {
            assert_eq!(numeric_match(predicted, gold, tolerance), equal, "{predicted} for {gold}");
        }
    }
}
