//! Templates filled from the word lists, and sentences.

use super::draw::Draw;
use super::words;

impl Draw {
    /// A template with its `{slots}` filled: those that are given, then the word lists, each
    /// occurrence drawn anew. A slot that nobody knows stays as it is, which a test excludes.
    pub(super) fn fill(&mut self, template: &str, given: &[(&str, &str)]) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let Some((slot, after)) = after.split_once('}') else {
                rest = after;
                continue;
            };
            match given.iter().find(|(name, _)| *name == slot) {
                Some((_, value)) => text.push_str(value),
                None => match words::slot(slot, self) {
                    Some(value) => text.push_str(&value),
                    None => text.push_str(&format!("{{{slot}}}")),
                },
            }
            rest = after;
        }
        text.push_str(rest);
        text
    }
}

/// A text as a sentence: a capital letter first, a full stop last.
pub(super) fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().map(|c| c.to_uppercase().collect()).unwrap_or_else(String::new);
    format!("{first}{}.", characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled_and_unknown_ones_stay() {
        let mut draw = Draw::new(1, &["y"]);
        assert_eq!(draw.fill("{a} and {a} or {no such}", &[("a", "B")]), "B and B or {no such}");
        assert!(!draw.fill("{company} in {city}", &[]).contains('{'));
        assert_eq!(sentence("net debt fell"), "Net debt fell.");
    }
}
