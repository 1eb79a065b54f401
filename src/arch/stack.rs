//! Which numbers in tensor names are decoder layers.

use std::collections::{BTreeMap, BTreeSet};

/// The main stack of numbered layers of a model: `model.layers.` in most families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerStack {
    /// Everything before the layer number, with its dot; empty when the model has no layers.
    prefix: String,
    /// One more than the highest layer number.
    count: u64,
}

/// Where a tensor that is not in a layer stands: it decides whose parameters it takes when
/// `slices:` assemble a model (the first slice's, or the last slice's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Embeddings and other inputs.
    Before,
    /// Final norm, head, and anything else.
    After,
}

impl LayerStack {
    /// Finds the main stack among tensor names. A model may have several numbered stacks (a vision
    /// tower, experts inside layers): only a name's *first* number counts, and of the remaining
    /// candidates the one with as many layers as the config says wins, then the one with most tensors.
    #[must_use]
    pub fn find<'a>(names: impl Iterator<Item = &'a str>, config_layers: Option<u64>) -> Self {
        let mut candidates: BTreeMap<&str, (BTreeSet<u64>, usize)> = BTreeMap::new();
        for name in names {
            if let Some((prefix, number, _)) = first_number(name) {
                let entry = candidates.entry(prefix).or_default();
                entry.0.insert(number);
                entry.1 += 1;
            }
        }
        let best = candidates.into_iter().max_by_key(|(prefix, (numbers, tensors))| {
            let agrees = config_layers == Some(numbers.len() as u64);
            (agrees, *tensors, std::cmp::Reverse(prefix.len()))
        });
        best.map_or(Self { prefix: String::new(), count: 0 }, |(prefix, (numbers, _))| Self {
            prefix: prefix.to_owned(),
            count: numbers.last().map_or(0, |last| last + 1),
        })
    }

    /// Number of layers, by the highest number in use.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The prefix of layer names, for messages.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The layer of a tensor and the rest of its name.
    #[must_use]
    pub fn layer<'a>(&self, name: &'a str) -> Option<(u64, &'a str)> {
        if self.count == 0 {
            return None;
        }
        let (prefix, number, rest) = first_number(name)?;
        (prefix == self.prefix).then_some((number, rest))
    }

    /// The name of a tensor in layer `number`.
    #[must_use]
    pub fn name(&self, number: u64, rest: &str) -> String {
        format!("{}{number}.{rest}", self.prefix)
    }

    /// Where a tensor outside the layers stands.
    #[must_use]
    pub fn place(&self, name: &str) -> Place {
        let head = ["embed_out", "lm_head", "score", "output."].iter().any(|part| name.contains(part));
        let input = ["embed", "wte", "wpe", "patch", "visual", "vision", "audio", "projector", "conv"];
        if !head && input.iter().any(|part| name.contains(part)) { Place::Before } else { Place::After }
    }
}

/// Splits a name at its first all-digit component: prefix with dot, number, rest.
fn first_number(name: &str) -> Option<(&str, u64, &str)> {
    let mut start = 0;
    for part in name.split('.') {
        let end = start + part.len();
        if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            let rest = name.get(end + 1..)?;
            // Zero-padded or absurdly long numbers are not layer numbers.
            let number: u64 = part.parse().ok().filter(|n| *n < 1_000_000)?;
            return (number.to_string() == part).then_some((&name[..start], number, rest));
        }
        start = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_stack_is_found_beside_experts_and_vision_towers() {
        let mut names = Vec::new();
        for layer in 0..3 {
            names.push(format!("visual.blocks.{layer}.attn.weight"));
            names.push(format!("visual.blocks.{layer}.mlp.weight"));
            names.push(format!("visual.blocks.{layer}.norm.weight"));
        }
        for layer in 0..2 {
            names.push(format!("model.layers.{layer}.mlp.experts.7.up_proj.weight"));
            names.push(format!("model.layers.{layer}.norm.weight"));
        }
        names.push("lm_head.weight".into());
        let stack = LayerStack::find(names.iter().map(String::as_str), Some(2));
        assert_eq!((stack.prefix(), stack.count()), ("model.layers.", 2));
        assert_eq!(
            stack.layer("model.layers.1.mlp.experts.7.up_proj.weight"),
            Some((1, "mlp.experts.7.up_proj.weight"))
        );
        assert_eq!(stack.layer("visual.blocks.1.attn.weight"), None);
        assert_eq!(stack.name(9, "norm.weight"), "model.layers.9.norm.weight");
        let none = LayerStack::find(["a.weight", "b.01.c"].into_iter(), None);
        assert_eq!((none.count(), none.layer("a.weight")), (0, None));
    }

    #[test]
    fn names_without_a_prefix_and_places() {
        let stack = LayerStack::find(["h.0.ln_1.weight", "h.1.ln_1.weight"].into_iter(), None);
        assert_eq!(stack.prefix(), "h.");
        assert_eq!(stack.place("model.embed_tokens.weight"), Place::Before);
        assert_eq!(stack.place("embed_out.weight"), Place::After);
        assert_eq!(stack.place("model.norm.weight"), Place::After);
    }
}
