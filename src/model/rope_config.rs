//! Rotary position settings as configs write them: `rope_theta` with `rope_scaling` (transformers 4)
//! or `rope_parameters` (transformers 5), one set or one for each kind of layer.

use serde_json::Value;

use super::config_keys::{ConfigError, Keys};

/// One set of rotary parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the wavelengths.
    pub theta: f64,
    /// Values of a head that are rotated; even.
    pub rotary_dim: usize,
    /// Stretching of the frequencies for longer contexts.
    pub scaling: RopeScaling,
}

/// Ways to stretch a context.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as they are.
    Default,
    /// Every frequency divided by the factor.
    Linear {
        /// Divisor of all frequencies.
        factor: f64,
    },
    /// Llama 3.1: long wavelengths divided, short ones kept, a ramp between.
    Llama3 {
        /// The divisor of long wavelengths.
        factor: f64,
        /// Wavelengths above `original / low` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original / high` are kept.
        high_freq_factor: f64,
        /// Context length of the pre-training.
        original: usize,
    },
    /// `YaRN` (Peng et al. 2023): a ramp over dimensions and a factor on cos and sin.
    Yarn {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Rotations above which a dimension is kept.
        beta_fast: f64,
        /// Rotations below which a dimension is divided.
        beta_slow: f64,
        /// Factor on cos and sin.
        attention_factor: f64,
        /// Context length of the pre-training.
        original: usize,
        /// Whether the ramp's ends are rounded to whole dimensions.
        truncate: bool,
    },
    /// `LongRoPE` (Ding et al. 2024): a divisor for each frequency, another set for sequences longer
    /// than the pre-training's.
    LongRope {
        /// Divisors up to `original` positions.
        short_factor: Vec<f64>,
        /// Divisors for longer sequences.
        long_factor: Vec<f64>,
        /// Factor on cos and sin.
        attention_factor: f64,
        /// Context length of the pre-training.
        original: usize,
    },
}

/// Values of the rest of the config that rotary parameters refer to.
pub(super) struct RopeContext {
    pub(super) default_theta: f64,
    pub(super) head_dim: usize,
    pub(super) max_position_embeddings: usize,
    /// Phi-3 keeps the pre-training's length at the top level, where it wins.
    pub(super) original: Option<usize>,
    pub(super) partial_rotary_factor: Option<f64>,
    /// Phi-3's early checkpoints call longrope `su` or `yarn`.
    pub(super) yarn_is_longrope: bool,
}

impl RopeConfig {
    /// Rotary parameters without scaling.
    pub(super) fn plain(theta: f64, keys: &Keys<'_>, context: &RopeContext) -> Result<Self, ConfigError> {
        Ok(Self { theta, rotary_dim: rotary_dim(keys, context, None)?, scaling: RopeScaling::Default })
    }

    /// The single set of a config: `rope_scaling` wins over `rope_parameters`, as in transformers.
    pub(super) fn parse(top: &Keys<'_>, context: &RopeContext) -> Result<Self, ConfigError> {
        let theta = top.positive("rope_theta", Some(context.default_theta))?;
        for key in ["rope_scaling", "rope_parameters"] {
            let Some(object) = top.get(key).filter(|value| **value != Value::Object(serde_json::Map::new())) else {
                continue;
            };
            if !object.is_object() {
                return Err(top.wrong(key, "an object"));
            }
            // Configs with two kinds of layers nest one set for each; equal needs fit this family.
            if object.get("full_attention").is_some() {
                return Err(top.unsupported(key, "this family has one set of rotary parameters"));
            }
            let inside = format!("{key}.");
            return Self::parse_set(&Keys { file: top.file, inside: &inside, object }, theta, context);
        }
        Self::plain(theta, top, context)
    }

    /// One set: `rope_type` (or `type`) and its parameters.
    pub(super) fn parse_set(keys: &Keys<'_>, theta: f64, context: &RopeContext) -> Result<Self, ConfigError> {
        let theta = keys.positive("rope_theta", Some(theta))?;
        let partial = keys.number("partial_rotary_factor")?;
        let rotary_dim = rotary_dim(keys, context, partial)?;
        let kind_key = if keys.get("rope_type").is_some() { "rope_type" } else { "type" };
        let kind = keys.text(kind_key)?.unwrap_or("default");
        let kind = if context.yarn_is_longrope && matches!(kind, "su" | "yarn") { "longrope" } else { kind };
        let original = match context.original {
            Some(original) => original,
            None => keys.size("original_max_position_embeddings", Some(context.max_position_embeddings))?,
        };
        let ratio = context.max_position_embeddings as f64 / original as f64;
        let scaling = match kind {
            // Dynamic scaling changes nothing up to the trained length, which is the most that
            // the decoder takes.
            "default" | "dynamic" => RopeScaling::Default,
            "linear" => RopeScaling::Linear { factor: keys.positive("factor", None)? },
            "llama3" => {
                let low_freq_factor = keys.positive("low_freq_factor", None)?;
                let high_freq_factor = keys.positive("high_freq_factor", None)?;
                if high_freq_factor <= low_freq_factor {
                    return Err(keys.unsupported("high_freq_factor", "it must be above low_freq_factor"));
                }
                RopeScaling::Llama3 {
                    factor: keys.positive("factor", None)?,
                    low_freq_factor,
                    high_freq_factor,
                    original,
                }
            }
            "yarn" => {
                let factor = keys.positive("factor", Some(ratio))?;
                let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
                let mscale = keys.number("mscale")?.filter(|m| *m != 0.0);
                let all_dim = keys.number("mscale_all_dim")?.filter(|m| *m != 0.0);
                let attention_factor = match (keys.number("attention_factor")?, mscale, all_dim) {
                    (Some(given), _, _) => given,
                    (None, Some(mscale), Some(all_dim)) => scale(mscale) / scale(all_dim),
                    _ => scale(1.0),
                };
                RopeScaling::Yarn {
                    factor,
                    beta_fast: keys.number("beta_fast")?.filter(|b| *b != 0.0).unwrap_or(32.0),
                    beta_slow: keys.number("beta_slow")?.filter(|b| *b != 0.0).unwrap_or(1.0),
                    attention_factor,
                    original,
                    truncate: keys.flag("truncate")?.unwrap_or(true),
                }
            }
            "longrope" => {
                let factor = keys.number("factor")?.unwrap_or(ratio);
                let derived = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
                let list = |key: &str| {
                    let list = keys.numbers(key)?.ok_or_else(|| keys.wrong(key, "a list of numbers"))?;
                    if list.len() != rotary_dim / 2 || list.iter().any(|f| *f <= 0.0) {
                        let reason =
                            format!("it needs {} numbers above 0, half the rotated dimensions", rotary_dim / 2);
                        return Err(keys.unsupported(key, reason));
                    }
                    Ok(list)
                };
                RopeScaling::LongRope {
                    short_factor: list("short_factor")?,
                    long_factor: list("long_factor")?,
                    attention_factor: keys.number("attention_factor")?.unwrap_or(derived),
                    original,
                }
            }
            _ => {
                return Err(keys.unsupported(kind_key, "known are default, linear, dynamic, llama3, yarn and longrope"));
            }
        };
        Ok(Self { theta, rotary_dim, scaling })
    }
}

fn rotary_dim(keys: &Keys<'_>, context: &RopeContext, partial: Option<f64>) -> Result<usize, ConfigError> {
    let partial = partial.or(context.partial_rotary_factor).unwrap_or(1.0);
    let dim = (context.head_dim as f64 * partial) as usize;
    if dim == 0 || !dim.is_multiple_of(2) || dim > context.head_dim {
        let reason = format!("{dim} of {} values of a head would be rotated, which must be even", context.head_dim);
        return Err(keys.unsupported("partial_rotary_factor", reason));
    }
    Ok(dim)
}
