//! Suggestions for misspelt names: the nearest of the known ones, by Damerau-Levenshtein distance.

/// Characters of a name that is compared at all: nobody means a known name by a longer one, and the comparison takes
/// the product of the lengths.
const LONGEST: usize = 120;

/// Returns the known name that `name` is probably meant to be. Case aside, and `-` for `_`, at most a third of the
/// letters may differ.
#[must_use]
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let fold = |s: &str| s.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&fold(name), &fold(candidate)), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the advice for an unknown name: the nearest known one, or all of them.
#[must_use]
pub(crate) fn advice(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["density", "weight", "lambda", "normalize"];
        assert_eq!(nearest("densty", &known), Some("density"));
        assert_eq!(nearest("wieght", &known), Some("weight"));
        assert_eq!(nearest("Lambda", &known), Some("lambda"));
        assert_eq!(nearest("tokenizer", &known), None);
        assert_eq!(nearest(&"density".repeat(20), &known), None);
    }

    #[test]
    fn advice_names_one_or_all() {
        assert_eq!(advice("densty", &["density", "weight"]), "did you mean `density`?");
        assert_eq!(advice("tokenizer", &["density", "weight"]), "known here: density, weight");
    }
}
