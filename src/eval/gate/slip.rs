//! Limits as they are typed, in a gate file or on the command line, and what a wrong one was meant to be.

use crate::yaml::number;

/// A number of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Min,
    MaxDrop,
    MaxDropRel,
    Alpha,
}

impl Limit {
    /// The key of a gate file.
    #[must_use]
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::MaxDrop => "max_drop",
            Self::MaxDropRel => "max_drop_rel",
            Self::Alpha => "alpha",
        }
    }

    /// Range of every value, whatever the metric.
    #[must_use]
    pub(crate) fn range(self) -> &'static str {
        match self {
            Self::Min => "a number",
            Self::MaxDrop => "a number of 0 or more",
            Self::MaxDropRel => "a number from 0 to 1",
            Self::Alpha => "a number from 0.001 to below 0.5",
        }
    }

    /// The value of a text.
    ///
    /// # Errors
    /// Advice, where the text shows what was meant.
    pub(crate) fn read(self, text: &str) -> Result<f64, Option<String>> {
        let text = text.trim();
        if let Some(share) = text.strip_suffix('%').and_then(|text| number(text.trim())) {
            return Err(Some(per_cent(share)));
        }
        // `true` is a number to a recipe, not to a gate.
        let numeric = !text.starts_with(|c: char| c.is_alphabetic());
        let Some(value) = number(text).filter(|x| numeric && x.is_finite()) else { return Err(None) };
        let fits = match self {
            Self::Min => true,
            Self::MaxDrop => value >= 0.0,
            Self::MaxDropRel => (0.0..=1.0).contains(&value),
            Self::Alpha => (0.001..0.5).contains(&value),
        };
        if fits {
            Ok(value)
        } else if value < 0.0 && matches!(self, Self::MaxDrop | Self::MaxDropRel) {
            Err(Some(format!("a drop is written without a sign: {}", -value)))
        } else if (0.5..=100.0).contains(&value) {
            Err(Some(per_cent(value)))
        } else {
            Err(None)
        }
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
