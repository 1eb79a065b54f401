//! Protocols: how an answer becomes a label. The name stands in the filter slot of a metric's key,
//! since scores of different protocols must not be compared.
//!
//! - `choice-ll`: the most probable choice. The default.
//! - `pixiu-gen`: the rules with which PIXIU and FinBen read a generated answer, to the letter.
//! - `strict-gen`: a whole word, and exactly one label; else missing.

use std::collections::BTreeMap;

use super::filter::strip;

/// Protocol by which labels are read from answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Protocol {
    /// Argmax over the choices' log-probabilities.
    #[default]
    ChoiceLl,
    /// PIXIU's reading of generated text.
    PixiuGen(PixiuRules),
    /// One label as a whole word.
    StrictGen,
}

/// Rules that some PIXIU tasks add to the general one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PixiuRules {
    /// Further texts that stand for a choice (stock movement: `yes` and `positive` for `rise`).
    pub synonyms: BTreeMap<String, Vec<String>>,
    /// The choice of an answer that names none (stock movement: `fall`).
    pub default: Option<String>,
    /// Headline: the first of two choices only when the answer is exactly its text, else the second.
    pub exact_first: bool,
}

impl Protocol {
    /// Names of all protocols.
    pub(crate) const NAMES: [&'static str; 3] = ["choice-ll", "pixiu-gen", "strict-gen"];

    /// The protocol of a name, without task-specific rules.
    #[must_use]
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "choice-ll" => Some(Self::ChoiceLl),
            "pixiu-gen" => Some(Self::PixiuGen(PixiuRules::default())),
            "strict-gen" => Some(Self::StrictGen),
            _ => None,
        }
    }

    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::ChoiceLl => "choice-ll",
            Self::PixiuGen(_) => "pixiu-gen",
            Self::StrictGen => "strict-gen",
        }
    }

    /// Whether it reads written answers.
    #[must_use]
    pub(crate) fn is_generative(&self) -> bool {
        !matches!(self, Self::ChoiceLl)
    }

    /// The label that a written answer names, as an index of the choices; `None` when it names none.
    #[must_use]
    pub(crate) fn label(&self, answer: &str, choices: &[String]) -> Option<usize> {
        match self {
            Self::ChoiceLl => None,
            Self::PixiuGen(rules) => rules.label(answer, choices),
            Self::StrictGen => strict(answer, choices),
        }
    }
}

/// The choice that a right answer's text means: equal text, else equal but for case and outer blanks.
#[must_use]
pub(crate) fn gold_label(reference: &str, choices: &[String]) -> Option<usize> {
    let fold = |text: &str| strip(text).to_lowercase();
    let exact = choices.iter().position(|choice| choice == reference);
    exact.or_else(|| choices.iter().position(|choice| fold(choice) == fold(reference)))
}

impl PixiuRules {
    fn label(&self, answer: &str, choices: &[String]) -> Option<usize> {
        if self.exact_first {
            let first = choices.first().is_some_and(|choice| strip(answer) == choice);
            return Some(usize::from(!first)).filter(|&index| index < choices.len());
        }
        let answer = strip(answer).to_lowercase();
        let named = |choice: &String| {
            let choice = choice.to_lowercase();
            answer.contains(&choice)
                || self.synonyms.get(&choice).is_some_and(|list| list.iter().any(|other| answer.contains(other)))
        };
        choices.iter().position(named).or_else(|| {
            let default = self.default.as_ref()?.to_lowercase();
            choices.iter().position(|choice| choice.to_lowercase() == default)
        })
    }
}

/// A label counts where it stands between characters that are neither letters nor digits, and not
/// inside a longer label. Two different labels in one answer are no answer.
fn strict(answer: &str, choices: &[String]) -> Option<usize> {
    let answer = answer.to_lowercase();
    let mut places: Vec<(usize, usize, usize)> = Vec::new();
    for (index, choice) in choices.iter().enumerate() {
        let choice = strip(choice).to_lowercase();
        if choice.is_empty() {
            continue;
        }
        for (start, found) in answer.match_indices(&choice) {
            let end = start + found.len();
            let open = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
            if open(answer[..start].chars().next_back()) && open(answer[end..].chars().next()) {
                places.push((start, end, index));
            }
        }
    }
    let inside = |(start, end, _): &(usize, usize, usize)| {
        places.iter().any(|(s, e, _)| s <= start && end <= e && e - s > end - start)
    };
    let mut labels = places.iter().filter(|place| !inside(place)).map(|(_, _, index)| *index);
    let first = labels.next()?;
    labels.all(|label| label == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn pixiu_takes_the_first_choice_that_occurs_anywhere() {
        let labels = choices(&["Complete", "Rumour"]);
        let pixiu = Protocol::PixiuGen(PixiuRules::default());
        assert_eq!(pixiu.label(" INCOMPLETE deal", &labels), Some(0));
        assert_eq!(pixiu.label("a rumour, not complete", &labels), Some(0));
        assert_eq!(pixiu.label("\nrumours\n", &labels), Some(1));
        assert_eq!(pixiu.label("neither", &labels), None);

        let rules = PixiuRules {
            synonyms: BTreeMap::from([
                ("rise".to_owned(), choices(&["yes", "positive"])),
                ("fall".to_owned(), choices(&["no", "negative", "neutral"])),
            ]),
            default: Some("Fall".to_owned()),
            exact_first: false,
        };
        let labels = choices(&["Rise", "Fall"]);
        for (answer, label) in [("Yes!", 0), ("negative", 1), ("well", 1), ("fall, then rise", 0)] {
            assert_eq!(Protocol::PixiuGen(rules.clone()).label(answer, &labels), Some(label), "{answer}");
        }

        let headline = Protocol::PixiuGen(PixiuRules { exact_first: true, ..PixiuRules::default() });
        let labels = choices(&["Yes", "No"]);
        for (answer, label) in [(" Yes\n", 0), ("yes", 1), ("Yes.", 1), ("", 1)] {
            assert_eq!(headline.label(answer, &labels), Some(label), "{answer}");
        }
    }

    #[test]
    fn strict_wants_one_label_as_a_whole_word() {
        let labels = choices(&["complete", "not complete", "rumour"]);
        for (answer, label) in [
            ("Complete.", Some(0)),
            ("incomplete", None),
            ("It is not complete!", Some(1)),
            ("complete or rumour", None),
            ("rumour... RUMOUR", Some(2)),
            ("not complete, so complete", None),
            ("", None),
            ("complété", None),
        ] {
            assert_eq!(Protocol::StrictGen.label(answer, &labels), label, "{answer}");
        }
    }
}
