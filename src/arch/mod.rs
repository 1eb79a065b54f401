//! Meaning of tensor names: decoder layer, place before or after the layers, vocabulary axis, ties.
//!
//! There is no table of tensors per architecture: a checkpoint's own tensor list is the truth, so
//! that nothing in it is dropped. Names only tell where a tensor belongs.

use crate::dtype::DType;

mod prefix;
mod stack;

pub(crate) use prefix::{Alignment, align};
pub(crate) use stack::{LayerStack, Place};

/// Role of a tensor in its model, as far as merging has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Rows are vocabulary entries: input embeddings.
    Embedding,
    /// Rows are vocabulary entries: output head.
    Head,
    /// Anything else.
    Other,
}

/// Last path components of input embeddings across families.
const EMBEDDINGS: &[&str] =
    &["embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings", "embeddings", "shared"];
/// Last path components of output heads across families.
const HEADS: &[&str] = &["lm_head", "embed_out", "output"];

/// The role that a tensor's name tells.
#[must_use]
pub(crate) fn role(name: &str) -> Role {
    let (module, leaf) = name.rsplit_once('.').unwrap_or(("", name));
    let last = module.rsplit('.').next().unwrap_or("");
    if EMBEDDINGS.contains(&last) && leaf == "weight" {
        Role::Embedding
    } else if !matches!(leaf, "weight" | "bias") {
        Role::Other
    } else if HEADS.contains(&last) && !module.contains("layers.") {
        Role::Head
    } else {
        Role::Other
    }
}

/// Whether a tensor's first dimension counts vocabulary entries.
#[must_use]
pub(crate) fn is_vocabulary_indexed(name: &str) -> bool {
    role(name) != Role::Other
}

/// Whether a checkpoint may leave this tensor out: heads (tied), biases, rotary tables and other
/// buffers, and whatever is not part of the decoder itself.
#[must_use]
pub(crate) fn is_optional(name: &str, stack: &LayerStack) -> bool {
    if stack.predicted_layer(name).is_some() {
        return true;
    }
    let required_leaf = name.ends_with(".weight");
    match role(name) {
        Role::Head => true,
        Role::Embedding => false,
        Role::Other => {
            let encoder = stack.encoder().is_some_and(|(prefix, _)| name.starts_with(prefix));
            let layer = encoder || stack.layer(name).is_some();
            !(required_leaf && (layer || stack.place(name) == Place::After && is_norm(name)))
        }
    }
}

/// Last parts of names that are computed from the config, or number positions.
const BUFFERS: &[&str] = &[
    "inv_freq",
    "original_inv_freq",
    "position_ids",
    "token_type_ids",
    "masked_bias",
    "cos_cached",
    "sin_cached",
    "causal_mask",
    "relative_position_index",
    "freqs_cis",
];
/// Modules that hold nothing else.
const BUFFER_MODULES: &[&str] = &["rotary_emb", "rotary_pos_emb", "rotary_embed", "rope"];

/// Whether a tensor is a buffer: a table of positions, rotary frequencies or a mask, which no training
/// changes and no arithmetic of weights means anything for. Everything that is not a floating-point
/// number counts.
#[must_use]
pub(crate) fn is_buffer(name: &str, dtype: DType, shape: &[u64]) -> bool {
    let mut parts = name.rsplit('.');
    let (leaf, module) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    // GPT-2's causal mask has the name of a bias: [1, 1, positions, positions].
    let mask = leaf == "bias" && shape.len() == 4 && ["attn", "attention"].contains(&module);
    !dtype.is_float() || BUFFERS.contains(&leaf) || BUFFER_MODULES.contains(&module) || mask
}

/// Whether the name is a normalisation's.
fn is_norm(name: &str) -> bool {
    let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
    let last = module.rsplit('.').next().unwrap_or(module);
    last.contains("norm") || last.starts_with("ln")
}

/// The tensor that a tied checkpoint uses instead of its head `name`, among `names`.
#[must_use]
pub(crate) fn tied_source<'a>(name: &str, mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    (role(name) == Role::Head && name.ends_with(".weight"))
        .then(|| names.find(|n| role(n) == Role::Embedding && n.ends_with(".weight")))
        .flatten()
}

/// Substrings that recipes filter by in known families: a filter made of these which matches
/// nothing says something about the model, not that it was misspelt.
pub(crate) const KNOWN_FILTERS: &[&str] = &[
    "self_attn",
    "attn",
    "attention",
    "mlp",
    "feed_forward",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "qkv_proj",
    "query_key_value",
    "gate_proj",
    "up_proj",
    "down_proj",
    "gate_up_proj",
    "c_attn",
    "c_proj",
    "c_fc",
    "dense",
    "fc1",
    "fc2",
    "w1",
    "w2",
    "w3",
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
    "q_norm",
    "k_norm",
    "layernorm",
    "norm",
    "ln_1",
    "ln_2",
    "ln_f",
    "embed_tokens",
    "wte",
    "wpe",
    "embed",
    "lm_head",
    "embed_out",
    "bias",
    "weight",
    "rotary_emb",
    "inv_freq",
    "experts",
    "shared_expert",
    "gate",
    "block_sparse_moe",
    "router",
    "model",
    "layers",
    "score",
    "visual",
    "vision_tower",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_common_families() {
        assert_eq!(role("model.embed_tokens.weight"), Role::Embedding);
        assert_eq!(role("transformer.wte.weight"), Role::Embedding);
        assert_eq!(role("lm_head.weight"), Role::Head);
        assert_eq!(role("bert.encoder.layers.0.output.weight"), Role::Other);
        assert_eq!(role("model.layers.0.mlp.up_proj.weight"), Role::Other);
        let names = ["model.embed_tokens.weight", "model.norm.weight"];
        assert_eq!(tied_source("lm_head.weight", names.into_iter()), Some(names[0]));
        assert_eq!(tied_source("model.norm.weight", names.into_iter()), None);
        // Buffers beside embeddings are none.
        assert_eq!(role("embeddings.position_ids"), Role::Other);
        assert_eq!(role("vision_model.embeddings.class_embedding"), Role::Other);
        assert_eq!(role("shared.weight"), Role::Embedding);
    }

    #[test]
    fn buffers_are_distinguished_from_weights() {
        assert!(is_buffer("embeddings.position_ids", DType::I64, &[1, 16]));
        assert!(is_buffer("model.layers.0.self_attn.rotary_emb.inv_freq", DType::F32, &[2]));
        assert!(is_buffer("h.0.attn.bias", DType::F32, &[1, 1, 16, 16]));
        assert!(!is_buffer("h.0.attn.c_attn.bias", DType::F32, &[24]));
        assert!(!is_buffer("model.layers.0.self_attn.q_proj.weight", DType::BF16, &[4, 4]));
        assert!(!is_buffer("attn.bias", DType::F32, &[24]));
    }

    #[test]
    fn layer_weights_are_required_and_buffers_are_not() {
        let names = ["model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight"];
        let stack = LayerStack::from_names(names.into_iter(), Some(2), 0);
        assert!(!is_optional(names[0], &stack));
        assert!(!is_optional("model.norm.weight", &stack));
        assert!(!is_optional("model.embed_tokens.weight", &stack));
        assert!(is_optional("model.layers.0.self_attn.q_proj.bias", &stack));
        assert!(is_optional("model.layers.0.self_attn.rotary_emb.inv_freq", &stack));
        assert!(is_optional("lm_head.weight", &stack));
        assert!(is_optional("v_head.summary.weight", &stack));
    }
}
