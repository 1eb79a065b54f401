//! The causal decoder, for evaluation and for training.
