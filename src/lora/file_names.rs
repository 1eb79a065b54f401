//! Names of the files in an adapter's folder.

/// Settings.
pub(super) const CONFIG: &str = "adapter_config.json";
/// Factors, and tensors trained whole.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
