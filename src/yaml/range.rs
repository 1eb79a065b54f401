//! Numbers that a key accepts, in words and as a test.

use super::tree::number;

/// A set of numbers with its description: "`key` must be *a number above 0*".
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    words: &'static str,
    fits: fn(f64) -> bool,
    is_share: bool,
}

impl Range {
    /// Any finite number.
    pub(crate) const ANY: Self = Self::new("a number", |_| true);
    /// x > 0.
    pub(crate) const POSITIVE: Self = Self::new("a number above 0", |x| x > 0.0);
    /// x >= 0.
    pub(crate) const NOT_NEGATIVE: Self = Self::new("a number of 0 or more", |x| x >= 0.0);
    /// 0 <= x <= 1.
    pub(crate) const SHARE: Self = Self::new("a number from 0 to 1", |x| (0.0..=1.0).contains(&x)).of_shares();
    /// 0 <= x < 1.
    pub(crate) const BELOW_ONE: Self = Self::new("a number from 0 to below 1", |x| (0.0..1.0).contains(&x)).of_shares();
    /// 0 < x < 1.
    pub(crate) const PROPER_SHARE: Self = Self::new("a number above 0 and below 1", |x| x > 0.0 && x < 1.0).of_shares();

    /// The finite numbers for which `fits` holds; `words` complete "must be".
    pub(crate) const fn new(words: &'static str, fits: fn(f64) -> bool) -> Self {
        Self { words, fits, is_share: false }
    }

    /// The same numbers, meant as shares: of a percentage, the message says how it is written.
    pub(crate) const fn of_shares(self) -> Self {
        Self { is_share: true, ..self }
    }

    /// The description.
    #[must_use]
    pub(crate) fn words(self) -> &'static str {
        self.words
    }

    /// Whether a finite number is among them.
    #[must_use]
    pub(crate) fn contains(self, value: f64) -> bool {
        value.is_finite() && (self.fits)(value)
    }

    /// Reads a number of the range.
    ///
    /// # Errors
    /// Advice, where the text shows what was meant.
    pub(crate) fn parse(self, text: &str) -> Result<f64, Option<String>> {
        let text = text.trim();
        let percentage = text.strip_suffix('%').and_then(|text| number(text.trim()));
        if let Some(percentage) = percentage.filter(|x| self.is_share && x.is_finite()) {
            return Err(Some(per_cent(percentage)));
        }
        // `true` is 1.0 to Python and to mergekit's parameters; as the value of a key it is a slip.
        let value = if text.starts_with(char::is_alphabetic) { None } else { number(text) };
        let Some(value) = value else { return Err(None) };
        if self.contains(value) { Ok(value) } else { Err(self.advice(value)) }
    }

    /// Advice about a number outside of the range.
    #[must_use]
    pub(crate) fn advice(self, value: f64) -> Option<String> {
        (self.is_share && (0.5..=100.0).contains(&value)).then(|| per_cent(value))
    }
}

/// Writes a percentage as a share.
#[must_use]
pub(crate) fn per_cent(value: f64) -> String {
    // Two places more than the percentage has, so that 0.07 does not become 0.07000000000000001.
    let share = format!("{:.12}", value / 100.0);
    format!("{value} % is written {}", share.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_of_their_range_are_refused() {
        for (range, text) in [
            (Range::ANY, "nan"),
            (Range::ANY, ".inf"),
            (Range::ANY, "true"),
            (Range::ANY, ""),
            (Range::ANY, "5%"),
            (Range::POSITIVE, "0"),
            (Range::NOT_NEGATIVE, "-1e-9"),
            (Range::SHARE, "-0.5"),
            (Range::PROPER_SHARE, "0"),
        ] {
            assert_eq!(range.parse(text), Err(None), "{text}");
        }
        assert_eq!(Range::SHARE.parse("1"), Ok(1.0));
        assert_eq!(Range::POSITIVE.parse("2e-4"), Ok(2e-4));
    }

    #[test]
    fn percentages_are_refused_with_the_share() {
        for (range, text, advice) in [
            (Range::SHARE, "7%", "7 % is written 0.07"),
            (Range::SHARE, "50", "50 % is written 0.5"),
            (Range::BELOW_ONE, "1", "1 % is written 0.01"),
            (Range::PROPER_SHARE, "0.5 %", "0.5 % is written 0.005"),
        ] {
            assert_eq!(range.parse(text), Err(Some(advice.to_owned())), "{text}");
        }
        assert_eq!(Range::SHARE.parse("300"), Err(None));
    }
}
