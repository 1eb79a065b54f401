//! `config.json` and `generation_config.json` from the metadata, in the keys of transformers 4,
//! which transformers 5 reads too.

use serde_json::{Map, Value, json};

use super::error::ConvertError;
use super::family::{Dim, Family};
use super::gguf::{GgufError, GgufFile, Metadata};
use super::rope::rope_scaling;
use crate::dtype::DType;

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

impl Family {
    /// transformers' `model_type`.
    #[must_use]
    pub(crate) fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Phi3 => "phi3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3_text",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Phi3 => "Phi3ForCausalLM",
            Self::Gemma2 => "Gemma2ForCausalLM",
            Self::Gemma3 => "Gemma3ForCausalLM",
        }
    }
}

/// Token ids that stand for something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SpecialIds {
    /// Begin of a text.
    pub bos: Option<u64>,
    /// End of a text.
    pub eos: Option<u64>,
    /// Padding.
    pub pad: Option<u64>,
    /// Unknown.
    pub unk: Option<u64>,
    /// Every token that ends a generation, `eos` first.
    pub stops: Vec<u64>,
}

impl SpecialIds {
    /// Reads the ids below `vocabulary`.
    ///
    /// # Errors
    /// [`GgufError::WrongType`].
    pub(crate) fn read(metadata: &Metadata, vocabulary: u64) -> Result<Self, GgufError> {
        let id = |name: &str| -> Result<Option<u64>, GgufError> {
            Ok(metadata.count(&format!("tokenizer.ggml.{name}_token_id"))?.filter(|id| *id < vocabulary))
        };
        let eos = id("eos")?;
        let mut stops: Vec<u64> = Vec::new();
        for stop in [eos, id("eot")?, id("eom")?].into_iter().flatten() {
            if !stops.contains(&stop) {
                stops.push(stop);
            }
        }
        Ok(Self { bos: id("bos")?, eos, pad: id("padding")?, unk: id("unknown")?, stops })
    }
}

/// The text of `config.json`.
///
/// # Errors
/// Settings that the family's config can't express.
pub(crate) fn config(
    file: &GgufFile,
    family: Family,
    shapes: &Shapes,
    special: &SpecialIds,
    dtype: DType,
) -> Result<Map<String, Value>, ConvertError> {
    let metadata = file.metadata();
    let prefix = family.architecture();
    let key = |name: &str| format!("{prefix}.{name}");
    let number = |name: &str| metadata.number(&key(name));
    let needed = |name: &str| number(name)?.ok_or_else(|| metadata.missing(&key(name)));
    let theta = number("rope.freq_base")?.unwrap_or(10_000.0);
    let scaling = rope_scaling(file, family, shapes, theta)?;
    let unsayable = |what: &str| ConvertError::Config {
        file: metadata.file().into(),
        what: what.to_owned(),
        model_type: family.model_type(),
    };
    let has = |name: &str| file.tensor(name).is_some();
    let length = metadata.count(&key("context_length"))?.ok_or_else(|| metadata.missing(&key("context_length")))?;
    let mut config = object(json!({
        "architectures": [family.class()],
        "model_type": family.model_type(),
        "vocab_size": shapes.vocabulary,
        "hidden_size": shapes.hidden,
        "intermediate_size": shapes.intermediate,
        "num_hidden_layers": shapes.layers,
        "num_attention_heads": shapes.heads,
        "num_key_value_heads": shapes.kv_heads,
        "max_position_embeddings": length,
        "rms_norm_eps": needed("attention.layer_norm_rms_epsilon")?,
        "rope_theta": theta,
        "rope_scaling": scaling,
        "tie_word_embeddings": !has("output.weight"),
        "attention_dropout": 0.0,
        "bos_token_id": special.bos,
        "eos_token_id": special.eos,
        "pad_token_id": special.pad,
        "torch_dtype": dtype.torch_name(),
        "use_cache": true,
    }));
    let partial = shapes.rotary_dim != shapes.head_dim;
    if partial && family != Family::Phi3 {
        return Err(unsayable("rotary positions on a part of each head"));
    }
    if family != Family::Phi3 && family != Family::Qwen2 {
        config.insert("head_dim".to_owned(), shapes.head_dim.into());
    } else if shapes.head_dim != shapes.hidden / shapes.heads || !shapes.hidden.is_multiple_of(shapes.heads) {
        return Err(unsayable("a head size other than hidden size / heads"));
    }
    let window = metadata.count(&key("attention.sliding_window"))?.filter(|window| *window > 0);
    let more = match family {
        Family::Llama => {
            let attention = ["attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias"];
            let mlp = ["ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"];
            let biases = |names: &[&str]| -> Result<bool, ConvertError> {
                let count = (0..shapes.layers)
                    .flat_map(|layer| names.iter().map(move |name| format!("blk.{layer}.{name}")))
                    .filter(|name| has(name))
                    .count() as u64;
                match count {
                    0 => Ok(false),
                    n if n == names.len() as u64 * shapes.layers => Ok(true),
                    _ => Err(unsayable("a bias on some projections only")),
                }
            };
            json!({ "hidden_act": "silu", "attention_bias": biases(&attention)?, "mlp_bias": biases(&mlp)? })
        }
        Family::Qwen2 => json!({ "hidden_act": "silu", "use_sliding_window": false }),
        Family::Qwen3 => json!({ "hidden_act": "silu", "attention_bias": false, "use_sliding_window": false }),
        Family::Phi3 => {
            let original = metadata.count(&key("rope.scaling.original_context_length"))?.unwrap_or(length);
            json!({
                "hidden_act": "silu",
                "sliding_window": window,
                "original_max_position_embeddings": original,
                "partial_rotary_factor": shapes.rotary_dim as f64 / shapes.head_dim as f64,
            })
        }
        Family::Gemma2 => json!({
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": false,
            "attn_logit_softcapping": number("attn_logit_softcapping")?,
            "final_logit_softcapping": number("final_logit_softcapping")?,
            "query_pre_attn_scalar": attention_scalar(family, shapes),
            "sliding_window": window.unwrap_or(4096),
        }),
        Family::Gemma3 => json!({
            "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": false,
            "attn_logit_softcapping": null,
            "final_logit_softcapping": number("final_logit_softcapping")?,
            "query_pre_attn_scalar": attention_scalar(family, shapes),
            "sliding_window": window.unwrap_or(4096),
            "sliding_window_pattern": metadata.count(&key("attention.sliding_window_pattern"))?.unwrap_or(6),
            "rope_local_base_freq": number("rope.freq_base_swa")?.unwrap_or(10_000.0),
        }),
    };
    config.extend(object(more));
    Ok(config)
}

/// Gemma divides queries by the root of this; the files don't hold it. It is the head size, but for
/// the 27B models, which use hidden size / heads.
fn attention_scalar(family: Family, shapes: &Shapes) -> u64 {
    let largest = if family == Family::Gemma2 { 46 } else { 62 };
    if shapes.layers == largest { shapes.hidden / shapes.heads } else { shapes.head_dim }
}

/// The text of `generation_config.json`.
#[must_use]
pub(crate) fn generation_config(special: &SpecialIds) -> Map<String, Value> {
    let mut config = Map::new();
    config.insert("_from_model_config".to_owned(), true.into());
    for (key, id) in [("bos_token_id", special.bos), ("pad_token_id", special.pad)] {
        if let Some(id) = id {
            config.insert(key.to_owned(), id.into());
        }
    }
    match special.stops.as_slice() {
        [] => {}
        [stop] => {
            config.insert("eos_token_id".to_owned(), (*stop).into());
        }
        stops => {
            config.insert("eos_token_id".to_owned(), stops.into());
        }
    }
    config
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
