//! Buffers among tensors.

use crate::dtype::DType;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_distinguished_from_weights() {
        assert!(is_buffer("embeddings.position_ids", DType::I64, &[1, 16]));
        assert!(is_buffer("model.layers.0.self_attn.rotary_emb.inv_freq", DType::F32, &[2]));
        assert!(is_buffer("h.0.attn.bias", DType::F32, &[1, 1, 16, 16]));
        assert!(!is_buffer("h.0.attn.c_attn.bias", DType::F32, &[24]));
        assert!(!is_buffer("model.layers.0.self_attn.q_proj.weight", DType::BF16, &[4, 4]));
        assert!(!is_buffer("attn.bias", DType::F32, &[24]));
    }
}
