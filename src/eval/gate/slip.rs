//! Limits as they are typed, in a gate file or on the command line, with advice about wrong ones.

use crate::yaml::{Range, number};

/// A number of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Min,
    MaxDrop,
    MaxDropRel,
    Alpha,
}

impl Limit {
    /// Range of every value, whatever the metric.
    #[must_use]
    pub(crate) fn range(self) -> Range {
        match self {
            Self::Min => Range::ANY.of_shares(),
            Self::MaxDrop => Range::NOT_NEGATIVE.of_shares(),
            Self::MaxDropRel => Range::SHARE,
            Self::Alpha => Range::new("a number from 0.001 to below 0.5", |x| (0.001..0.5).contains(&x)).of_shares(),
        }
    }

    /// The value of a text.
    ///
    /// # Errors
    /// Advice, where the text shows what was meant.
    pub(crate) fn read(self, text: &str) -> Result<f64, Option<String>> {
        self.range().parse(text).map_err(|advice| match number(text.trim()) {
            Some(drop) if drop < 0.0 && drop.is_finite() && matches!(self, Self::MaxDrop | Self::MaxDropRel) => {
                Some(format!("a drop is written without a sign: {}", -drop))
            }
            _ => advice,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_per_cent_are_refused_with_the_share() {
        assert_eq!(Limit::MaxDropRel.read("5"), Err(Some("5 % is written 0.05".to_owned())));
        assert_eq!(Limit::MaxDrop.read("0.5%"), Err(Some("0.5 % is written 0.005".to_owned())));
        assert_eq!(Limit::Alpha.read("5"), Err(Some("5 % is written 0.05".to_owned())));
        assert_eq!(Limit::MaxDrop.read("-0.02"), Err(Some("a drop is written without a sign: 0.02".to_owned())));
        for (limit, text) in [(Limit::Alpha, "0"), (Limit::Min, "nan"), (Limit::MaxDrop, "inf"), (Limit::Min, "")] {
            assert_eq!(limit.read(text), Err(None), "{text}");
        }
        assert_eq!(Limit::MaxDropRel.read("1"), Ok(1.0));
        // Only the metric can tell whether this is too much: a perplexity may rise by 2.
        assert_eq!(Limit::MaxDrop.read("2"), Ok(2.0));
    }
}
