//! Configuration of a decoder, read from `config.json`.
//!
//! The families' differences end here: everything after reads a [`DecoderConfig`]. Values that a file
//! leaves out are the ones transformers' config classes assume.

use serde_json::Value;

use super::config_keys::{ConfigError, Keys};
use super::rope_config::{RopeConfig, RopeContext};
use crate::checkpoint::ModelConfig;
use crate::compute::nn::Activation;

/// The `model_type` values that the decoder knows.
pub(super) const MODEL_TYPES: &[&str] =
    &["llama", "mistral", "phi3", "qwen2", "qwen3", "gemma2", "gemma3_text", "gemma3"];

/// A family of decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3, `SmolLM` and whatever else calls itself llama.
    Llama,
    /// Mistral 7B.
    Mistral,
    /// Phi-3 and Phi-4-mini: fused projections.
    Phi3,
    /// Qwen 2 and 2.5: biases on q, k and v.
    Qwen2,
    /// Qwen 3: norms on q and k.
    Qwen3,
    /// Gemma 2: soft caps and norms around each sublayer.
    Gemma2,
    /// Gemma 3, text part.
    Gemma3,
}

/// Settings that differ from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerConfig {
    /// Positions that a query sees, itself included; `None` is all.
    pub window: Option<usize>,
    /// Index into [`DecoderConfig::ropes`].
    pub rope: usize,
}

/// A decoder's shape and arithmetic.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key or a trait of the architecture")]
pub struct DecoderConfig {
    pub family: Family,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward.
    pub intermediate_size: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    pub layers: Vec<LayerConfig>,
    /// Rotary settings, one or one for each kind of layer.
    pub ropes: Vec<RopeConfig>,
    /// Most positions of a sequence.
    pub max_position_embeddings: usize,
    /// Epsilon of the norms.
    pub rms_norm_eps: f32,
    /// Added to every norm's weight: 1 for Gemma.
    pub norm_offset: f32,
    /// The feed-forward's nonlinearity.
    pub activation: Activation,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// Bias on the attention's output.
    pub o_bias: bool,
    /// Biases of the feed-forward.
    pub mlp_bias: bool,
    /// Norms on the heads of q and k.
    pub qk_norm: bool,
    /// Norms after the sublayers as well as before.
    pub post_norms: bool,
    /// `qkv_proj` and `gate_up_proj` instead of five matrices.
    pub fused: bool,
    /// Factor on attention scores.
    pub attention_scale: f32,
    /// Soft cap on attention scores.
    pub attention_soft_cap: Option<f32>,
    /// Soft cap on logits.
    pub logit_soft_cap: Option<f32>,
    /// Factor on embeddings.
    pub embedding_scale: f32,
    /// `eos_token_id`, one or several.
    pub eos_token_ids: Vec<u32>,
}

impl DecoderConfig {
    /// Reads a config.
    ///
    /// # Errors
    /// A [`ConfigError`] naming file, key and value.
    pub fn parse(config: &ModelConfig) -> Result<Self, ConfigError> {
        let file = config.path();
        let top = Keys { file, inside: "", object: config.value() };
        let family = family(&top)?;
        let nested = config.value().get("text_config").is_some_and(Value::is_object);
        let inside = if nested { "text_config." } else { "" };
        let keys = Keys { file, inside, object: config.decoder() };
        let defaults = Defaults::of(family, nested);

        let heads = keys.size("num_attention_heads", defaults.heads)?;
        let absent = if keys.has("num_key_value_heads") { None } else { defaults.kv_heads };
        let kv_heads = keys.size("num_key_value_heads", Some(absent.unwrap_or(heads)))?;
        if heads % kv_heads != 0 {
            return Err(keys.unsupported("num_key_value_heads", format!("it does not divide the {heads} heads")));
        }
        let hidden_size = keys.size("hidden_size", defaults.hidden_size)?;
        let head_dim = keys.size("head_dim", Some(defaults.head_dim.unwrap_or(hidden_size / heads)))?;
        let max_position_embeddings = keys.size("max_position_embeddings", Some(defaults.max_positions))?;
        let gemma = matches!(family, Family::Gemma2 | Family::Gemma3);
        let attention_bias = keys.flag("attention_bias")?.unwrap_or(false)
            && matches!(family, Family::Llama | Family::Qwen3 | Family::Gemma2 | Family::Gemma3);
        let scale_base = if gemma { keys.positive("query_pre_attn_scalar", Some(256.0))? } else { head_dim as f64 };
        if keys.flag("use_bidirectional_attention")?.unwrap_or(false) {
            return Err(keys.unsupported("use_bidirectional_attention", "the decoder is causal"));
        }
        let cap = |key: &str, default: Option<f64>| {
            let absent = if keys.has(key) { None } else { default };
            keys.number(key).map(|cap| cap.or(absent).map(|cap| cap as f32))
        };
        let gemma2 = family == Family::Gemma2;
        if family == Family::Gemma3 && keys.get("attn_logit_softcapping").is_some() {
            return Err(keys.unsupported("attn_logit_softcapping", "gemma3 attention has no soft cap"));
        }
        let layer_count = keys.size("num_hidden_layers", defaults.layers)?;
        // A config may claim any number; the weights show the true one soon enough.
        if layer_count > 100_000 {
            return Err(keys.wrong("num_hidden_layers", "a number of layers below 100000"));
        }
        let sliding = sliding_layers(&keys, family, layer_count)?;
        let any_sliding = sliding.iter().any(|sliding| *sliding);
        let window = if any_sliding { Some(keys.size("sliding_window", Some(4096))?) } else { None };
        let ropes = ropes(&keys, family, head_dim, max_position_embeddings)?;
        let local = ropes.len() - 1;
        let layers = sliding
            .iter()
            .map(|&sliding| LayerConfig { window: window.filter(|_| sliding), rope: if sliding { local } else { 0 } })
            .collect();
        let eos = keys.tokens("eos_token_id")?;
        Ok(Self {
            family,
            vocab_size: keys.size("vocab_size", defaults.vocab_size)?,
            hidden_size,
            intermediate_size: keys.size("intermediate_size", defaults.intermediate_size)?,
            heads,
            kv_heads,
            head_dim,
            layers,
            ropes,
            max_position_embeddings,
            rms_norm_eps: keys.positive("rms_norm_eps", Some(defaults.eps))? as f32,
            norm_offset: if gemma { 1.0 } else { 0.0 },
            activation: activation(&keys, if gemma { "hidden_activation" } else { "hidden_act" }, gemma)?,
            tie_word_embeddings: tied(&top, &keys, gemma)?,
            qkv_bias: attention_bias || family == Family::Qwen2,
            o_bias: attention_bias,
            mlp_bias: family == Family::Llama && keys.flag("mlp_bias")?.unwrap_or(false),
            qk_norm: matches!(family, Family::Qwen3 | Family::Gemma3),
            post_norms: gemma,
            fused: family == Family::Phi3,
            attention_scale: scale_base.powf(-0.5) as f32,
            attention_soft_cap: if gemma2 { cap("attn_logit_softcapping", Some(50.0))? } else { None },
            logit_soft_cap: if gemma { cap("final_logit_softcapping", gemma2.then_some(30.0))? } else { None },
            embedding_scale: if gemma { (hidden_size as f64).sqrt() as f32 } else { 1.0 },
            eos_token_ids: if eos.is_empty() { top.tokens("eos_token_id")? } else { eos },
        })
    }
}

fn family(top: &Keys<'_>) -> Result<Family, ConfigError> {
    match top.text("model_type")? {
        Some("llama") => Ok(Family::Llama),
        Some("mistral") => Ok(Family::Mistral),
        Some("phi3") => Ok(Family::Phi3),
        Some("qwen2") => Ok(Family::Qwen2),
        Some("qwen3") => Ok(Family::Qwen3),
        Some("gemma2") => Ok(Family::Gemma2),
        Some("gemma3" | "gemma3_text") => Ok(Family::Gemma3),
        Some(other) => Err(ConfigError::Family {
            file: top.file.into(),
            model_type: other.chars().take(60).collect(),
            known: MODEL_TYPES,
        }),
        None => Err(ConfigError::Missing { file: top.file.into(), key: "model_type".to_owned() }),
    }
}

/// transformers' values of absent keys. Sizes have none, but for multimodal Gemma, whose inner
/// config is written sparsely.
struct Defaults {
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    layers: Option<usize>,
    heads: Option<usize>,
    kv_heads: Option<usize>,
    head_dim: Option<usize>,
    max_positions: usize,
    eps: f64,
}

impl Defaults {
    fn of(family: Family, nested: bool) -> Self {
        let sparse = nested && family == Family::Gemma3;
        let kv_heads = match family {
            Family::Llama | Family::Phi3 => None,
            Family::Mistral => Some(8),
            Family::Qwen2 | Family::Qwen3 => Some(32),
            Family::Gemma2 | Family::Gemma3 => Some(4),
        };
        Self {
            vocab_size: sparse.then_some(262_208),
            hidden_size: sparse.then_some(2304),
            intermediate_size: sparse.then_some(9216),
            layers: sparse.then_some(26),
            heads: sparse.then_some(8),
            kv_heads,
            head_dim: match family {
                Family::Qwen3 => Some(128),
                Family::Gemma2 | Family::Gemma3 => Some(256),
                _ => None,
            },
            max_positions: match family {
                Family::Llama => 2048,
                Family::Mistral | Family::Gemma3 => 131_072,
                Family::Phi3 => 4096,
                Family::Qwen2 | Family::Qwen3 => 32_768,
                Family::Gemma2 => 8192,
            },
            eps: if family == Family::Phi3 { 1e-5 } else { 1e-6 },
        }
    }
}

/// Layers with sliding-window attention.
fn sliding_layers(keys: &Keys<'_>, family: Family, count: usize) -> Result<Vec<bool>, ConfigError> {
    let by_type = matches!(family, Family::Qwen2 | Family::Qwen3 | Family::Gemma2 | Family::Gemma3);
    if by_type && let Some(types) = keys.texts("layer_types")? {
        if types.len() != count {
            return Err(keys.unsupported("layer_types", format!("it names {} layers of {count}", types.len())));
        }
        let sliding = types.iter().map(|kind| match *kind {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            _ => Err(keys.unsupported("layer_types", "known are full_attention and sliding_attention")),
        });
        let sliding: Vec<bool> = sliding.collect::<Result<_, _>>()?;
        // The Qwen families look at a window only where the config says so.
        let used =
            !matches!(family, Family::Qwen2 | Family::Qwen3) || keys.flag("use_sliding_window")?.unwrap_or(false);
        return Ok(if used && (keys.get("sliding_window").is_some() || !keys.has("sliding_window")) {
            sliding
        } else {
            vec![false; count]
        });
    }
    let null = keys.has("sliding_window") && keys.get("sliding_window").is_none();
    let all = |sliding: bool| vec![sliding; count];
    Ok(match family {
        Family::Llama => all(false),
        Family::Mistral => all(!null),
        Family::Phi3 => all(keys.get("sliding_window").is_some()),
        Family::Qwen2 | Family::Qwen3 => {
            let used = keys.flag("use_sliding_window")?.unwrap_or(false) && !null;
            let first = keys.count("max_window_layers")?.unwrap_or(28);
            (0..count).map(|layer| used && layer >= first).collect()
        }
        Family::Gemma2 => (0..count).map(|layer| layer % 2 == 0 && !null).collect(),
        Family::Gemma3 => {
            let pattern = keys.size("sliding_window_pattern", Some(6))?;
            (0..count).map(|layer| (layer + 1) % pattern != 0 && !null).collect()
        }
    })
}

/// Rotary settings: global first, and for Gemma 3 the local one of windowed layers second.
fn ropes(
    keys: &Keys<'_>,
    family: Family,
    head_dim: usize,
    max_position_embeddings: usize,
) -> Result<Vec<RopeConfig>, ConfigError> {
    let phi3 = family == Family::Phi3;
    let mut context = RopeContext {
        default_theta: if family == Family::Gemma3 { 1_000_000.0 } else { 10_000.0 },
        head_dim,
        max_position_embeddings,
        original: if phi3 { Some(keys.size("original_max_position_embeddings", Some(4096))?) } else { None },
        partial_rotary_factor: if family == Family::Gemma3 { None } else { keys.number("partial_rotary_factor")? },
        yarn_is_longrope: phi3,
    };
    if family != Family::Gemma3 {
        return Ok(vec![RopeConfig::parse(keys, &context)?]);
    }
    let local_theta = keys.positive("rope_local_base_freq", Some(10_000.0))?;
    let both = keys.get("rope_parameters").filter(|value| value.get("full_attention").is_some());
    let Some(both) = both else {
        let global = RopeConfig::parse(keys, &context)?;
        context.default_theta = local_theta;
        return Ok(vec![global, RopeConfig::plain(local_theta, keys, &context)?]);
    };
    let set = |kind: &str, theta: f64| {
        let inside = format!("rope_parameters.{kind}.");
        match both.get(kind).filter(|set| set.is_object()) {
            Some(object) => RopeConfig::parse_set(&Keys { file: keys.file, inside: &inside, object }, theta, &context),
            None => RopeConfig::plain(theta, keys, &context),
        }
    };
    let global = keys.positive("rope_theta", Some(context.default_theta))?;
    Ok(vec![set("full_attention", global)?, set("sliding_attention", local_theta)?])
}

fn activation(keys: &Keys<'_>, key: &str, gemma: bool) -> Result<Activation, ConfigError> {
    match keys.text(key)?.unwrap_or(if gemma { "gelu_pytorch_tanh" } else { "silu" }) {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu_pytorch_tanh" | "gelu_new" => Ok(Activation::GeluTanh),
        "gelu" => Ok(Activation::Gelu),
        _ => Err(keys.unsupported(key, "known are silu, gelu and gelu_pytorch_tanh")),
    }
}

fn tied(top: &Keys<'_>, keys: &Keys<'_>, gemma: bool) -> Result<bool, ConfigError> {
    let key = "tie_word_embeddings";
    Ok(top.flag(key)?.or(keys.flag(key)?).unwrap_or(gemma))
}
