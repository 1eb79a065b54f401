//! A recipe's entries under their canonical keys, and typed views of them.

use std::fmt::Write as _;
use std::sync::Arc;

use super::keys::{EVALUATION_KEYS, EVALUATION_ONLY, KEYS, QUANTISED_LOADING, REFUSED, is_harmless};
use crate::yaml::diagnostic::{SourceText, nearest};
use crate::yaml::{self, Diagnostics, Kind, Node, Severity, Span, Spanned};

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Field {
    /// Canonical key that it sets.
    pub(super) canonical: &'static str,
    /// Key as it is written, with its place.
    pub(super) key: Spanned<String>,
    /// Value, never [`Kind::Null`].
    pub(super) node: Node,
}

/// Faults, with a way to speak of values that stand in no file.
///
/// A span of line 0 belongs to the override whose number is the column.
#[derive(Debug)]
pub(super) struct Notes {
    pub(super) diagnostics: Diagnostics,
    overrides: Vec<String>,
}

impl Notes {
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self::within(Arc::new(SourceText { name: name.to_owned(), text: text.to_owned() }))
    }

    /// No faults yet, of a recipe that stands in this text.
    pub(super) fn within(source: Arc<SourceText>) -> Self {
        Self { diagnostics: Diagnostics::new(source, false), overrides: Vec::new() }
    }

    fn push(&mut self, severity: Severity, span: Span, message: String, help: Option<String>) {
        if span.line > 0 {
            return self.diagnostics.push(severity, Some(span), message, help);
        }
        let origin = self.overrides.get(span.column).map(|text| format!("{message} (set by `{text}`)"));
        self.diagnostics.push(severity, None, origin.unwrap_or(message), help);
    }

    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) {
        self.push(Severity::Error, span, message.into(), None);
    }

    pub(super) fn error_help(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Error, span, message.into(), Some(help.into()));
    }

    pub(super) fn warning(&mut self, span: Span, message: impl Into<String>) {
        self.push(Severity::Warning, span, message.into(), None);
    }

    pub(super) fn unknown(&mut self, span: Span, what: &str, name: &str, known: &[&str]) {
        if span.line > 0 {
            return self.diagnostics.unknown(span, what, name, known);
        }
        let help = match nearest(name, known) {
            Some(candidate) => format!("did you mean `{candidate}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        self.push(Severity::Error, span, format!("unknown {what} `{name}`"), Some(help));
    }
}

/// The entries of a recipe.
#[derive(Debug, Default)]
pub(super) struct Fields {
    list: Vec<Field>,
    /// Keys without a meaning here that were given.
    passed_over: Vec<Spanned<String>>,
    /// All keys of the recipe, and whether they stand there without a value.
    names: Vec<(String, bool)>,
}

impl Fields {
    /// Takes the entries of a document.
    pub(super) fn take(&mut self, root: &Node, notes: &mut Notes) {
        let Kind::Mapping(entries) = &root.kind else {
            if root.kind != Kind::Null {
                notes.error(root.span, format!("a training recipe is a mapping, not {}", root.describe()));
            }
            return;
        };
        for (key, node) in entries {
            self.names.push((key.value.clone(), node.kind == Kind::Null));
            match (key.value.as_str(), &node.kind) {
                ("evaluation", Kind::Mapping(inner)) => {
                    for (key, node) in inner {
                        match EVALUATION_KEYS.iter().find(|known| **known == key.value) {
                            Some(canonical) => self.add(canonical, key, node),
                            None => notes.unknown(key.span, "key", &key.value, EVALUATION_KEYS),
                        }
                    }
                }
                ("evaluation", Kind::Null) => {}
                ("evaluation", _) => {
                    notes.error(node.span, format!("`evaluation` must be a mapping, not {}", node.describe()));
                }
                (name, _) => self.entry(name, key, node, notes),
            }
        }
    }

    fn entry(&mut self, name: &str, key: &Spanned<String>, node: &Node, notes: &mut Notes) {
        if let Some(canonical) = canonical(name) {
            return self.add(canonical, key, node);
        }
        if let Some(rule) = REFUSED.iter().find(|rule| rule.key == name) {
            let text = node.text().map_or_else(String::new, str::to_lowercase);
            let only =
                |items: &[Node]| items.iter().all(|item| item.text().is_some_and(|text| rule.plain.contains(&text)));
            let plain = match &node.kind {
                Kind::Null => true,
                Kind::Scalar { .. } => {
                    rule.plain.contains(&text.as_str())
                        || matches!(text.as_str(), "" | "none" | "null")
                        || yaml::boolean(&text) == Some(false)
                }
                Kind::Sequence(items) => only(items),
                Kind::Mapping(entries) => entries.is_empty(),
            };
            if !plain {
                return notes.error_help(key.span, format!("`{name}` is not supported"), rule.reason);
            }
            return;
        }
        if QUANTISED_LOADING.contains(&name) {
            let off =
                node.text().is_some_and(|text| text.is_empty() || text == "0" || yaml::boolean(text) == Some(false));
            if node.kind != Kind::Null && !off {
                let message = format!("`{name}`: the base model's weights are in f32 here, not quantised");
                notes.warning(key.span, message);
            }
        } else if is_harmless(name) {
            if node.kind != Kind::Null {
                self.passed_over.push(key.clone());
            }
        } else if EVALUATION_ONLY.contains(&name) {
            notes.error_help(key.span, format!("`{name}` stands in the wrong place"), "put it under `evaluation:`");
        } else {
            notes.unknown(key.span, "key", name, &known());
        }
    }

    /// An empty value is as good as none.
    fn add(&mut self, canonical: &'static str, key: &Spanned<String>, node: &Node) {
        if node.kind != Kind::Null {
            self.list.push(Field { canonical, key: key.clone(), node: node.clone() });
        }
    }

    /// Applies `key=value`: whatever the recipe says about the same thing gives way.
    ///
    /// The value is YAML. A dotted key reaches into `evaluation` and, by number from 0, into
    /// `datasets`.
    pub(super) fn set(&mut self, key: &str, value: &str, notes: &mut Notes) {
        let place = Span { line: 0, column: notes.overrides.len(), length: 0 };
        notes.overrides.push(format!("{key}={value}"));
        let mut faults = Diagnostics::new(Arc::new(SourceText { name: key.to_owned(), text: value.to_owned() }), false);
        let mut node = match yaml::parse(value, &mut faults).as_slice() {
            [] => Node { span: place, kind: Kind::Null },
            [node] => node.clone(),
            _ => return notes.error(place, format!("the value of `{key}` is more than one document")),
        };
        if let Some(fault) = faults.list().first() {
            return notes.error(place, format!("the value of `{key}` is no YAML: {}", fault.message));
        }
        move_to(&mut node, place);
        if let Some(rest) = ["datasets.", "dataset."].iter().find_map(|prefix| key.strip_prefix(prefix)) {
            return self.set_dataset(rest, node, place, notes);
        }
        let word = |text: &str| Spanned { value: text.to_owned(), span: place };
        let entry = match key.split_once('.') {
            Some((outer, inner)) => {
                let inner = Node { span: place, kind: Kind::Mapping(vec![(word(inner), node)]) };
                (word(outer), inner)
            }
            None => (word(key), node),
        };
        let mut own = Self::default();
        own.take(&Node { span: place, kind: Kind::Mapping(vec![entry]) }, notes);
        // `key=` without a value takes back what the recipe says.
        let bare = key.rsplit('.').next().unwrap_or(key);
        let cleared = EVALUATION_KEYS.iter().copied().find(|known| *known == bare).or_else(|| canonical(bare));
        let mut replaced: Vec<&str> = own.list.iter().map(|field| field.canonical).chain(cleared).collect();
        for rivals in RIVALS {
            if replaced.iter().any(|key| rivals.contains(key)) {
                replaced.extend(*rivals);
            }
        }
        self.list.retain(|field| !replaced.contains(&field.canonical));
        self.names.retain(|(name, empty)| !empty || canonical(name).is_none_or(|key| !replaced.contains(&key)));
        self.list.extend(own.list);
        self.passed_over.extend(own.passed_over);
    }

    fn set_dataset(&mut self, path: &str, node: Node, place: Span, notes: &mut Notes) {
        let sets = self.list.iter_mut().find(|field| field.canonical == "datasets").map(|field| &mut field.node.kind);
        let (Some((index, key)), Some(Kind::Sequence(sets))) = (path.split_once('.'), sets) else {
            return notes.error(place, "this needs a list of data sets, and the form `datasets.0.weight`");
        };
        let count = sets.len();
        let Some(set) = index.parse::<usize>().ok().and_then(|index| sets.get_mut(index)) else {
            return notes.error(place, format!("there is no data set `{index}`; the {count} are counted from 0"));
        };
        if let Kind::Scalar { .. } = set.kind {
            let path = Spanned { value: "path".to_owned(), span: set.span };
            *set = Node { span: set.span, kind: Kind::Mapping(vec![(path, set.clone())]) };
        }
        if let Kind::Mapping(entries) = &mut set.kind {
            entries.retain(|(known, _)| known.value != key);
            entries.push((Spanned { value: key.to_owned(), span: place }, node));
        }
    }

    /// One warning for all keys that were passed over.
    pub(super) fn report_passed_over(&self, notes: &mut Notes) {
        let Some(first) = self.passed_over.first() else { return };
        let mut message = String::from("passed over, being without a meaning here: ");
        for (index, key) in self.passed_over.iter().enumerate() {
            let _ = write!(message, "{}`{}`", if index == 0 { "" } else { ", " }, key.value);
        }
        notes.warning(first.span, message);
    }

    /// Whether the recipe itself has a key of this name, with a value or without.
    pub(super) fn names(&self, key: &str) -> bool {
        self.names.iter().any(|(name, _)| name == key)
    }

    /// Whether a key of this name stands there without a value.
    pub(super) fn is_empty(&self, key: &str) -> bool {
        self.names.iter().any(|(name, empty)| name == key && *empty)
    }

    pub(super) fn all(&self, canonical: &str) -> impl Iterator<Item = &Field> {
        self.list.iter().filter(move |field| field.canonical == canonical)
    }

    pub(super) fn first(&self, canonical: &str) -> Option<&Field> {
        self.all(canonical).next()
    }

    /// Reads all entries of a key; two that differ are a fault.
    pub(super) fn read<T: PartialEq>(
        &self,
        canonical: &str,
        notes: &mut Notes,
        convert: impl Fn(&Field, &mut Notes) -> Option<T>,
    ) -> Option<T> {
        let mut found: Option<(&Field, T)> = None;
        for field in self.all(canonical) {
            let Some(value) = convert(field, notes) else { continue };
            match &found {
                None => found = Some((field, value)),
                Some((first, known)) if *known != value => {
                    let message = format!(
                        "`{}` and `{}` set the same thing to different values",
                        first.key.value, field.key.value
                    );
                    notes.error_help(field.key.span, message, "keep one of them");
                }
                Some(_) => {}
            }
        }
        found.map(|(_, value)| value)
    }

    pub(super) fn number(&self, canonical: &str, range: Range, notes: &mut Notes) -> Option<f64> {
        self.read(canonical, notes, |field, notes| range.number(&field.node, &field.key.value, notes))
    }

    pub(super) fn whole(&self, canonical: &str, least: u64, notes: &mut Notes) -> Option<u64> {
        self.read(canonical, notes, |field, notes| whole(&field.node, &field.key.value, least, notes))
    }

    pub(super) fn boolean(&self, canonical: &str, notes: &mut Notes) -> Option<bool> {
        self.read(canonical, notes, |field, notes| boolean(&field.node, &field.key.value, notes))
    }

    pub(super) fn text(&self, canonical: &str, notes: &mut Notes) -> Option<String> {
        self.read(canonical, notes, |field, notes| text(&field.node, &field.key.value, notes))
    }
}

/// Keys of which an override of one takes the others out of force.
const RIVALS: &[&[&str]] = &[
    &["save_steps", "saves_per_epoch", "save_strategy"],
    &["eval_steps", "evals_per_epoch", "eval_strategy"],
    &["target_modules", "lora_target_linear"],
    &["sample_packing", "neat_packing"],
    &["chat_template", "template"],
];

/// Canonical name of a key.
fn canonical(name: &str) -> Option<&'static str> {
    KEYS.iter().find(|(key, aliases)| *key == name || aliases.contains(&name)).map(|(key, _)| *key)
}

/// All keys that set something.
fn known() -> Vec<&'static str> {
    let names = KEYS.iter().flat_map(|(key, aliases)| std::iter::once(*key).chain(aliases.iter().copied()));
    names.chain(std::iter::once("evaluation")).collect()
}

fn move_to(node: &mut Node, place: Span) {
    node.span = place;
    match &mut node.kind {
        Kind::Null | Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.iter_mut().for_each(|item| move_to(item, place)),
        Kind::Mapping(entries) => {
            for (key, value) in entries {
                key.span = place;
                move_to(value, place);
            }
        }
    }
}

/// Numbers that a key accepts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Range {
    /// More than 0.
    Positive,
    /// 0 or more.
    NotNegative,
    /// From 0 to below 1.
    Share,
    /// More than 0 and below 1.
    ProperShare,
}

impl Range {
    pub(super) fn number(self, node: &Node, key: &str, notes: &mut Notes) -> Option<f64> {
        let (fits, words): (fn(f64) -> bool, _) = match self {
            Self::Positive => (|x| x > 0.0, "a number above 0"),
            Self::NotNegative => (|x| x >= 0.0, "a number of 0 or more"),
            Self::Share => (|x| (0.0..1.0).contains(&x), "a number from 0 to below 1"),
            Self::ProperShare => (|x| x > 0.0 && x < 1.0, "a number above 0 and below 1"),
        };
        let found = node.text().and_then(yaml::number).filter(|x| x.is_finite() && fits(*x));
        if found.is_none() {
            notes.error(node.span, format!("`{key}` must be {words}"));
        }
        found
    }
}

/// A whole number, which may be written as one of YAML's floats.
pub(super) fn whole(node: &Node, key: &str, least: u64, notes: &mut Notes) -> Option<u64> {
    let found = node.text().and_then(integer).filter(|n| *n >= least);
    if found.is_none() {
        notes.error(node.span, format!("`{key}` must be a whole number of {least} or more"));
    }
    found
}

fn integer(text: &str) -> Option<u64> {
    let round = |x: &f64| x.fract() == 0.0 && (0.0..9e15).contains(x);
    text.parse().ok().or_else(|| yaml::number(text).filter(round).map(|x| x as u64))
}

pub(super) fn boolean(node: &Node, key: &str, notes: &mut Notes) -> Option<bool> {
    let found = node.text().and_then(yaml::boolean);
    if found.is_none() {
        notes.error(node.span, format!("`{key}` must be true or false"));
    }
    found
}

pub(super) fn text(node: &Node, key: &str, notes: &mut Notes) -> Option<String> {
    let found = node.text().filter(|text| !text.is_empty());
    if found.is_none() {
        notes.error(node.span, format!("`{key}` must be a text, not {}", node.describe()));
    }
    found.map(str::to_owned)
}

/// A list of texts, or a text with commas.
pub(super) fn list(node: &Node, key: &str, notes: &mut Notes) -> Option<Vec<String>> {
    match &node.kind {
        Kind::Sequence(items) => Some(items.iter().filter_map(|item| text(item, key, notes)).collect()),
        Kind::Scalar { text, .. } => {
            Some(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
        }
        _ => {
            notes.error(node.span, format!("`{key}` must be a list, not {}", node.describe()));
            None
        }
    }
}

/// The choice of a word, case and dashes aside.
pub(super) fn choice<T: Copy>(node: &Node, key: &str, choices: &[(&str, T)], notes: &mut Notes) -> Option<T> {
    let word = text(node, key, notes)?;
    let folded = word.to_lowercase().replace('-', "_");
    let found = choices.iter().find(|(name, _)| *name == folded).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        notes.unknown(node.span, &format!("value of `{key}`:"), &word, &names);
    }
    found
}
