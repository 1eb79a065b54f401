//! Text forms of values in keys, fingerprints and checksums that are kept on disk.
//!
//! They are stated here and not derived, so that no new field, renamed variant or other version of the compiler changes
//! them. Version 0.1 wrote the same for all but unprintable characters.

use std::fmt::Display;

/// A text in quotes, with escapes for quotes, backslashes and control characters.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `[A, B]`, each item as `item` gives it.
pub(crate) fn list<T>(items: &[T], item: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(", "))
}

/// A list of texts.
pub(crate) fn texts(items: &[String]) -> String {
    list(items, |text| quoted(text))
}

/// A list of pairs of texts.
pub(crate) fn pairs(items: &[(String, String)]) -> String {
    list(items, |(first, second)| format!("({}, {})", quoted(first), quoted(second)))
}

/// `Some(VALUE)` or `None`.
pub(crate) fn optional(value: Option<impl Display>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| format!("Some({value})"))
}

/// The shortest decimal number that reads back as `value`, always with a point or an exponent.
pub(crate) fn real(value: f64) -> String {
    // The one form that the standard library promises to read back.
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and fingerprints of version 0.1 were Debug output; those of the same values are still found.
    #[test]
    fn the_forms_are_those_of_version_0_1() {
        for text in ["", "a b", "it's \"x\"\\", "1\n2\t3\r\0\u{1}\u{7f}", "naïve 漢字 😀", "{}"] {
            assert_eq!(quoted(text), format!("{text:?}"));
        }
        let (names, none) = (vec!["a".to_owned(), "b\"".to_owned()], Vec::<String>::new());
        assert_eq!((texts(&names), texts(&none)), (format!("{names:?}"), format!("{none:?}")));
        let both = vec![("user".to_owned(), "x\n".to_owned())];
        assert_eq!(pairs(&both), format!("{both:?}"));
        assert_eq!((optional(Some(3)), optional(None::<u64>)), (format!("{:?}", Some(3)), "None".to_owned()));
        assert_eq!([real(2.0), real(0.1), real(1e-7)], ["2.0", "0.1", "1e-7"]);
    }
}
