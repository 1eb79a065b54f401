//! Role of a tensor: vocabulary axis, ties, and what a checkpoint may leave out.

use super::stack::{LayerStack, Place};

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
