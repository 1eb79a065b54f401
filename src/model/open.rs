//! Opening a checkpoint: config, weights and adapters become a [`Decoder`].

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::attention::SelfAttention;
use super::block::{Block, FeedForward};
use super::config::{DecoderConfig, LayerConfig};
use super::config_keys::{ConfigError, Keys};
use super::decoder::{Decoder, DecoderOptions, Embedding};
use super::norm::Norm;
use super::ops::RmsNorm;
use super::projection::{Linear, Projection, ProjectionName};
use super::rope::Rope;
use super::weights::{WeightSource, WeightsError};
use crate::checkpoint::TensorSource;
use crate::compute::nn::AttentionShape;
use crate::error::Result;

impl Decoder {
    /// Packs a model's weights, adapters added: those of an opened directory, whose mapped pages are
    /// released as it goes, or of a merge in memory.
    ///
    /// # Errors
    /// A [`ConfigError`] or [`WeightsError`] naming file, key or tensor.
    pub fn open(model: &dyn TensorSource, options: &DecoderOptions) -> Result<Self> {
        let Some(file) = model.config() else {
            return Err(ConfigError::NoConfig { path: model.root().into() }.into());
        };
        let config = DecoderConfig::parse(file)?;
        let source = WeightSource::new(model, options)?;
        let build = Builder { config: &config, source: &source };
        let (hidden, vocabulary) = (config.hidden_size, config.vocab_size);
        let embedding_module = format!("{}embed_tokens", source.prefix);
        let embedding = source.matrix(&embedding_module, [vocabulary, hidden], 0..vocabulary)?;
        let layer = |index: usize| build.layer(index, &config.layers[index]);
        let layers: Vec<Layer> = options.workers.try_map(config.layers.len(), layer)?;
        let norm = build.norm(&format!("{}norm", source.prefix), hidden)?;
        let mut weight_bytes = embedding.bytes();
        let outside = if source.prefix == "language_model.model." { "language_model." } else { "" };
        let head_module = format!("{outside}lm_head");
        let tied = config.tie_word_embeddings;
        let head = if tied && !source.changes(&head_module) && !source.changes(&embedding_module) {
            Arc::clone(&embedding)
        } else {
            // An adapter of one of two tied matrices parts them, as it does in PEFT.
            let stored = if tied { &embedding_module } else { &head_module };
            let head = source.matrix_as(stored, &head_module, [vocabulary, hidden], 0..vocabulary)?;
            weight_bytes += head.bytes();
            head
        };
        let (mut blocks, mut names) = (Vec::with_capacity(layers.len()), Vec::new());
        for layer in layers {
            weight_bytes += layer.bytes;
            blocks.push(layer.block);
            names.extend(layer.names);
        }
        // Everything is packed: nothing is read from the files after this.
        model.unchanged()?;
        let warnings = unused(model, options, source, config.tie_word_embeddings)?;
        let eos_token_ids = eos_token_ids(model.root(), &config)?;
        let ropes = config.ropes.iter().map(Rope::new).collect();
        Ok(Self {
            embedding: Embedding::Packed(embedding),
            blocks,
            norm,
            head: Box::new(Linear::new(head, None)),
            ropes,
            names,
            eos_token_ids,
            weight_bytes,
            warnings,
            config,
        })
    }
}

struct Layer {
    block: Block,
    names: Vec<ProjectionName>,
    bytes: usize,
}

struct Builder<'a> {
    config: &'a DecoderConfig,
    source: &'a WeightSource<'a>,
}

/// Output rows of a module that become one projection.
struct Part {
    module: String,
    rows: usize,
    range: Range<usize>,
    inputs: usize,
    bias: bool,
}

impl Builder<'_> {
    fn layer(&self, index: usize, layer: &LayerConfig) -> Result<Layer, WeightsError> {
        let config = self.config;
        let at = format!("{}layers.{index}.", self.source.prefix);
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let whole = |module: &str, rows: usize, inputs: usize, bias: bool| Part {
            module: format!("{at}{module}"),
            rows,
            range: 0..rows,
            inputs,
            bias,
        };
        let part = |module: &str, rows: usize, range: Range<usize>| Part {
            module: format!("{at}{module}"),
            rows,
            range,
            inputs: hidden,
            bias: false,
        };
        let o = whole("self_attn.o_proj", hidden, q, config.o_bias);
        let down = whole("mlp.down_proj", hidden, inner, config.mlp_bias);
        let parts = if config.fused {
            let (qkv, all) = ("self_attn.qkv_proj", q + 2 * kv);
            [
                part(qkv, all, 0..q),
                part(qkv, all, q..q + kv),
                part(qkv, all, q + kv..all),
                o,
                part("mlp.gate_up_proj", 2 * inner, 0..inner),
                part("mlp.gate_up_proj", 2 * inner, inner..2 * inner),
                down,
            ]
        } else {
            [
                whole("self_attn.q_proj", q, hidden, config.qkv_bias),
                whole("self_attn.k_proj", kv, hidden, config.qkv_bias),
                whole("self_attn.v_proj", kv, hidden, config.qkv_bias),
                o,
                whole("mlp.gate_proj", inner, hidden, config.mlp_bias),
                whole("mlp.up_proj", inner, hidden, config.mlp_bias),
                down,
            ]
        };
        let mut bytes = 0;
        let names =
            parts.iter().map(|part| ProjectionName { module: part.module.clone(), first_row: part.range.start });
        let names = names.collect();
        let [q, k, v, o, gate, up, down] = parts.map(|part| self.projection(part, &mut bytes));
        let norm = |name: &str| self.norm(&format!("{at}{name}"), hidden);
        let head_norm = |name: &str| {
            config.qk_norm.then(|| self.norm(&format!("{at}self_attn.{name}"), config.head_dim)).transpose()
        };
        let (post, before_mlp) = if config.post_norms {
            (Some(norm("post_attention_layernorm")?), "pre_feedforward_layernorm")
        } else {
            (None, "post_attention_layernorm")
        };
        let shape = AttentionShape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            scale: config.attention_scale,
            window: layer.window,
            soft_cap: config.attention_soft_cap,
        };
        let attention = SelfAttention {
            q: q?,
            k: k?,
            v: v?,
            o: o?,
            q_norm: head_norm("q_norm")?,
            k_norm: head_norm("k_norm")?,
            shape,
            rope: layer.rope,
            layer: index,
        };
        let feed_forward = FeedForward { gate: gate?, up: up?, down: down?, activation: config.activation };
        let block = Block {
            input_norm: norm("input_layernorm")?,
            attention,
            attention_post_norm: post,
            feed_forward_norm: norm(before_mlp)?,
            feed_forward,
            feed_forward_post_norm: config.post_norms.then(|| norm("post_feedforward_layernorm")).transpose()?,
        };
        Ok(Layer { block, names, bytes })
    }

    fn projection(&self, part: Part, bytes: &mut usize) -> Result<Box<dyn Projection>, WeightsError> {
        let weight = self.source.matrix(&part.module, [part.rows, part.inputs], part.range.clone())?;
        *bytes += weight.bytes();
        let bias = part
            .bias
            .then(|| self.source.vector(&format!("{}.bias", part.module), part.rows, part.range))
            .transpose()?;
        Ok(Box::new(Linear::new(weight, bias)))
    }

    fn norm(&self, module: &str, width: usize) -> Result<Norm, WeightsError> {
        let name = format!("{module}.weight");
        let weight = self.source.vector(&name, width, 0..width)?;
        let frozen = RmsNorm { weight, offset: self.config.norm_offset, eps: self.config.rms_norm_eps };
        Ok(Norm { name, frozen, trained: None })
    }
}

/// Refuses adapters that change what the model does not have; says which tensors were not read.
fn unused(
    model: &dyn TensorSource,
    options: &DecoderOptions,
    source: WeightSource<'_>,
    tied: bool,
) -> Result<Vec<String>> {
    let used = source.into_used();
    let mut warnings = Vec::new();
    for adapter in options.adapters.iter().map(|weighted| &weighted.adapter) {
        let factors = adapter.modules().map(|module| (format!("{module}.weight"), module, "linear layer"));
        let whole = adapter.saved().keys().chain(adapter.base_copies().keys());
        let saved = whole.map(|name| (name.clone(), name.as_str(), "tensor"));
        if let Some((_, module, what)) = factors.chain(saved).find(|(name, ..)| !used.contains(name)) {
            return Err(WeightsError::Adapter {
                adapter: adapter.path().into(),
                module: module.to_owned(),
                reason: format!("which is no {what} of this model"),
            }
            .into());
        }
        let is_matrix = |name: &&String| model.tensors().get(*name).is_some_and(|tensor| tensor.shape.len() == 2);
        let modules = used.iter().filter(is_matrix).filter_map(|name| name.strip_suffix(".weight"));
        warnings.extend(adapter.check_modules(modules)?);
    }
    let harmless = |name: &str| name.ends_with("rotary_emb.inv_freq") || (tied && name.ends_with("lm_head.weight"));
    let rest: Vec<&str> =
        model.tensors().keys().map(String::as_str).filter(|name| !used.contains(*name) && !harmless(name)).collect();
    if let Some(first) = rest.first() {
        warnings.push(format!(
            "{}: {} tensors are no part of the decoder and were not read, `{first}` among them",
            model.root().display(),
            rest.len()
        ));
    }
    Ok(warnings)
}

/// The tokens that end a text.
fn eos_token_ids(root: &Path, config: &DecoderConfig) -> Result<Vec<u32>> {
    let file = root.join("generation_config.json");
    let Ok(text) = crate::storage::input::read(&file, crate::storage::input::SETTINGS_BYTES) else {
        return Ok(config.eos_token_ids.clone());
    };
    let object: Value = serde_json::from_slice(&text).map_err(|_| ConfigError::Type {
        file: file.clone(),
        key: "the file".to_owned(),
        value: "not JSON".to_owned(),
        expected: "one JSON object",
    })?;
    let tokens = Keys { file: &file, inside: "", object: &object }.tokens("eos_token_id")?;
    Ok(if tokens.is_empty() { config.eos_token_ids.clone() } else { tokens })
}
