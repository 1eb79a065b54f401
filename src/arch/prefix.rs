//! Checkpoints of one model whose tensor names differ by a prefix.
//!
//! Base classes store `h.0.attn...`, classes with a head `transformer.h.0.attn...`; multimodal models
//! were renamed from `language_model.model.layers...` to `model.language_model.layers...`. Names are
//! matched from their layer number, or their last two parts, to the end; what stands before may gain
//! parts, lose parts or change their order, never be replaced. A name that two prefixes would explain
//! equally well is not matched.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Mapping of the names of one checkpoint to those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// Nothing has to be renamed, or nothing can be.
    Unchanged,
    /// Prefixes that stand for each other.
    Renamed(Prefixes),
    /// Two prefixes fit one name equally well.
    Ambiguous {
        name: String,
        /// Names that it could stand for.
        candidates: [String; 2],
    },
}

/// A prefix and what it stands for.
type Rule = (String, String);

/// Names to be changed, and the prefixes that they are changed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefixes {
    /// With their dots; either may be empty.
    rules: Vec<(String, String)>,
    /// New names, with their rules.
    names: BTreeMap<String, (String, usize)>,
}

impl Prefixes {
    /// The name of a tensor in the other checkpoint's terms.
    #[must_use]
    pub(crate) fn rename(&self, name: &str) -> String {
        if let Some((renamed, _)) = self.names.get(name) {
            return renamed.clone();
        }
        // A tensor that only this checkpoint has keeps its place between those next to it in the sorted list.
        let before = self.names.range::<str, _>((Bound::Unbounded, Bound::Excluded(name))).next_back();
        let after = self.names.range::<str, _>((Bound::Excluded(name), Bound::Unbounded)).next();
        let shared = |other: &str| parts(other).zip(parts(name)).take_while(|(a, b)| a == b).count();
        let neighbour = before.into_iter().chain(after).max_by_key(|(other, _)| shared(other));
        let rule = neighbour.filter(|(other, _)| shared(other) > 0).map(|(_, (_, rule))| *rule);
        let renamed = rule.and_then(|rule| self.rules.get(rule)).and_then(|(from, to)| {
            let rest = name.strip_prefix(from.as_str())?;
            Some(format!("{to}{rest}"))
        });
        renamed.unwrap_or_else(|| name.to_owned())
    }

    /// The prefixes, each with what it stands for.
    #[must_use]
    pub(crate) fn rules(&self) -> &[(String, String)] {
        &self.rules
    }
}

fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split('.')
}

/// Finds what the names of a checkpoint must be changed by to be those that are `wanted`. Tensors come
/// with their shapes: only the first dimension of matched tensors may differ.
#[must_use]
pub(crate) fn align<'a, 'b>(
    names: impl IntoIterator<Item = (&'a str, &'a [u64])>,
    wanted: impl IntoIterator<Item = (&'b str, &'b [u64])>,
) -> Alignment {
    let names: BTreeMap<&str, &[u64]> = names.into_iter().collect();
    let wanted: BTreeMap<&str, &[u64]> = wanted.into_iter().collect();
    let mut free: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for name in wanted.keys().filter(|name| !names.contains_key(*name)) {
        let (prefix, core) = split(name);
        free.entry(core).or_default().push((prefix, name));
    }
    let missing = names.iter().filter(|(name, _)| !wanted.contains_key(*name));
    let mut candidates: BTreeMap<&str, Vec<(Rule, &str)>> = BTreeMap::new();
    let mut counts: BTreeMap<Rule, usize> = BTreeMap::new();
    for (name, shape) in missing {
        let (prefix, core) = split(name);
        for (other_prefix, other) in free.get(core).into_iter().flatten() {
            let fits = wanted
                .get(other)
                .is_some_and(|wanted| wanted.len() == shape.len() && wanted.get(1..) == shape.get(1..));
            let Some(rule) = rule(prefix, other_prefix).filter(|_| fits) else { continue };
            *counts.entry(rule.clone()).or_default() += 1;
            candidates.entry(name).or_default().push((rule, other));
        }
    }
    let mut prefixes = Prefixes { rules: Vec::new(), names: BTreeMap::new() };
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, mut found) in candidates {
        let count = |rule: &(String, String)| counts.get(rule).copied().unwrap_or(0);
        found.sort_by_key(|(rule, _)| std::cmp::Reverse(count(rule)));
        let Some((rule, other)) = found.first() else { continue };
        if let Some((second, rival)) = found.get(1)
            && count(second) == count(rule)
        {
            return Alignment::Ambiguous {
                name: name.to_owned(),
                candidates: [(*other).to_owned(), (*rival).to_owned()],
            };
        }
        if let Some(first) = taken.insert(other, name) {
            return Alignment::Ambiguous { name: (*other).to_owned(), candidates: [first.to_owned(), name.to_owned()] };
        }
        let place = prefixes.rules.iter().position(|known| known == rule).unwrap_or_else(|| {
            prefixes.rules.push(rule.clone());
            prefixes.rules.len() - 1
        });
        prefixes.names.insert(name.to_owned(), ((*other).to_owned(), place));
    }
    if prefixes.names.is_empty() { Alignment::Unchanged } else { Alignment::Renamed(prefixes) }
}

/// A name's prefix, and the rest: from the part before the first number, or the last two parts.
fn split(name: &str) -> (&str, &str) {
    let mut starts = vec![0];
    starts.extend(name.match_indices('.').map(|(at, _)| at + 1));
    let is_number = |start: usize| {
        let part = name[start..].split('.').next().expect("a split has a first piece");
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
    };
    let number = starts.iter().position(|start| is_number(*start));
    let first = number.map_or_else(|| starts.len().saturating_sub(2), |number| number.saturating_sub(1));
    name.split_at(starts.get(first).copied().unwrap_or(0))
}

/// The rule that makes one prefix the other, without the parts that both end in. None where parts would
/// be replaced.
fn rule(from: &str, to: &str) -> Option<(String, String)> {
    let list = |prefix: &str| prefix.split_terminator('.').map(str::to_owned).collect::<Vec<_>>();
    let (mut from, mut to) = (list(from), list(to));
    while from.last().is_some_and(|last| to.last() == Some(last)) {
        from.pop();
        to.pop();
    }
    let set = |parts: &[String]| parts.iter().cloned().collect::<BTreeSet<_>>();
    let (a, b) = (set(&from), set(&to));
    if !a.is_subset(&b) && !b.is_subset(&a) {
        return None;
    }
    let text = |parts: Vec<String>| parts.into_iter().map(|part| part + ".").collect::<String>();
    Some((text(from), text(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(names: &[&str], wanted: &[&str]) -> Alignment {
        const SHAPE: &[u64] = &[4, 2];
        align(names.iter().map(|name| (*name, SHAPE)), wanted.iter().map(|name| (*name, SHAPE)))
    }

    fn renamed(names: &[&str], wanted: &[&str]) -> Vec<String> {
        let Alignment::Renamed(prefixes) = aligned(names, wanted) else { panic!("{names:?}") };
        names.iter().map(|name| prefixes.rename(name)).collect()
    }

    #[test]
    fn wrapped_towers_are_matched_and_others_stay() {
        let hub = ["h.0.attn.w.weight", "h.0.attn.bias", "ln_f.weight", "wte.weight"];
        let tuned =
            ["lm_head.weight", "transformer.h.0.attn.w.weight", "transformer.ln_f.weight", "transformer.wte.weight"];
        assert_eq!(renamed(&tuned, &hub), ["lm_head.weight", hub[0], hub[2], hub[3]]);
        assert_eq!(renamed(&hub, &tuned), [tuned[1], "transformer.h.0.attn.bias", tuned[2], tuned[3]]);
        let old = [
            "language_model.lm_head.weight",
            "language_model.model.layers.0.q.weight",
            "language_model.model.norm.weight",
            "multi_modal_projector.w",
            "vision_tower.encoder.layers.0.q.weight",
            "vision_tower.norm.weight",
        ];
        let new = [
            "lm_head.weight",
            "model.language_model.layers.0.q.weight",
            "model.language_model.norm.weight",
            "model.multi_modal_projector.w",
            "model.vision_tower.encoder.layers.0.q.weight",
            "model.vision_tower.norm.weight",
        ];
        assert_eq!(renamed(&old, &new), new);
        assert_eq!(renamed(&new, &old), old);
    }

    #[test]
    fn what_two_prefixes_explain_or_none_is_not_matched() {
        let towers = ["text.layers.0.q.weight", "vision.layers.0.q.weight"];
        assert!(matches!(aligned(&["layers.0.q.weight"], &towers), Alignment::Ambiguous { .. }));
        assert_eq!(aligned(&["v_head.summary.weight"], &["score.summary.weight"]), Alignment::Unchanged);
        assert_eq!(aligned(&["a.layers.0.q.weight"], &["b.layers.0.q.weight"]), Alignment::Unchanged);
        assert_eq!(aligned(&["a.layers.0.q.weight"], &["b.a.layers.1.q.weight"]), Alignment::Unchanged);
        let (shape, other): (&[u64], &[u64]) = (&[4, 2], &[4, 3]);
        assert_eq!(align([("norm.weight", shape)], [("model.norm.weight", other)]), Alignment::Unchanged);
    }
}
