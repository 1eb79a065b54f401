//! Sizes of a model, from the metadata.

use super::error::ConvertError;
use super::family::Family;
use super::gguf::GgufFile;

/// A size that the metadata give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dim {
    Vocabulary,
    /// Model width.
    Hidden,
    /// Width of the feed-forward part.
    Intermediate,
    /// Gate and up together.
    TwoIntermediate,
    /// All query heads.
    Query,
    /// All key or value heads.
    KeyValue,
    /// Query, key and value heads together.
    QueryKeyValue,
    /// One head.
    Head,
}

/// Sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) struct Shapes {
    pub vocabulary: u64,
    pub hidden: u64,
    pub intermediate: u64,
    pub layers: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    pub rotary_dim: u64,
}

impl Shapes {
    /// Reads the sizes; they are consistent with each other, and small enough to multiply.
    ///
    /// # Errors
    /// Missing keys and values that make no sense.
    pub(crate) fn read(file: &GgufFile, family: Family) -> Result<Self, ConvertError> {
        let metadata = file.metadata();
        let prefix = family.architecture();
        let embedding = file.tensor("token_embd.weight").ok_or_else(|| ConvertError::MissingTensor {
            file: metadata.file().into(),
            tensor: "token_embd.weight".to_owned(),
        })?;
        let size = |name: &str| -> Result<Option<u64>, ConvertError> {
            let key = format!("{prefix}.{name}");
            match metadata.count(&key)? {
                Some(value) if value == 0 || value > 1 << 24 => {
                    Err(ConvertError::Value { file: metadata.file().into(), key, value: value.to_string() })
                }
                value => Ok(value),
            }
        };
        let needed = |name: &str| -> Result<u64, ConvertError> {
            size(name)?.ok_or_else(|| metadata.missing(&format!("{prefix}.{name}")).into())
        };
        let hidden = needed("embedding_length")?;
        let heads = needed("attention.head_count")?;
        let kv_heads = size("attention.head_count_kv")?.unwrap_or(heads);
        let rotary = size("rope.dimension_count")?;
        let key = size("attention.key_length")?;
        let from_rotary = if family == Family::Llama { rotary } else { None };
        let head_dim = key.or(from_rotary).unwrap_or(hidden / heads);
        let shapes = Self {
            vocabulary: embedding.info.rows(),
            hidden,
            intermediate: needed("feed_forward_length")?,
            layers: needed("block_count")?,
            heads,
            kv_heads,
            head_dim,
            rotary_dim: rotary.unwrap_or(head_dim),
        };
        let wrong = |name: &str, value: u64| ConvertError::Value {
            file: metadata.file().into(),
            key: format!("{prefix}.{name}"),
            value: value.to_string(),
        };
        if heads % kv_heads != 0 {
            return Err(wrong("attention.head_count_kv", kv_heads));
        }
        if head_dim == 0 || head_dim % 2 != 0 {
            return Err(wrong("attention.key_length", head_dim));
        }
        if let Some(value) = size("attention.value_length")?.filter(|value| *value != head_dim) {
            return Err(wrong("attention.value_length", value));
        }
        if shapes.rotary_dim > head_dim || !shapes.rotary_dim.is_multiple_of(2) {
            return Err(wrong("rope.dimension_count", shapes.rotary_dim));
        }
        if let Some(experts) = size("expert_count").ok().flatten() {
            return Err(wrong("expert_count", experts));
        }
        Ok(shapes)
    }

    /// A tensor dimension.
    #[must_use]
    pub(crate) fn size(&self, dim: Dim) -> u64 {
        match dim {
            Dim::Vocabulary => self.vocabulary,
            Dim::Hidden => self.hidden,
            Dim::Intermediate => self.intermediate,
            Dim::TwoIntermediate => 2 * self.intermediate,
            Dim::Query => self.heads * self.head_dim,
            Dim::KeyValue => self.kv_heads * self.head_dim,
            Dim::QueryKeyValue => (self.heads + 2 * self.kv_heads) * self.head_dim,
            Dim::Head => self.head_dim,
        }
    }
}
