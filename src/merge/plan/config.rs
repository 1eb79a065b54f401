//! Changes to the config source's config.json.

use std::collections::BTreeSet;

use super::slices::PlannedSlice;
use crate::arch;
use crate::checkpoint::config::{ConfigEdit, ModelConfig};
use crate::checkpoint::layout::OutputTensor;
use crate::dtype::DType;
use crate::merge::plan::sources::Model;
use crate::recipe::{Diagnostics, Recipe};

pub(super) fn edit(
    recipe: &Recipe,
    donor: &Model,
    outputs: &[OutputTensor],
    layers: Option<u64>,
    slices: &[PlannedSlice<'_>],
    vocab_size: Option<u64>,
    diagnostics: &mut Diagnostics,
) -> ConfigEdit {
    let Some(config) = &donor.config else {
        diagnostics.warning(None, format!("`{}` has no config.json, so none is written", donor.reference), None);
        return ConfigEdit::default();
    };
    // Without a recipe dtype the files have what the inputs had; config.json should not say otherwise.
    let uniform: BTreeSet<DType> =
        outputs.iter().filter(|o| !arch::is_buffer(&o.name, o.dtype, &o.shape)).map(|o| o.dtype).collect();
    let stored = if uniform.len() == 1 { uniform.first().copied() } else { None };
    let dtype = recipe.out_dtype.or(recipe.dtype).or(stored).and_then(DType::torch_name);
    let tied = config.ties_word_embeddings();
    if tied && outputs.iter().any(|o| arch::role(&o.name) == arch::Role::Head) {
        let message =
            "config.json says the head is tied to the embeddings, so loaders will ignore the head written here";
        diagnostics.warning(None, message, Some("set `tie_word_embeddings` to false in the output".to_owned()));
    }
    let layer_types = layers.and_then(|_| restacked_layer_types(config, donor, slices));
    ConfigEdit { layer_count: layers, dtype, vocab_size, layer_types }
}

/// `layer_types` for the new stack: each output layer takes the type of its first source's layer.
fn restacked_layer_types(config: &ModelConfig, donor: &Model, slices: &[PlannedSlice<'_>]) -> Option<String> {
    let types = config.decoder().get("layer_types")?.as_array()?;
    if types.len() as u64 != donor.stack.count() {
        return None;
    }
    let mut kept = Vec::new();
    for slice in slices {
        let start = slice.inputs.first().map_or(0, |(_, _, start)| *start);
        for layer in 0..slice.layers {
            kept.push(types.get(usize::try_from(start + layer).ok()?)?.to_string());
        }
    }
    Some(format!("[{}]", kept.join(", ")))
}
