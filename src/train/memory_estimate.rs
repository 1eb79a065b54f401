//! Memory estimate of a run, from shapes, and its time, from a measured product; made before it starts.

use std::time::{Duration, Instant};

use super::gradient::{LOGIT_ROWS, MICRO_BATCH_TOKENS};
use crate::compute::nn::{PackedMatrix, WeightDtype};
use crate::model::DecoderConfig;
use crate::train::inject::TrainableModel;

/// Predicted memory and time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// Bytes of weights, parameters, moments, gradients and activations, activations kept.
    pub bytes: u64,
    /// The same with recomputed activations.
    pub recomputed_bytes: u64,
    /// Seconds of one step of so many tokens, activations kept.
    pub seconds_per_token: f64,
}

/// What training these parameters needs on their threads.
#[must_use]
pub(crate) fn estimate(trainable: &TrainableModel, longest: u64) -> Estimate {
    let config = trainable.decoder.config();
    let parameters = trainable.elements();
    let micro_batch = (MICRO_BATCH_TOKENS as u64).max(longest);
    let row = 4 * floats_per_row(config);
    let layers = config.layers.len() as u64;
    let threads = trainable.workers.threads() as u64;
    // Variables, both moments, their sum of gradients, and one more on each thread.
    let state = 4 * parameters * (4 + threads);
    let copies = if trainable.decoder.head().frozen().is_some() { 1 } else { 3 };
    let logits = threads * copies * 4 * LOGIT_ROWS as u64 * config.vocab_size as u64;
    let fixed = trainable.decoder.weight_bytes() as u64 + state + logits;
    let kept = threads * micro_batch * row * layers;
    let inputs = threads * micro_batch * (row + 4 * config.hidden_size as u64 * layers);
    // Forward and backward are two products with each weight, and one more with each parameter.
    let weights = trainable.decoder.weight_bytes() as f64 / 4.0;
    let operations = 4.0 * weights + 2.0 * parameters as f64;
    Estimate {
        bytes: fixed + kept,
        recomputed_bytes: fixed + inputs,
        seconds_per_token: operations / (operations_per_second() * threads as f64),
    }
}

/// Values that the backward pass of one layer needs of a row.
fn floats_per_row(config: &DecoderConfig) -> u64 {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    // Input, norms, sums and outputs; queries and keys before and after the rotation; gate, up, product.
    (7 * hidden + 3 * q + 3 * kv + 3 * inner) as u64
}

/// Multiply-adds counted as two, of one thread, in a tenth of a second's trial.
fn operations_per_second() -> f64 {
    let (m, n, k) = (256, 512, 512);
    let weight = PackedMatrix::pack(n, k, WeightDtype::F32, &mut |_, row| row.fill(0.5));
    let (x, mut out) = (vec![0.25; m * k], vec![0.0; m * n]);
    weight.matmul(&x, None, &mut out);
    let (start, mut runs) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(50) {
        weight.matmul(&x, None, &mut out);
        runs += 1;
    }
    // The rest of a step runs at about two thirds of a product's speed.
    2.0 / 3.0 * f64::from(runs) * 2.0 * (m * n * k) as f64 / start.elapsed().as_secs_f64()
}
