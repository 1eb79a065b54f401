//! Rotary tables: frequencies of a setting, cosines and sines of positions.
//!
//! Frequencies are f32 at every step, as transformers computes them: at position 4000 one ulp of a
//! frequency is a visible angle.

use std::f32::consts::PI;

use super::rope_config::{RopeConfig, RopeScaling};

/// Set of frequency divisors that a sequence uses; only longrope has two.
///
/// A sequence longer than the pre-training's context is rotated by other frequencies from its first
/// position on, so that keys and values of one kind are of no use to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum RopeFactors {
    /// The sequence fits the context of the pre-training.
    #[default]
    Short,
    /// The sequence is longer than that context.
    Long,
}

/// Frequencies of one setting.
#[derive(Debug, Clone)]
pub(super) struct Rope {
    short: Vec<f32>,
    long: Option<Vec<f32>>,
    /// Most positions under the short frequencies.
    original: usize,
    scale: f32,
    pub(super) rotary_dim: usize,
}

/// Cosines and sines of a batch's rows, `[rows, rotary_dim / 2]`.
#[derive(Debug)]
pub(super) struct Rotation {
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
    pub(super) rotary_dim: usize,
}

impl Rope {
    pub(super) fn new(config: &RopeConfig) -> Self {
        let dim = config.rotary_dim as f32;
        let base = config.theta as f32;
        let powers: Vec<f32> = (0..config.rotary_dim / 2).map(|i| base.powf((2 * i) as f32 / dim)).collect();
        let plain: Vec<f32> = powers.iter().map(|power| 1.0 / power).collect();
        let rotary_dim = config.rotary_dim;
        let fixed = |short: Vec<f32>, scale: f64| Self {
            short,
            long: None,
            original: usize::MAX,
            scale: scale as f32,
            rotary_dim,
        };
        match &config.scaling {
            RopeScaling::Default => fixed(plain, 1.0),
            RopeScaling::Linear { factor } => fixed(plain.iter().map(|f| f / *factor as f32).collect(), 1.0),
            &RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                let (original, factor) = (original as f64, factor as f32);
                let (low, high) = (low_freq_factor as f32, high_freq_factor as f32);
                let (longest, shortest) = ((original / low_freq_factor) as f32, (original / high_freq_factor) as f32);
                let stretch = |frequency: &f32| {
                    let wavelength = 2.0 * PI / frequency;
                    if wavelength < shortest {
                        *frequency
                    } else if wavelength > longest {
                        frequency / factor
                    } else {
                        let smooth = (original as f32 / wavelength - low) / (high - low);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                };
                fixed(plain.iter().map(stretch).collect(), 1.0)
            }
            &RopeScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, original, truncate } => {
                let turns_at = |rotations: f64| {
                    let inner = original as f64 / (rotations * 2.0 * std::f64::consts::PI);
                    rotary_dim as f64 * inner.ln() / (2.0 * config.theta.ln())
                };
                let (mut low, mut high) = (turns_at(beta_fast), turns_at(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                (low, high) = (low.max(0.0), high.min(rotary_dim as f64 - 1.0));
                if low == high {
                    high += 0.001;
                }
                let mix = |(index, power): (usize, &f32)| {
                    let ramp = ((index as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    let kept = 1.0 - ramp;
                    1.0 / (factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
                };
                fixed(powers.iter().enumerate().map(mix).collect(), attention_factor)
            }
            RopeScaling::LongRope { short_factor, long_factor, attention_factor, original } => {
                let divided = |factors: &[f64]| {
                    powers.iter().zip(factors).map(|(power, factor)| 1.0 / (*factor as f32 * power)).collect()
                };
                Self {
                    short: divided(short_factor),
                    long: Some(divided(long_factor)),
                    original: *original,
                    scale: *attention_factor as f32,
                    rotary_dim,
                }
            }
        }
    }

    /// The set that a sequence of this many positions uses.
    pub(super) fn factors(&self, positions: usize) -> RopeFactors {
        if self.long.is_some() && positions > self.original { RopeFactors::Long } else { RopeFactors::Short }
    }

    /// Tables of a batch's rows, given each row's position and set.
    pub(super) fn rotation(&self, rows: impl Iterator<Item = (usize, RopeFactors)>) -> Rotation {
        let mut rotation = Rotation { cos: Vec::new(), sin: Vec::new(), rotary_dim: self.rotary_dim };
        for (position, factors) in rows {
            let frequencies = match (factors, &self.long) {
                (RopeFactors::Long, Some(long)) => long,
                _ => &self.short,
            };
            for frequency in frequencies {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                rotation.cos.push(cos * self.scale);
                rotation.sin.push(sin * self.scale);
            }
        }
        rotation
    }
}
