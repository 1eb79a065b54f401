//! Mapping of GGUF tensors to Hugging Face tensors, and the inverse of llama.cpp's conversion.
//!
//! Names on the GGUF side are those of llama.cpp's `gguf-py/gguf/constants.py`; what is undone is
//! what its `convert_hf_to_gguf.py` does: rows of q and k are reordered for interleaved rotary
//! positions in `llama` files only, and Gemma's norms are stored with their 1 added.

use super::config::Shapes;
use super::error::ConvertError;
use super::gguf::{GgufFile, GgufTensor};

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

/// Transformation that has to be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undo {
    Nothing,
    /// Rows of each query head are interleaved.
    QueryOrder,
    /// Rows of each key head are interleaved.
    KeyOrder,
    /// 1 was added.
    PlusOne,
}

/// One kind of tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    gguf: &'static str,
    hf: &'static str,
    shape: &'static [Dim],
    required: bool,
    undo: Undo,
}

const fn row(gguf: &'static str, hf: &'static str, shape: &'static [Dim]) -> Row {
    Row { gguf, hf, shape, required: true, undo: Undo::Nothing }
}

impl Row {
    const fn optional(self) -> Self {
        Self { required: false, ..self }
    }

    const fn undo(self, undo: Undo) -> Self {
        Self { undo, ..self }
    }
}

use Dim::{Head, Hidden, Intermediate, KeyValue, Query, QueryKeyValue, TwoIntermediate, Vocabulary};

const EMBEDDING: Row = row("token_embd.weight", "model.embed_tokens.weight", &[Vocabulary, Hidden]);
const NORM: Row = row("output_norm.weight", "model.norm.weight", &[Hidden]);
const HEAD: Row = row("output.weight", "lm_head.weight", &[Vocabulary, Hidden]).optional();

const INPUT_NORM: Row = row("attn_norm.weight", "input_layernorm.weight", &[Hidden]);
const Q: Row = row("attn_q.weight", "self_attn.q_proj.weight", &[Query, Hidden]);
const K: Row = row("attn_k.weight", "self_attn.k_proj.weight", &[KeyValue, Hidden]);
const V: Row = row("attn_v.weight", "self_attn.v_proj.weight", &[KeyValue, Hidden]);
const O: Row = row("attn_output.weight", "self_attn.o_proj.weight", &[Hidden, Query]);
const Q_BIAS: Row = row("attn_q.bias", "self_attn.q_proj.bias", &[Query]);
const K_BIAS: Row = row("attn_k.bias", "self_attn.k_proj.bias", &[KeyValue]);
const V_BIAS: Row = row("attn_v.bias", "self_attn.v_proj.bias", &[KeyValue]);
const O_BIAS: Row = row("attn_output.bias", "self_attn.o_proj.bias", &[Hidden]);
const Q_NORM: Row = row("attn_q_norm.weight", "self_attn.q_norm.weight", &[Head]);
const K_NORM: Row = row("attn_k_norm.weight", "self_attn.k_norm.weight", &[Head]);
const FFN_NORM: Row = row("ffn_norm.weight", "post_attention_layernorm.weight", &[Hidden]);
const GATE: Row = row("ffn_gate.weight", "mlp.gate_proj.weight", &[Intermediate, Hidden]);
const UP: Row = row("ffn_up.weight", "mlp.up_proj.weight", &[Intermediate, Hidden]);
const DOWN: Row = row("ffn_down.weight", "mlp.down_proj.weight", &[Hidden, Intermediate]);
const GATE_BIAS: Row = row("ffn_gate.bias", "mlp.gate_proj.bias", &[Intermediate]);
const UP_BIAS: Row = row("ffn_up.bias", "mlp.up_proj.bias", &[Intermediate]);
const DOWN_BIAS: Row = row("ffn_down.bias", "mlp.down_proj.bias", &[Hidden]);
const POST_ATTENTION: Row = row("post_attention_norm.weight", "post_attention_layernorm.weight", &[Hidden]);
const PRE_FFN: Row = row("ffn_norm.weight", "pre_feedforward_layernorm.weight", &[Hidden]);
const POST_FFN: Row = row("post_ffw_norm.weight", "post_feedforward_layernorm.weight", &[Hidden]);

const LLAMA: &[Row] = &[
    INPUT_NORM,
    Q.undo(Undo::QueryOrder),
    K.undo(Undo::KeyOrder),
    V,
    O,
    Q_BIAS.optional().undo(Undo::QueryOrder),
    K_BIAS.optional().undo(Undo::KeyOrder),
    V_BIAS.optional(),
    O_BIAS.optional(),
    FFN_NORM,
    GATE,
    UP,
    DOWN,
    GATE_BIAS.optional(),
    UP_BIAS.optional(),
    DOWN_BIAS.optional(),
];
const QWEN2: &[Row] = &[INPUT_NORM, Q, K, V, O, Q_BIAS, K_BIAS, V_BIAS, FFN_NORM, GATE, UP, DOWN];
const QWEN3: &[Row] = &[INPUT_NORM, Q, K, V, O, Q_NORM, K_NORM, FFN_NORM, GATE, UP, DOWN];
const PHI3: &[Row] = &[
    INPUT_NORM,
    row("attn_qkv.weight", "self_attn.qkv_proj.weight", &[QueryKeyValue, Hidden]),
    O,
    FFN_NORM,
    row("ffn_up.weight", "mlp.gate_up_proj.weight", &[TwoIntermediate, Hidden]),
    DOWN,
];
const GEMMA2: &[Row] = &[
    INPUT_NORM.undo(Undo::PlusOne),
    Q,
    K,
    V,
    O,
    POST_ATTENTION.undo(Undo::PlusOne),
    PRE_FFN.undo(Undo::PlusOne),
    GATE,
    UP,
    DOWN,
    POST_FFN.undo(Undo::PlusOne),
];
const GEMMA3: &[Row] = &[
    INPUT_NORM.undo(Undo::PlusOne),
    Q,
    K,
    V,
    O,
    Q_NORM.undo(Undo::PlusOne),
    K_NORM.undo(Undo::PlusOne),
    POST_ATTENTION.undo(Undo::PlusOne),
    PRE_FFN.undo(Undo::PlusOne),
    GATE,
    UP,
    DOWN,
    POST_FFN.undo(Undo::PlusOne),
];

/// An architecture that can be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Llama 2 and 3, and Mistral, whose files say `llama` too.
    Llama,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3, dense.
    Qwen3,
    /// Phi-3 and Phi-4-mini.
    Phi3,
    /// Gemma 2.
    Gemma2,
    /// Gemma 3, text.
    Gemma3,
}

impl Family {
    /// The family that `general.architecture` names.
    #[must_use]
    pub(crate) fn from_architecture(name: &str) -> Option<Self> {
        Some(match name {
            "llama" => Self::Llama,
            "qwen2" => Self::Qwen2,
            "qwen3" => Self::Qwen3,
            "phi3" => Self::Phi3,
            "gemma2" => Self::Gemma2,
            "gemma3" => Self::Gemma3,
            _ => return None,
        })
    }

    /// The name in GGUF files, which is also the prefix of its metadata.
    #[must_use]
    pub(crate) fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Phi3 => "phi3",
            Self::Gemma2 => "gemma2",
            Self::Gemma3 => "gemma3",
        }
    }

    fn layer_rows(self) -> &'static [Row] {
        match self {
            Self::Llama => LLAMA,
            Self::Qwen2 => QWEN2,
            Self::Qwen3 => QWEN3,
            Self::Phi3 => PHI3,
            Self::Gemma2 => GEMMA2,
            Self::Gemma3 => GEMMA3,
        }
    }

    fn global_rows(self) -> &'static [Row] {
        match self {
            // Gemma's head is always the embedding.
            Self::Gemma2 | Self::Gemma3 => const { &[EMBEDDING, NORM.undo(Undo::PlusOne)] },
            _ => &[EMBEDDING, NORM, HEAD],
        }
    }
}

/// Tensors that describe rotary positions and go to the config.
pub(crate) const ROPE_TENSORS: [&str; 3] =
    ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];

/// A tensor to convert.
#[derive(Debug, Clone)]
pub(crate) struct Mapped<'a> {
    pub tensor: &'a GgufTensor,
    /// Hugging Face name.
    pub name: String,
    /// Transformation that has to be undone.
    pub undo: Undo,
}

/// Finds every tensor's Hugging Face name, by name.
///
/// # Errors
/// A tensor that is missing, unknown or of another shape than the metadata say.
pub(crate) fn map_tensors<'a>(
    file: &'a GgufFile,
    family: Family,
    shapes: &Shapes,
) -> Result<Vec<Mapped<'a>>, ConvertError> {
    let mut mapped = Vec::with_capacity(file.tensors().len());
    let path = || file.metadata().file().to_owned();
    for tensor in file.tensors() {
        let name = tensor.info.name.as_str();
        if ROPE_TENSORS.contains(&name) {
            continue;
        }
        let unknown =
            || ConvertError::UnknownTensor { file: path(), tensor: name.into(), architecture: family.architecture() };
        let (row, hf) = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((layer, rest)) => {
                let layer = layer.parse::<u64>().ok().filter(|number| *number < shapes.layers).ok_or_else(unknown)?;
                let row = family.layer_rows().iter().find(|row| row.gguf == rest).ok_or_else(unknown)?;
                (row, format!("model.layers.{layer}.{}", row.hf))
            }
            None => {
                let row = family.global_rows().iter().find(|row| row.gguf == name).ok_or_else(unknown)?;
                (row, row.hf.to_owned())
            }
        };
        let expected: Vec<u64> = row.shape.iter().map(|dim| shapes.size(*dim)).collect();
        if tensor.info.shape != expected {
            let found = tensor.info.shape.clone();
            return Err(ConvertError::WrongShape { file: path(), tensor: name.into(), found, expected });
        }
        mapped.push(Mapped { tensor, name: hf, undo: row.undo });
    }
    mapped.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = mapped.windows(2).find(|pair| pair[0].name == pair[1].name) {
        // `blk.01` beside `blk.1`.
        let tensor = pair[1].tensor.info.name.clone();
        return Err(ConvertError::UnknownTensor { file: path(), tensor, architecture: family.architecture() });
    }
    let has = |name: &str| mapped.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).is_ok();
    if let Some(row) = family.global_rows().iter().find(|row| row.required && !has(row.hf)) {
        return Err(ConvertError::MissingTensor { file: path(), tensor: row.gguf.to_owned() });
    }
    for layer in 0..shapes.layers {
        for row in family.layer_rows().iter().filter(|row| row.required) {
            if !has(&format!("model.layers.{layer}.{}", row.hf)) {
                return Err(ConvertError::MissingTensor { file: path(), tensor: format!("blk.{layer}.{}", row.gguf) });
            }
        }
    }
    Ok(mapped)
}

/// The stored row that holds row `row` of the Hugging Face tensor, where each head of `head_dim`
/// rows has its two rotary halves interleaved.
#[must_use]
pub(crate) fn interleaved_row(row: u64, head_dim: u64) -> u64 {
    let (head, inside) = (row / head_dim, row % head_dim);
    let half = head_dim / 2;
    head * head_dim + (inside % half) * 2 + inside / half
}
