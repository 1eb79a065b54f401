//! The names of an adapter's tensors, in every spelling that PEFT loads.
//!
//! `save_pretrained` writes `base_model.model.MODULE.lora_A.weight`. State dicts of a wrapped model
//! (`torch.save`, `DeepSpeed`) have the adapter's name in between (`lora_A.default.weight`), the base's
//! own weights as `MODULE.base_layer.weight`, and modules trained whole as
//! `MODULE.modules_to_save.default.weight` beside `MODULE.original_module.weight`.

/// Prefix that PEFT puts before the base model's names.
pub(super) const PREFIX: &str = "base_model.model.";

/// Role of a tensor in its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[r, inputs]`.
    A,
    /// `[outputs, r]`.
    B,
    /// `[r, vocabulary]`.
    EmbeddingA,
    /// `[width, r]`.
    EmbeddingB,
    /// `DoRA`'s magnitudes.
    Magnitude,
    /// A copy of the base's tensor, which PEFT adds for embeddings and heads.
    BaseLayer,
    /// The base's tensor beside one that was trained whole; it takes no part.
    Original,
    /// A tensor under the base's own name.
    Whole,
}

/// A tensor's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) kind: Kind,
    /// The module's path; for [`Kind::Whole`], [`Kind::BaseLayer`] and [`Kind::Original`] the tensor's
    /// name in the base model.
    pub(super) path: String,
    /// The adapter's name, where it stands in the tensor's.
    pub(super) adapter: Option<&'a str>,
}

/// Factors with the leaf that follows them: `.weight` or nothing.
const FACTORS: &[(&str, Kind)] = &[
    (".lora_A", Kind::A),
    (".lora_B", Kind::B),
    (".lora_embedding_A", Kind::EmbeddingA),
    (".lora_embedding_B", Kind::EmbeddingB),
    (".lora_magnitude_vector", Kind::Magnitude),
];

/// Takes a tensor's name apart.
pub(super) fn parse(name: &str) -> Name<'_> {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let whole = Name { kind: Kind::Whole, path: name.to_owned(), adapter: None };
    for &(marker, kind) in FACTORS {
        let Some((module, rest)) = name.rsplit_once(marker) else { continue };
        let (adapter, leaf) = match rest.strip_suffix(".weight") {
            Some(adapter) => (adapter, true),
            None => (rest, false),
        };
        let adapter = adapter.strip_prefix('.').or((adapter.is_empty()).then_some(""));
        let has_leaf = leaf || !matches!(kind, Kind::A | Kind::B);
        return match adapter {
            Some(adapter) if has_leaf && !adapter.contains('.') && !module.is_empty() => {
                Name { kind, path: module.to_owned(), adapter: Some(adapter).filter(|name| !name.is_empty()) }
            }
            _ => whole,
        };
    }
    let wrapped = |marker: &str| name.rsplit_once(marker);
    if let Some((module, leaf)) = wrapped(".base_layer.") {
        return Name { kind: Kind::BaseLayer, path: format!("{module}.{leaf}"), adapter: None };
    }
    if let Some((module, leaf)) = wrapped(".original_module.") {
        return Name { kind: Kind::Original, path: format!("{module}.{leaf}"), adapter: None };
    }
    if let Some((module, rest)) = wrapped(".modules_to_save.") {
        // The adapter's name comes first, where there is one.
        let (adapter, leaf) = rest.split_once('.').map_or((None, rest), |(adapter, leaf)| (Some(adapter), leaf));
        return Name { kind: Kind::Whole, path: format!("{module}.{leaf}"), adapter };
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_saved_adapters_and_of_state_dicts_mean_the_same() {
        let module = "model.layers.0.self_attn.q_proj";
        for (name, kind, path, adapter) in [
            ("lora_A.weight", Kind::A, module, None),
            ("lora_A.default.weight", Kind::A, module, Some("default")),
            ("lora_B.other.weight", Kind::B, module, Some("other")),
            ("lora_embedding_A", Kind::EmbeddingA, module, None),
            ("lora_embedding_B.default", Kind::EmbeddingB, module, Some("default")),
            ("lora_magnitude_vector", Kind::Magnitude, module, None),
            ("lora_magnitude_vector.default.weight", Kind::Magnitude, module, Some("default")),
            ("base_layer.weight", Kind::BaseLayer, "model.layers.0.self_attn.q_proj.weight", None),
            ("modules_to_save.default.weight", Kind::Whole, "model.layers.0.self_attn.q_proj.weight", Some("default")),
            ("modules_to_save.weight", Kind::Whole, "model.layers.0.self_attn.q_proj.weight", None),
            ("original_module.bias", Kind::Original, "model.layers.0.self_attn.q_proj.bias", None),
            ("weight", Kind::Whole, "model.layers.0.self_attn.q_proj.weight", None),
            ("lora_B.bias", Kind::Whole, "model.layers.0.self_attn.q_proj.lora_B.bias", None),
        ] {
            let name = format!("{PREFIX}{module}.{name}");
            assert_eq!(parse(&name), Name { kind, path: path.to_owned(), adapter }, "{name}");
        }
    }
}
