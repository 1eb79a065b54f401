//! Typed reading of a tree: every kind of file that people write is read through [`Fields`] and [`Field`].
//!
//! A value that does not fit is noted with its place, its key, what was expected and what was found; reading goes on,
//! so that all faults of a file are reported at once. Types of other modules join in with [`FromYaml`].
//!
//! ```text
//! let fields = Fields::of(root, "the gate file", diagnostics)?.known("key", KEYS, diagnostics);
//! let seed: Option<u64> = fields.optional("seed", diagnostics);
//! let model: Option<String> = fields.required("base_model", diagnostics);
//! let alpha = fields.given("alpha").and_then(|field| field.number(ALPHA, diagnostics));
//! ```

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::diagnostic::{Diagnostics, shortened};
use super::range::Range;
use super::tree::{Kind, Node, Span, Spanned, boolean, number};

/// Characters of a value that a message quotes.
const LONGEST_VALUE: usize = 60;

/// A type that a value of a file is read as.
pub(crate) trait FromYaml: Sized {
    /// Reads a value; what does not fit is noted.
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self>;
}

/// A value with the key that it stands under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'n> {
    /// The key's name, as messages call it.
    pub(crate) name: &'n str,
    /// Place of the key.
    pub(crate) key: Span,
    /// The value.
    pub(crate) node: &'n Node,
}

impl<'n> Field<'n> {
    /// Reads the value as a type.
    pub(crate) fn read<T: FromYaml>(self, diagnostics: &mut Diagnostics) -> Option<T> {
        T::from_yaml(self, diagnostics)
    }

    /// An element of the value, under the same key.
    #[must_use]
    pub(crate) fn element(self, node: &'n Node) -> Self {
        Self { node, ..self }
    }

    /// Whether the key stands there without a value.
    #[must_use]
    pub(crate) fn is_null(self) -> bool {
        self.node.kind == Kind::Null
    }

    /// The text of a scalar, empty ones included.
    #[must_use]
    pub(crate) fn scalar(self) -> Option<&'n str> {
        self.node.text()
    }

    /// Notes that the value is not what it must be.
    pub(crate) fn expected(self, what: impl Display, diagnostics: &mut Diagnostics) {
        diagnostics.error(self.node.span, self.mismatch(what));
    }

    /// The message of [`Field::expected`].
    #[must_use]
    pub(crate) fn mismatch(self, what: impl Display) -> String {
        format!("`{}` must be {what}, not {}", self.name, found(self.node))
    }

    /// The entries of a mapping.
    pub(crate) fn fields(self, diagnostics: &mut Diagnostics) -> Option<Fields<'n>> {
        Fields::of(self.node, &format!("`{}`", self.name), diagnostics)
    }

    /// The items of a list.
    pub(crate) fn items(self, diagnostics: &mut Diagnostics) -> Option<&'n [Node]> {
        if let Kind::Sequence(items) = &self.node.kind {
            return Some(items);
        }
        self.expected("a list", diagnostics);
        None
    }

    /// The items of a list that has some.
    pub(crate) fn some_items(self, diagnostics: &mut Diagnostics) -> Option<&'n [Node]> {
        let items = self.items(diagnostics)?;
        if items.is_empty() {
            diagnostics.error(self.node.span, format!("`{}` is empty", self.name));
        }
        Some(items).filter(|items| !items.is_empty())
    }

    /// A number of a range.
    pub(crate) fn number(self, range: Range, diagnostics: &mut Diagnostics) -> Option<f64> {
        match self.scalar().map_or(Err(None), |text| range.parse(text)) {
            Ok(value) => Some(value),
            Err(advice) => {
                self.refuse(range.words(), advice, diagnostics);
                None
            }
        }
    }

    /// Notes that the value is not what it must be, with advice if there is some.
    pub(crate) fn refuse(self, what: impl Display, advice: Option<String>, diagnostics: &mut Diagnostics) {
        match advice {
            Some(advice) => diagnostics.error_help(self.node.span, self.mismatch(what), advice),
            None => self.expected(what, diagnostics),
        }
    }

    /// A whole number, which may be written as one of YAML's floats (`1e3`).
    pub(crate) fn whole(self, range: RangeInclusive<u64>, diagnostics: &mut Diagnostics) -> Option<u64> {
        self.bounded(self.scalar().and_then(whole), range, diagnostics)
    }

    /// The number that the value was read as, if it was and lies in the range.
    pub(crate) fn bounded(
        self,
        value: Option<u64>,
        range: RangeInclusive<u64>,
        diagnostics: &mut Diagnostics,
    ) -> Option<u64> {
        let value = value.filter(|n| range.contains(n));
        if value.is_none() {
            let (least, most) = (range.start(), range.end());
            let words = match *most {
                u64::MAX => format!("a whole number of {least} or more"),
                most => format!("a whole number from {least} to {most}"),
            };
            self.expected(words, diagnostics);
        }
        value
    }

    /// The meaning of one of several words; of another, the nearest known one is named: "unknown `what` `word`".
    pub(crate) fn one_of<T: Copy>(self, what: &str, words: &[(&str, T)], diagnostics: &mut Diagnostics) -> Option<T> {
        self.word(what, words, str::to_owned, diagnostics)
    }

    /// The same, with capitals and dashes for underscores let pass.
    pub(crate) fn one_of_folded<T: Copy>(
        self,
        what: &str,
        words: &[(&str, T)],
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        self.word(what, words, |word| word.to_lowercase().replace('-', "_"), diagnostics)
    }

    fn word<T: Copy>(
        self,
        what: &str,
        words: &[(&str, T)],
        fold: impl Fn(&str) -> String,
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        let word: String = self.read(diagnostics)?;
        let folded = fold(&word);
        let meaning = words.iter().find(|(name, _)| *name == folded).map(|(_, meaning)| *meaning);
        if meaning.is_none() {
            let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
            diagnostics.unknown(self.node.span, what, &word, &names);
        }
        meaning
    }
}

/// The entries of a mapping, in order of writing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'n> {
    span: Span,
    entries: &'n [(Spanned<String>, Node)],
}

impl<'n> Fields<'n> {
    /// The entries of a node, which `what` must be a mapping.
    pub(crate) fn of(node: &'n Node, what: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        if let Kind::Mapping(entries) = &node.kind {
            return Some(Self { span: node.span, entries });
        }
        diagnostics.error(node.span, format!("{what} must be a mapping, not {}", found(node)));
        None
    }

    /// The same, and none where nothing stands.
    pub(crate) fn of_optional(node: &'n Node, what: &str, diagnostics: &mut Diagnostics) -> Self {
        let given = if node.kind == Kind::Null { None } else { Self::of(node, what, diagnostics) };
        given.unwrap_or(Self { span: node.span, entries: &[] })
    }

    /// The entries of a mapping; none of what is no mapping, for those who have noted that already.
    #[must_use]
    pub(crate) fn within(node: &'n Node) -> Self {
        let entries: &[_] = if let Kind::Mapping(entries) = &node.kind { entries } else { &[] };
        Self { span: node.span, entries }
    }

    /// Notes keys that are not among the known ones: "unknown `what` `name`".
    pub(crate) fn known(self, what: &str, known: &[&str], diagnostics: &mut Diagnostics) -> Self {
        for field in self.iter().filter(|field| !known.contains(&field.name)) {
            diagnostics.unknown(field.key, what, field.name, known);
        }
        self
    }

    /// Place of the mapping.
    #[must_use]
    pub(crate) fn span(self) -> Span {
        self.span
    }

    /// All entries.
    pub(crate) fn iter(self) -> impl Iterator<Item = Field<'n>> {
        self.entries.iter().map(|(key, node)| Field { name: &key.value, key: key.span, node })
    }

    /// The entry of a key, which may stand there without a value.
    #[must_use]
    pub(crate) fn get(self, key: &str) -> Option<Field<'n>> {
        self.iter().find(|field| field.name == key)
    }

    /// The entry of a key that has a value.
    #[must_use]
    pub(crate) fn given(self, key: &str) -> Option<Field<'n>> {
        self.get(key).filter(|field| !field.is_null())
    }

    /// Reads the value of a key, if it has one.
    pub(crate) fn optional<T: FromYaml>(self, key: &str, diagnostics: &mut Diagnostics) -> Option<T> {
        self.given(key)?.read(diagnostics)
    }

    /// Reads the value of a key, noting that it is missing.
    pub(crate) fn required<T: FromYaml>(self, key: &str, diagnostics: &mut Diagnostics) -> Option<T> {
        self.needed(key, diagnostics)?.read(diagnostics)
    }

    /// The entry of a key, noting that it is missing.
    pub(crate) fn needed(self, key: &str, diagnostics: &mut Diagnostics) -> Option<Field<'n>> {
        let field = self.get(key);
        if field.is_none() {
            diagnostics.error(self.span, format!("`{key}` is missing"));
        }
        field
    }
}

/// A text that is not empty.
impl FromYaml for String {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = field.scalar().filter(|text| !text.is_empty());
        if text.is_none() {
            field.expected("a text", diagnostics);
        }
        text.map(str::to_owned)
    }
}

/// YAML 1.1's words for true and false.
impl FromYaml for bool {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let value = field.scalar().and_then(boolean);
        if value.is_none() {
            field.expected("true or false", diagnostics);
        }
        value
    }
}

/// Any finite number.
impl FromYaml for f64 {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        field.number(Range::ANY, diagnostics)
    }
}

/// A whole number of 0 or more.
impl FromYaml for u64 {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        field.whole(0..=u64::MAX, diagnostics)
    }
}

/// A whole number of 0 or more.
impl FromYaml for usize {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        field.whole(0..=u64::MAX, diagnostics).and_then(|n| Self::try_from(n).ok())
    }
}

/// A list; one scalar is a list of one.
impl<T: FromYaml> FromYaml for Vec<T> {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &field.node.kind {
            Kind::Sequence(items) => {
                Some(items.iter().filter_map(|item| field.element(item).read(diagnostics)).collect())
            }
            Kind::Scalar { .. } => Some(vec![field.read(diagnostics)?]),
            Kind::Null | Kind::Mapping(_) => {
                field.expected("a list", diagnostics);
                None
            }
        }
    }
}

/// A value with its place.
impl<T: FromYaml> FromYaml for Spanned<T> {
    fn from_yaml(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Self> {
        let value = field.read(diagnostics)?;
        Some(Self { value, span: field.node.span })
    }
}

/// A node as messages say it: the scalar's text, or its kind.
fn found(node: &Node) -> Cow<'static, str> {
    match node.text() {
        Some("") => Cow::Borrowed("an empty text"),
        Some(text) => Cow::Owned(format!("`{}`", shortened(text, LONGEST_VALUE))),
        None => Cow::Borrowed(node.describe()),
    }
}

fn whole(text: &str) -> Option<u64> {
    let text = text.trim();
    let round = |x: &f64| x.fract() == 0.0 && (0.0..9e15).contains(x);
    // `true` is 1.0 to `number`.
    let float = || number(text).filter(|_| !text.starts_with(char::is_alphabetic)).filter(round).map(|x| x as u64);
    text.parse().ok().or_else(float)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::yaml::diagnostic::SourceText;
    use crate::yaml::parse;

    /// Reads a text; returns the value and the faults that were noted.
    fn read<T>(text: &str, take: impl Fn(Fields<'_>, &mut Diagnostics) -> T) -> (T, Vec<String>) {
        let source = Arc::new(SourceText { name: "r.yml".into(), text: text.into() });
        let mut diagnostics = Diagnostics::new(source, false);
        let nodes = parse(text, &mut diagnostics);
        let value = take(Fields::of(&nodes[0], "the file", &mut diagnostics).unwrap(), &mut diagnostics);
        let faults = diagnostics.list().iter().map(|fault| {
            let place = fault.span.map_or_else(String::new, |span| format!("{}:{}: ", span.line, span.column));
            let help = fault.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
            format!("{place}{}{help}", fault.message)
        });
        (value, faults.collect())
    }

    #[test]
    fn values_are_read_as_types() {
        let text = "text: x y\nflag: No\nnumber: -1_0.5\nwhole: 1e3\nlist: [a, b]\none: c\nempty:\n";
        let (value, faults) = read(text, |fields, d| {
            assert_eq!(fields.optional::<String>("text", d).as_deref(), Some("x y"));
            assert_eq!(fields.optional::<bool>("flag", d), Some(false));
            assert_eq!(fields.optional::<f64>("number", d), Some(-10.5));
            assert_eq!(fields.required::<u64>("whole", d), Some(1000));
            assert_eq!(fields.optional::<Vec<String>>("list", d), Some(vec!["a".to_owned(), "b".to_owned()]));
            assert_eq!(fields.optional::<Vec<String>>("one", d), Some(vec!["c".to_owned()]));
            assert_eq!(fields.optional::<String>("absent", d).or(fields.optional("empty", d)), None);
            fields.required::<Spanned<String>>("text", d).unwrap().span
        });
        assert_eq!((value, faults), (Span { line: 1, column: 7, length: 3 }, Vec::new()));
    }

    #[test]
    fn every_fault_is_noted_with_place_key_expectation_and_finding() {
        let text = "text: [1]\nflag: maybe\nnumber: true\nwhole: -1\nsmall: 200\nlist: {a: 1}\nword: sene\nshare: 70\n\
                    quoted: ''\nempty:\nmapping: 5\nitems: []\nodd: 1\n";
        let (_, faults) = read(text, |fields, d| {
            fields.optional::<String>("text", d);
            fields.optional::<bool>("flag", d);
            fields.optional::<f64>("number", d);
            fields.optional::<u64>("whole", d);
            fields.get("small").and_then(|field| field.whole(1..=100, d));
            fields.optional::<Vec<String>>("list", d);
            fields.get("word").and_then(|field| field.one_of("role", &[("seen", 1), ("unseen", 2)], d));
            fields.get("share").and_then(|field| field.number(Range::SHARE, d));
            fields.optional::<String>("quoted", d);
            fields.required::<String>("empty", d);
            fields.required::<String>("absent", d);
            fields.get("mapping").and_then(|field| field.fields(d));
            fields.get("items").and_then(|field| field.some_items(d));
            let known: Vec<&str> = fields.iter().map(|field| field.name).filter(|name| *name != "odd").collect();
            fields.known("key", &["odds"], d);
            known.len()
        });
        let expected = [
            "1:7: `text` must be a text, not a list",
            "2:7: `flag` must be true or false, not `maybe`",
            "3:9: `number` must be a number, not `true`",
            "4:8: `whole` must be a whole number of 0 or more, not `-1`",
            "5:8: `small` must be a whole number from 1 to 100, not `200`",
            "6:7: `list` must be a list, not a mapping",
            "7:7: unknown role `sene` (did you mean `seen`?)",
            "8:8: `share` must be a number from 0 to 1, not `70` (70 % is written 0.7)",
            "9:9: `quoted` must be a text, not an empty text",
            "10:7: `empty` must be a text, not nothing",
            "1:1: `absent` is missing",
            "11:10: `mapping` must be a mapping, not `5`",
            "12:8: `items` is empty",
        ];
        assert_eq!(faults[..expected.len()], expected);
        assert!(faults.contains(&"13:1: unknown key `odd` (did you mean `odds`?)".to_owned()), "{faults:?}");
    }

    #[test]
    fn words_are_read_exactly_or_folded() {
        let words = [("seen", 1), ("strict_gen", 2)];
        let (value, faults) = read("a: Strict-Gen\nb: Strict-Gen\n", |fields, d| {
            let folded = fields.get("a").and_then(|field| field.one_of_folded("protocol", &words, d));
            (folded, fields.get("b").and_then(|field| field.one_of("protocol", &words, d)))
        });
        assert_eq!(value, (Some(2), None));
        assert_eq!(faults, ["2:4: unknown protocol `Strict-Gen` (did you mean `strict_gen`?)"]);
    }

    #[test]
    fn long_values_are_quoted_in_part() {
        let (_, faults) = read(&format!("a: {}", "x".repeat(1000)), |fields, d| fields.optional::<u64>("a", d));
        assert_eq!(faults[0].matches('x').count(), LONGEST_VALUE, "{}", faults[0]);
    }
}
