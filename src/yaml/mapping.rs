//! Keys of a YAML mapping: repeated ones and merge keys.

use std::collections::BTreeMap;

use super::diagnostic::Diagnostics;
use super::tree::{Kind, Node, Spanned};

/// A mapping while its keys come in.
#[derive(Default)]
pub(super) struct Mapping {
    entries: Vec<(Spanned<String>, Node)>,
    places: BTreeMap<String, usize>,
    /// From merge keys; what stands in the mapping itself wins.
    inherited: Vec<(Spanned<String>, Node)>,
}

impl Mapping {
    /// Adds a key with its value, noting keys that are none and those given twice.
    pub(super) fn add(&mut self, key: Node, value: Node, diagnostics: &mut Diagnostics) {
        let (name, quoted) = match key.kind {
            Kind::Scalar { text, quoted } => (text, quoted),
            Kind::Null => (String::new(), false),
            _ => {
                diagnostics.error(key.span, "a key must be a plain word");
                return;
            }
        };
        if name == "<<" && !quoted {
            match value.kind {
                Kind::Mapping(merged) => self.inherited.extend(merged),
                // Of a list, the first mapping with a key counts.
                Kind::Sequence(items) if items.iter().all(|item| matches!(item.kind, Kind::Mapping(_))) => {
                    for item in items.into_iter().rev() {
                        if let Kind::Mapping(merged) = item.kind {
                            self.inherited.extend(merged);
                        }
                    }
                }
                _ => diagnostics.error(key.span, "`<<` takes a mapping or a list of mappings"),
            }
            return;
        }
        let entry = (Spanned { value: name.clone(), span: key.span }, value);
        match self.places.get(&name).and_then(|place| self.entries.get_mut(*place)) {
            Some(first) => {
                diagnostics.repeated_key(key.span, &name, first.0.span.line);
                *first = entry;
            }
            None => {
                self.places.insert(name, self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    /// The entries, merged ones first; each key once.
    pub(super) fn finish(self) -> Vec<(Spanned<String>, Node)> {
        if self.inherited.is_empty() {
            return self.entries;
        }
        let mut entries: Vec<(Spanned<String>, Node)> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for entry in self.inherited.into_iter().chain(self.entries) {
            match places.get(&entry.0.value).and_then(|place| entries.get_mut(*place)) {
                Some(earlier) => *earlier = entry,
                None => {
                    places.insert(entry.0.value.clone(), entries.len());
                    entries.push(entry);
                }
            }
        }
        entries
    }
}
