//! Whether the configs of the models describe one computation.
//!
//! Weights of equal shapes can be averaged whatever they were trained to do. What a config says beyond the shapes
//! (heads, activation, which layers attend how) must be the same, or the mean has no meaning. Rotary bases, lengths and
//! epsilons are mixed on purpose: warnings name both values and the one written. A key that is in neither table is
//! reported as well. Keys that only matter in training, or only name things, are left alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::options::MergeOptions;
use super::slices::PlannedSlice;
use crate::checkpoint::ModelConfig;
use crate::checkpoint::config::LAYER_COUNT_KEYS;
use crate::error::ErrorKind;
use crate::merge::plan::sources::Model;
use crate::recipe::{Diagnostics, Recipe};

/// Keys by which two models compute different things with the same tensors.
const MEANING: &[&str] = &[
    // Heads and what is done in them.
    "num_attention_heads",
    "num_key_value_heads",
    "num_heads",
    "n_head",
    "n_heads",
    "num_kv_heads",
    "multi_query",
    "multi_query_group_num",
    "head_dim",
    "d_kv",
    "kv_channels",
    "v_head_dim",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "kv_lora_rank",
    "q_lora_rank",
    "partial_rotary_factor",
    "rotary_pct",
    "rotary_dim",
    "rope_interleaved",
    "position_embedding_type",
    "alibi",
    "query_pre_attn_scalar",
    "attention_multiplier",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "scale_attn_weights",
    "scale_attn_by_inverse_layer_idx",
    "use_qk_norm",
    "qk_norm",
    "qk_layernorm",
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "is_decoder",
    "is_encoder_decoder",
    "use_bidirectional_attention",
    // Activations, norms and the way a block is put together.
    "hidden_act",
    "activation_function",
    "activation",
    "feed_forward_proj",
    "dense_act_fn",
    "is_gated_act",
    "parallel_attn",
    "use_parallel_residual",
    "new_decoder_architecture",
    "do_layer_norm_before",
    "normalization_type",
    "norm_type",
    "residual_multiplier",
    "embedding_multiplier",
    "logits_scaling",
    "logit_scale",
    // Mixtures of experts.
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "norm_topk_prob",
    "routed_scaling_factor",
    "scoring_func",
    "topk_method",
    "n_group",
    "topk_group",
    "first_k_dense_replace",
    "decoder_sparse_step",
    "mlp_only_layers",
    // Which layers are of which kind; `layer_types` is compared layer by layer.
    "sliding_window_pattern",
    "full_attention_interval",
    "no_rope_layers",
    "no_rope_layer_interval",
];

/// Keys that name things, count layers or rows (compared where they belong), or only matter in training.
const UNCOMPARED: &[&str] = &[
    "architectures",
    "model_type",
    "layer_types",
    "_name_or_path",
    "name_or_path",
    "auto_map",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "quantization_config",
    "text_config",
    "vocab_size",
    "use_cache",
    "initializer_range",
    "initializer_factor",
    "pretraining_tp",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "attention_dropout",
    "hidden_dropout",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "dropout",
    "dropout_rate",
    "embd_pdrop",
    "attn_pdrop",
    "resid_pdrop",
    "embd_dropout",
    "resid_dropout",
    "activation_dropout",
    "gradient_checkpointing",
    "router_aux_loss_coef",
    "output_router_logits",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "problem_type",
    "finetuning_task",
    "task_specific_params",
    "chunk_size_feed_forward",
    "pad_token_id",
    "unsloth_version",
    "unsloth_fixed",
    "keys_to_ignore_at_inference",
];

/// Keys beside those of [`MEANING`] by which a model computes something else than one whose config leaves them out.
const ABSENCE_MEANS: &[&str] = &[
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rope_local_base_freq",
    "original_max_position_embeddings",
    "max_position_embeddings",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "attention_window_size",
    "rms_norm_eps",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "norm_eps",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "qkv_bias",
];

/// Keys whose value follows from the shapes of the weights and the number of heads, where a config leaves them out.
const IMPLIED_BY_SHAPES: &[&str] = &["num_key_value_heads", "head_dim"];

/// Compares every model's config with that of the config source, which is written.
pub(super) fn check(
    recipe: &Recipe,
    models: &[Model],
    donor: usize,
    options: &MergeOptions,
    diagnostics: &mut Diagnostics,
) {
    let Some(written) = models[donor].config.as_ref() else { return };
    let (donor_name, ours) = (models[donor].reference.to_string(), values(written));
    for (index, model) in models.iter().enumerate() {
        let Some(config) = model.config.as_ref().filter(|_| index != donor) else { continue };
        let theirs = values(config);
        let span = recipe.sources().find(|s| s.model.value == model.reference).map(|s| s.model.span);
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        for key in keys {
            let (a, b) = (ours.get(key), theirs.get(key));
            if LAYER_COUNT_KEYS.contains(&key.as_str()) || !differ(key, a, b) {
                continue;
            }
            let (a_text, b_text) = (text(a), text(b));
            let differ =
                format!("config.json: `{key}` is {a_text} in `{donor_name}` and {b_text} in `{}`", model.reference);
            let meaning = MEANING.contains(&key.as_str()) && a.is_some() && b.is_some();
            if meaning && !options.allow_mismatch {
                let message = format!("{differ}, so their weights do not mean the same");
                let help = "merge models that compute alike; pass --allow-mismatch to merge them all the same";
                diagnostics.model_error(ErrorKind::Mismatch, span, message, help);
            } else {
                diagnostics.alert(None, format!("{differ}; {a_text} is written"));
            }
        }
    }
}

/// Compares the kinds of the layers that meet in each slice.
pub(super) fn check_layer_types(
    models: &[Model],
    slices: &[PlannedSlice<'_>],
    options: &MergeOptions,
    diagnostics: &mut Diagnostics,
) {
    let kind = |model: usize, layer: u64| -> Option<&Value> {
        let types = models[model].config.as_ref()?.decoder().get("layer_types")?.as_array()?;
        types.get(usize::try_from(layer).ok()?)
    };
    for slice in slices {
        let Some((first, _, first_start)) = slice.inputs.first() else { continue };
        for (model, source, start) in &slice.inputs[1..] {
            let differs = (0..slice.layers).find_map(|layer| {
                let (a, b) = (kind(*first, first_start + layer)?, kind(*model, start + layer)?);
                (a != b).then_some((first_start + layer, a, start + layer, b))
            });
            let Some((a_layer, a, b_layer, b)) = differs else { continue };
            let message = format!(
                "config.json: layer {a_layer} of `{}` is {a} and layer {b_layer} of `{}`, which it is merged with, is {b}",
                models[*first].reference, models[*model].reference
            );
            if options.allow_mismatch {
                diagnostics.alert(None, message);
            } else {
                let help = "merge layers of one kind; pass --allow-mismatch to merge them all the same";
                diagnostics.model_error(ErrorKind::Mismatch, source.map(|s| s.model.span), message, help);
            }
        }
    }
}

/// Values of a config by key: of the text decoder where there is one, under one name where there are two.
fn values(config: &ModelConfig) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    for object in [config.value(), config.decoder()] {
        for (key, value) in object.as_object().into_iter().flatten() {
            if !unstated(value) {
                values.insert(key.clone(), value.clone());
            }
        }
    }
    // transformers 5 writes one object for what were two keys.
    if let Some(Value::Object(mut rope)) = values.remove("rope_parameters") {
        if let Some(theta) = rope.remove("rope_theta") {
            values.entry("rope_theta".to_owned()).or_insert(theta);
        }
        if let Some(factor) = rope.remove("partial_rotary_factor") {
            values.entry("partial_rotary_factor".to_owned()).or_insert(factor);
        }
        values.insert("rope_scaling".to_owned(), Value::Object(rope));
    }
    if let Some(Value::Object(scaling)) = values.get_mut("rope_scaling") {
        if let Some(kind) = scaling.remove("type") {
            scaling.entry("rope_type").or_insert(kind);
        }
        if scaling.get("rope_type").is_none_or(|kind| kind == "default") && scaling.len() <= 1 {
            values.remove("rope_scaling");
        }
    }
    if let Some(activation) = values.remove("hidden_activation") {
        values.insert("hidden_act".to_owned(), activation);
    }
    // Gemma's first configs say one and mean the other.
    let gemma = values.get("model_type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("gemma"));
    if gemma && values.get("hidden_act").is_some_and(|activation| activation == "gelu") {
        values.insert("hidden_act".to_owned(), Value::from("gelu_pytorch_tanh"));
    }
    if values.contains_key("num_attention_heads") {
        // The default of the families with rotary positions that leave it out.
        values.entry("rope_theta".to_owned()).or_insert(Value::from(10_000.0));
    }
    values
}

/// Whether a value says no more than an absent key.
fn unstated(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// Whether two configs say something different about a key.
fn differ(key: &str, a: Option<&Value>, b: Option<&Value>) -> bool {
    let implied = IMPLIED_BY_SHAPES.contains(&key) && (a.is_none() || b.is_none());
    // A key that only one config has is a difference where leaving it out means something.
    let told = a.is_some() && b.is_some() || MEANING.contains(&key) || ABSENCE_MEANS.contains(&key);
    !UNCOMPARED.contains(&key) && !implied && told && !same(a, b)
}

fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => a == b || a.as_f64() == b.as_f64(),
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().all(|key| {
                let stated = |value: &&Value| !unstated(value);
                same(a.get(key).filter(stated), b.get(key).filter(stated))
            })
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (a, b) => a == b,
    }
}

/// Most characters of a value in a message.
const SHOWN: usize = 80;

fn text(value: Option<&Value>) -> String {
    let Some(value) = value else { return "not stated".to_owned() };
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    format!("{}...", text.chars().take(SHOWN).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(text: &str) -> BTreeMap<String, Value> {
        values(&ModelConfig::parse("config.json".as_ref(), text.to_owned()).unwrap())
    }

    fn differing(a: &str, b: &str) -> Vec<String> {
        let (a, b) = (stated(a), stated(b));
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        keys.into_iter().filter(|key| differ(key, a.get(*key), b.get(*key))).cloned().collect()
    }

    #[test]
    fn spellings_of_one_config_are_equal() {
        let old = r#"{"hidden_size": 64, "num_attention_heads": 4, "rope_theta": 1e6, "mlp_bias": false,
                      "rope_scaling": null, "rms_norm_eps": 1e-5, "sliding_window": null}"#;
        let new = r#"{"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16,
                      "rope_parameters": {"rope_theta": 1000000, "rope_type": "default"}, "rms_norm_eps": 0.00001}"#;
        assert_eq!(differing(old, new), [""; 0]);
        let scaled = |kind| format!(r#"{{"rope_scaling": {{"{kind}": "linear", "factor": 2.0}}}}"#);
        assert_eq!(differing(&scaled("type"), &scaled("rope_type")), [""; 0]);
        assert_eq!(differing(&scaled("type"), "{}"), ["rope_scaling"]);
        let (gemma, tanh) = (
            r#"{"model_type": "gemma", "hidden_act": "gelu"}"#,
            r#"{"model_type": "gemma", "hidden_act": "gelu", "hidden_activation": "gelu_pytorch_tanh"}"#,
        );
        assert_eq!(differing(gemma, tanh), [""; 0]);
        assert_eq!(differing(r#"{"text_config": {"hidden_act": "silu"}}"#, "{}"), ["hidden_act"]);
    }

    #[test]
    fn values_that_shapes_imply_may_be_left_out() {
        let four = r#"{"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}"#;
        let eight = r#"{"hidden_size": 64, "num_attention_heads": 8, "head_dim": 16}"#;
        assert_eq!(differing(four, eight), ["num_attention_heads"]);
        let wide = r#"{"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 32}"#;
        assert_eq!(differing(four, wide), ["num_key_value_heads"]);
        assert_eq!(differing(eight, wide), ["head_dim", "num_attention_heads"]);
    }
}
