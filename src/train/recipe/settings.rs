//! Settings of a training recipe under their canonical keys, read as types.

use std::fmt::Write as _;
use std::sync::Arc;

use super::keys::{EVALUATION_KEYS, EVALUATION_ONLY, KEYS, QUANTISED_LOADING, REFUSED, is_harmless};
use crate::yaml::diagnostic::SourceText;
use crate::yaml::{self, Diagnostics, Field, Fields, FromYaml, Kind, Node, Range, Span, Spanned};

/// A key with its value, which is never [`Kind::Null`].
#[derive(Debug, Clone)]
struct Setting {
    /// The key by our own name.
    canonical: &'static str,
    /// The key as it is written.
    key: Spanned<String>,
    node: Node,
}

impl Setting {
    fn field(&self) -> Field<'_> {
        Field { name: &self.key.value, key: self.key.span, node: &self.node }
    }
}

/// The entries of a recipe.
#[derive(Debug, Default)]
pub(super) struct Settings {
    list: Vec<Setting>,
    /// Keys without a meaning here that were given.
    passed_over: Vec<Spanned<String>>,
    /// All keys of the recipe, and whether they stand there without a value.
    names: Vec<(String, bool)>,
}

impl Settings {
    /// Takes the entries of a document.
    pub(super) fn take(&mut self, root: &Node, diagnostics: &mut Diagnostics) {
        for field in Fields::of_optional(root, "a training recipe", diagnostics).iter() {
            self.names.push((field.name.to_owned(), field.is_null()));
            if field.name != "evaluation" {
                self.entry(field, diagnostics);
                continue;
            }
            for field in Fields::of_optional(field.node, "`evaluation`", diagnostics).iter() {
                match EVALUATION_KEYS.iter().find(|known| **known == field.name) {
                    Some(canonical) => self.add(canonical, field),
                    None => diagnostics.unknown(field.key, "key", field.name, EVALUATION_KEYS),
                }
            }
        }
    }

    fn entry(&mut self, field: Field<'_>, diagnostics: &mut Diagnostics) {
        let Field { name, key, node } = field;
        if let Some(canonical) = canonical(name) {
            return self.add(canonical, field);
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
                diagnostics.error_help(key, format!("`{name}` is not supported"), rule.reason);
            }
            return;
        }
        if QUANTISED_LOADING.contains(&name) {
            let off =
                node.text().is_some_and(|text| text.is_empty() || text == "0" || yaml::boolean(text) == Some(false));
            if node.kind != Kind::Null && !off {
                let message = format!("`{name}`: the base model's weights are in f32 here, not quantised");
                diagnostics.warning(key, message, None);
            }
        } else if is_harmless(name) {
            if node.kind != Kind::Null {
                self.passed_over.push(Spanned { value: name.to_owned(), span: key });
            }
        } else if EVALUATION_ONLY.contains(&name) {
            diagnostics.error_help(key, format!("`{name}` stands in the wrong place"), "put it under `evaluation:`");
        } else {
            diagnostics.unknown(key, "key", name, &known());
        }
    }

    /// An empty value is as good as none.
    fn add(&mut self, canonical: &'static str, field: Field<'_>) {
        if !field.is_null() {
            let key = Spanned { value: field.name.to_owned(), span: field.key };
            self.list.push(Setting { canonical, key, node: field.node.clone() });
        }
    }

    /// Applies `key=value`: whatever the recipe says about the same thing gives way.
    ///
    /// The value is YAML. A dotted key reaches into `evaluation` and, by number from 0, into
    /// `datasets`.
    pub(super) fn set(&mut self, key: &str, value: &str, diagnostics: &mut Diagnostics) {
        let place = diagnostics.override_span(format!("{key}={value}"));
        let mut faults = Diagnostics::new(Arc::new(SourceText { name: key.to_owned(), text: value.to_owned() }), false);
        let mut node = match yaml::parse(value, &mut faults).as_slice() {
            [] => Node { span: place, kind: Kind::Null },
            [node] => node.clone(),
            _ => return diagnostics.error(place, format!("the value of `{key}` is more than one document")),
        };
        if let Some(fault) = faults.list().first() {
            return diagnostics.error(place, format!("the value of `{key}` is no YAML: {}", fault.message));
        }
        move_to(&mut node, place);
        if let Some(rest) = ["datasets.", "dataset."].iter().find_map(|prefix| key.strip_prefix(prefix)) {
            return self.set_dataset(rest, node, place, diagnostics);
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
        own.take(&Node { span: place, kind: Kind::Mapping(vec![entry]) }, diagnostics);
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

    fn set_dataset(&mut self, path: &str, node: Node, place: Span, diagnostics: &mut Diagnostics) {
        let sets = self.list.iter_mut().find(|field| field.canonical == "datasets").map(|field| &mut field.node.kind);
        let (Some((index, key)), Some(Kind::Sequence(sets))) = (path.split_once('.'), sets) else {
            return diagnostics.error(place, "this needs a list of data sets, and the form `datasets.0.weight`");
        };
        let count = sets.len();
        let Some(set) = index.parse::<usize>().ok().and_then(|index| sets.get_mut(index)) else {
            return diagnostics.error(place, format!("there is no data set `{index}`; the {count} are counted from 0"));
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
    pub(super) fn report_passed_over(&self, diagnostics: &mut Diagnostics) {
        let Some(first) = self.passed_over.first() else { return };
        let mut message = String::from("passed over, being without a meaning here: ");
        for (index, key) in self.passed_over.iter().enumerate() {
            let _ = write!(message, "{}`{}`", if index == 0 { "" } else { ", " }, key.value);
        }
        diagnostics.warning(first.span, message, None);
    }

    /// Whether the recipe itself has a key of this name, with a value or without.
    pub(super) fn names(&self, key: &str) -> bool {
        self.names.iter().any(|(name, _)| name == key)
    }

    /// Whether a key of this name stands there without a value.
    pub(super) fn is_empty(&self, key: &str) -> bool {
        self.names.iter().any(|(name, empty)| name == key && *empty)
    }

    /// The entries that set a key, by any of its names.
    pub(super) fn all(&self, canonical: &str) -> impl Iterator<Item = Field<'_>> {
        self.list.iter().filter(move |setting| setting.canonical == canonical).map(Setting::field)
    }

    pub(super) fn first(&self, canonical: &str) -> Option<Field<'_>> {
        self.all(canonical).next()
    }

    /// Reads the entries of a key; two that differ are a fault.
    pub(super) fn read_with<T: PartialEq>(
        &self,
        canonical: &str,
        diagnostics: &mut Diagnostics,
        convert: impl Fn(Field<'_>, &mut Diagnostics) -> Option<T>,
    ) -> Option<T> {
        let mut found: Option<(Field<'_>, T)> = None;
        for field in self.all(canonical) {
            let Some(value) = convert(field, diagnostics) else { continue };
            match &found {
                None => found = Some((field, value)),
                Some((first, known)) if *known != value => {
                    let message =
                        format!("`{}` and `{}` set the same thing to different values", first.name, field.name);
                    diagnostics.error_help(field.key, message, "keep one of them");
                }
                Some(_) => {}
            }
        }
        found.map(|(_, value)| value)
    }

    /// Reads the entries of a key as a type.
    pub(super) fn read<T: FromYaml + PartialEq>(&self, canonical: &str, diagnostics: &mut Diagnostics) -> Option<T> {
        self.read_with(canonical, diagnostics, T::from_yaml)
    }

    pub(super) fn number(&self, canonical: &str, range: Range, diagnostics: &mut Diagnostics) -> Option<f64> {
        self.read_with(canonical, diagnostics, |field, diagnostics| field.number(range, diagnostics))
    }

    pub(super) fn whole(&self, canonical: &str, least: u64, diagnostics: &mut Diagnostics) -> Option<u64> {
        self.read_with(canonical, diagnostics, |field, diagnostics| field.whole(least..=u64::MAX, diagnostics))
    }

    pub(super) fn choice<T: Copy + PartialEq>(
        &self,
        canonical: &str,
        choices: &[(&str, T)],
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        self.read_with(canonical, diagnostics, |field, diagnostics| choice(field, choices, diagnostics))
    }

    /// A list of texts, or a text with commas.
    pub(super) fn list(&self, canonical: &str, diagnostics: &mut Diagnostics) -> Option<Vec<String>> {
        self.read_with(canonical, diagnostics, comma_list)
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

/// Our own name of a key, by any of its names.
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

/// A list of texts, or a text with commas, as other trainers take it.
pub(super) fn comma_list(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<String>> {
    let Some(text) = field.scalar() else { return field.read(diagnostics) };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Some(parts.map(str::to_owned).collect())
}

/// The choice of a word, case and dashes aside.
pub(super) fn choice<T: Copy>(field: Field<'_>, choices: &[(&str, T)], diagnostics: &mut Diagnostics) -> Option<T> {
    field.one_of_folded(&format!("value of `{}`:", field.name), choices, diagnostics)
}
