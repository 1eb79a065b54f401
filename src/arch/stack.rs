//! Decoder layers, recognised by the numbers in tensor names.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::ModelConfig;

/// The main stack of numbered layers of a model (`model.layers.` in most families), and the stacks
/// beside it: an encoder, a vision tower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerStack {
    /// Everything before the layer number, with its dot; empty when the model has no layers.
    prefix: String,
    /// One more than the highest layer number.
    count: u64,
    /// Numbered on from the layers, but no part of them: multi-token prediction.
    predicted: u64,
    /// The other stacks by prefix, with their layers.
    others: BTreeMap<String, u64>,
}

/// Position of a tensor that is not in a layer: it decides whose parameters it takes when `slices:`
/// assemble a model (the first slice's, or the last slice's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Embeddings and other inputs.
    Before,
    /// Final norm, head, and anything else.
    After,
}

/// Modules that only layers of multi-token prediction have.
const PREDICTION_MODULES: &[&str] = &["eh_proj", "enorm", "hnorm", "shared_head"];
/// Keys for the number of such layers.
const PREDICTION_KEYS: &[&str] = &["num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers"];

/// Numbered tensors of one prefix: the rest of each name by number.
type Candidates<'a> = BTreeMap<&'a str, BTreeMap<u64, BTreeSet<&'a str>>>;

impl LayerStack {
    /// Finds the stacks of a checkpoint with a config.
    #[must_use]
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a str>, config: Option<&ModelConfig>) -> Self {
        let layers = config.and_then(ModelConfig::layer_count);
        let predicted = config.map_or(0, |config| {
            let count = |key: &&str| config.decoder().get(key).and_then(serde_json::Value::as_u64);
            PREDICTION_KEYS.iter().find_map(count).unwrap_or(0)
        });
        Self::from_names(names, layers, predicted)
    }

    pub(crate) fn from_names<'a>(names: impl Iterator<Item = &'a str>, layers: Option<u64>, predicted: u64) -> Self {
        let mut candidates: Candidates<'a> = BTreeMap::new();
        for name in names {
            if let Some((prefix, number, rest)) = first_number(name) {
                candidates.entry(prefix).or_default().entry(number).or_default().insert(rest);
            }
        }
        let agrees = |numbers: &BTreeMap<u64, BTreeSet<&str>>| {
            let count = numbers.len() as u64;
            layers.is_some_and(|layers| layers == count || layers + predictions(numbers, layers, predicted) == count)
        };
        let best = candidates.iter().max_by_key(|(prefix, numbers)| {
            let decodes = encoder_of(prefix).is_some_and(|encoder| candidates.contains_key(encoder.as_str()));
            let tensors: usize = numbers.values().map(BTreeSet::len).sum();
            (decodes, agrees(numbers), tensors, std::cmp::Reverse(prefix.len()))
        });
        let Some((&prefix, numbers)) = best else {
            return Self { prefix: String::new(), count: 0, predicted: 0, others: BTreeMap::new() };
        };
        let highest = numbers.last_key_value().map_or(0, |(last, _)| last + 1);
        let predicted = layers.map_or(0, |layers| predictions(numbers, layers, predicted));
        let others = candidates.iter().filter(|(other, numbers)| **other != prefix && is_stack(numbers));
        Self {
            prefix: prefix.to_owned(),
            count: highest - predicted,
            predicted,
            others: others.map(|(prefix, numbers)| ((*prefix).to_owned(), numbers.len() as u64)).collect(),
        }
    }

    /// Number of layers, by the highest number in use; layers of multi-token prediction do not count.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The prefix of layer names, for messages.
    #[must_use]
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The layer of a tensor and the rest of its name.
    #[must_use]
    pub(crate) fn layer<'a>(&self, name: &'a str) -> Option<(u64, &'a str)> {
        self.numbered(name).filter(|(number, _)| *number < self.count)
    }

    /// The layer of multi-token prediction that a tensor is in, counted from 0, and the rest of its name.
    #[must_use]
    pub(crate) fn predicted_layer<'a>(&self, name: &'a str) -> Option<(u64, &'a str)> {
        let (number, rest) = self.numbered(name)?;
        (self.predicted > 0).then_some(number.checked_sub(self.count)?).map(|number| (number, rest))
    }

    fn numbered<'a>(&self, name: &'a str) -> Option<(u64, &'a str)> {
        if self.count == 0 {
            return None;
        }
        let (prefix, number, rest) = first_number(name)?;
        (prefix == self.prefix).then_some((number, rest))
    }

    /// The name of a tensor in layer `number`.
    #[must_use]
    pub(crate) fn name(&self, number: u64, rest: &str) -> String {
        format!("{}{number}.{rest}", self.prefix)
    }

    /// The position in `0..=1` of a tensor outside the layers in the stack that it belongs to, for
    /// gradients: that of its layer in another stack, the end for multi-token prediction, else the
    /// beginning.
    #[must_use]
    pub(crate) fn position(&self, name: &str) -> f64 {
        if self.predicted_layer(name).is_some() {
            return 1.0;
        }
        let Some((prefix, number, _)) = first_number(name) else { return 0.0 };
        match self.others.get(prefix) {
            Some(count) if *count > 1 => number as f64 / (count - 1) as f64,
            _ => 0.0,
        }
    }

    /// The encoder's stack of an encoder-decoder model, with its layers.
    #[must_use]
    pub(crate) fn encoder(&self) -> Option<(&str, u64)> {
        let encoder = encoder_of(&self.prefix)?;
        self.others.get_key_value(&encoder).map(|(prefix, count)| (prefix.as_str(), *count))
    }

    /// Position of a tensor outside the layers.
    #[must_use]
    pub(crate) fn place(&self, name: &str) -> Place {
        if self.encoder().is_some() && name.split('.').any(|part| part == "encoder" || part == "shared") {
            return Place::Before;
        }
        let head = ["embed_out", "lm_head", "score", "output."].iter().any(|part| name.contains(part));
        let input = ["embed", "wte", "wpe", "patch", "visual", "vision", "audio", "projector", "conv"];
        if !head && input.iter().any(|part| name.contains(part)) { Place::Before } else { Place::After }
    }
}

/// The prefix of the encoder's stack beside a decoder's: `encoder.block.` for `decoder.block.`.
fn encoder_of(prefix: &str) -> Option<String> {
    let is_decoder = prefix.split('.').any(|part| part == "decoder");
    let swap = |part: &str| if part == "decoder" { "encoder".to_owned() } else { part.to_owned() };
    is_decoder.then(|| prefix.split('.').map(swap).collect::<Vec<_>>().join("."))
}

/// Number of layers after those of the config for multi-token prediction: the config says so, or they
/// have modules that only such layers have.
fn predictions(numbers: &BTreeMap<u64, BTreeSet<&str>>, layers: u64, announced: u64) -> u64 {
    let complete = layers > 0 && (0..layers).all(|layer| numbers.contains_key(&layer));
    let Some(beyond) = numbers.last_key_value().and_then(|(last, _)| (last + 1).checked_sub(layers)) else { return 0 };
    let predicts = |rests: &BTreeSet<&str>| {
        rests.iter().any(|rest| rest.split('.').any(|part| PREDICTION_MODULES.contains(&part)))
    };
    let known = beyond == announced || numbers.range(layers..).all(|(_, rests)| predicts(rests));
    if complete && known { beyond } else { 0 }
}

/// Whether numbers are those of layers: from 0 on without a gap, at least two, and all of modules with
/// names of their own. A sequence of plain layers (`projector.0.weight`) is none.
fn is_stack(numbers: &BTreeMap<u64, BTreeSet<&str>>) -> bool {
    numbers.len() > 1
        && numbers.keys().enumerate().all(|(i, number)| i as u64 == *number)
        && numbers.values().all(|rests| rests.iter().any(|rest| rest.contains('.')))
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
        let stack = LayerStack::from_names(names.iter().map(String::as_str), Some(2), 0);
        assert_eq!((stack.prefix(), stack.count()), ("model.layers.", 2));
        assert_eq!(
            stack.layer("model.layers.1.mlp.experts.7.up_proj.weight"),
            Some((1, "mlp.experts.7.up_proj.weight"))
        );
        assert_eq!(stack.layer("visual.blocks.1.attn.weight"), None);
        assert_eq!(stack.position("visual.blocks.1.attn.weight"), 0.5);
        assert_eq!(stack.position("lm_head.weight"), 0.0);
        assert_eq!(stack.name(9, "norm.weight"), "model.layers.9.norm.weight");
        let none = LayerStack::from_names(["a.weight", "b.01.c"].into_iter(), None, 0);
        assert_eq!((none.count(), none.layer("a.weight")), (0, None));
    }

    #[test]
    fn names_without_a_prefix_and_places() {
        let stack = LayerStack::from_names(["h.0.ln_1.weight", "h.1.ln_1.weight"].into_iter(), None, 0);
        assert_eq!(stack.prefix(), "h.");
        assert_eq!(stack.place("model.embed_tokens.weight"), Place::Before);
        assert_eq!(stack.place("embed_out.weight"), Place::After);
        assert_eq!(stack.place("model.norm.weight"), Place::After);
    }

    #[test]
    fn the_decoder_of_two_stacks_is_the_main_one_and_the_encoder_has_positions_of_its_own() {
        let layer = |stack: &str, n: u64| format!("model.{stack}.layers.{n}.fc1.weight");
        let mut names: Vec<String> = (0..5).map(|n| layer("encoder", n)).collect();
        names.extend((0..3).map(|n| layer("decoder", n)));
        let stack = LayerStack::from_names(names.iter().map(String::as_str), Some(5), 0);
        assert_eq!((stack.prefix(), stack.count()), ("model.decoder.layers.", 3));
        assert_eq!(stack.encoder(), Some(("model.encoder.layers.", 5)));
        assert_eq!(stack.position(&layer("encoder", 1)), 0.25);
        assert_eq!(stack.place(&layer("encoder", 1)), Place::Before);
    }

    #[test]
    fn layers_of_multi_token_prediction_are_no_layers() {
        let names = ["model.layers.0.q.weight", "model.layers.1.q.weight", "model.layers.2.eh_proj.weight"];
        let stack = LayerStack::from_names(names.into_iter(), Some(2), 0);
        assert_eq!((stack.count(), stack.layer(names[2])), (2, None));
        assert_eq!(stack.predicted_layer(names[2]), Some((0, "eh_proj.weight")));
        assert_eq!((stack.position(names[2]), stack.predicted_layer(names[1])), (1.0, None));
        // A layer like the others is one, whatever the config says.
        let same = ["model.layers.0.q.weight", "model.layers.1.q.weight", "model.layers.2.q.weight"];
        assert_eq!(LayerStack::from_names(same.into_iter(), Some(2), 0).count(), 3);
        let config = r#"{"num_hidden_layers": 2, "num_nextn_predict_layers": 1}"#;
        let config = ModelConfig::parse("c".as_ref(), config.to_owned()).unwrap();
        assert_eq!(LayerStack::of(same.into_iter(), Some(&config)).count(), 2);
    }
}
