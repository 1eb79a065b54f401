//! Writing an adapter as PEFT does.

use std::path::{Path, PathBuf};

use ndarray::{ArrayViewD, aview1};

use super::adapter::{Adapter, WEIGHTS};
use super::config::CONFIG;
use super::names::PREFIX;
use super::target::TargetModules;
use crate::checkpoint::header::Header;
use crate::dtype::DType;
use crate::storage::publish::{StagingDir, WriteError};

impl Adapter {
    /// Writes the folder: `adapter_config.json`, `adapter_model.safetensors` and a model card. It
    /// appears whole or not at all; with `replace`, a folder that is there gives way to it.
    ///
    /// `base_model` is what the config and the card call the base. `all-linear` is written as the list
    /// of modules that it stands for, as PEFT does. Factors are written as F32.
    ///
    /// # Errors
    /// A [`WriteError`]; the folder is then as it was.
    pub fn save(&self, folder: &Path, base_model: &str, replace: bool) -> Result<PathBuf, WriteError> {
        let staging = StagingDir::create(folder, replace)?;
        self.write_into(&staging, base_model)?;
        staging.publish()
    }

    /// Writes the same files into a folder that is being prepared, beside whatever else it will hold.
    ///
    /// # Errors
    /// A [`WriteError`].
    pub fn write_into(&self, staging: &StagingDir, base_model: &str) -> Result<(), WriteError> {
        for (name, bytes) in self.files(base_model) {
            staging.write(name, &bytes)?;
        }
        Ok(())
    }

    /// The folder's files by name, the weights last.
    #[must_use]
    pub fn files(&self, base_model: &str) -> [(&'static str, Vec<u8>); 3] {
        let mut config = self.config().clone();
        config.base_model = Some(base_model.to_owned());
        if config.target_modules == TargetModules::AllLinear {
            config.target_modules = TargetModules::Names(self.modules().map(str::to_owned).collect());
        }
        let (config, card) = (config.text().into_bytes(), self.card(base_model).into_bytes());
        [(CONFIG, config), ("README.md", card), (WEIGHTS, self.safetensors())]
    }

    /// The weights file, byte for byte what the safetensors library writes for these tensors: wider
    /// elements first, then by name.
    #[must_use]
    pub fn safetensors(&self) -> Vec<u8> {
        let mut tensors: Vec<(String, DType, Vec<u64>, Vec<u8>)> = Vec::new();
        for (module, factors) in self.factors() {
            let mut add = |leaf: &str, values: ArrayViewD<'_, f32>| {
                let shape = values.shape().iter().map(|&n| n as u64).collect();
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((format!("{PREFIX}{module}.{leaf}"), DType::F32, shape, bytes));
            };
            let (a, b) = (factors.a().view(), factors.b().view());
            if self.is_embedding(module) {
                add("lora_embedding_A", b.reversed_axes().into_dyn());
                add("lora_embedding_B", a.reversed_axes().into_dyn());
            } else {
                add("lora_A.weight", a.into_dyn());
                add("lora_B.weight", b.into_dyn());
            }
            if let Some(magnitude) = factors.magnitude() {
                add("lora_magnitude_vector", aview1(magnitude).into_dyn());
            }
        }
        for (name, tensor) in self.saved() {
            tensors.push((format!("{PREFIX}{name}"), tensor.dtype, tensor.shape.clone(), tensor.bytes.clone()));
        }
        for (name, tensor) in self.base_copies() {
            let (module, leaf) = name.rsplit_once('.').unwrap_or(("", name));
            let name = format!("{PREFIX}{module}.base_layer.{leaf}");
            tensors.push((name, tensor.dtype, tensor.shape.clone(), tensor.bytes.clone()));
        }
        tensors.sort_by(|a, b| b.1.bytes().cmp(&a.1.bytes()).then_with(|| a.0.cmp(&b.0)));
        let entries: Vec<(&str, DType, &[u64])> =
            tensors.iter().map(|(name, dtype, shape, _)| (name.as_str(), *dtype, shape.as_slice())).collect();
        let mut bytes = Header::build(&entries);
        for (.., data) in &tensors {
            bytes.extend_from_slice(data);
        }
        bytes
    }

    fn card(&self, base_model: &str) -> String {
        let config = self.config();
        let kind = match (config.use_dora, config.use_rslora) {
            (true, true) => "DoRA with rank-stabilised scale",
            (true, false) => "DoRA",
            (false, true) => "LoRA with rank-stabilised scale",
            (false, false) => "LoRA",
        };
        // A JSON string is a YAML string, whatever the path holds.
        let quoted = serde_json::Value::from(base_model);
        let mut card = format!(
            "---\nbase_model: {quoted}\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n- billon\n---\n\n\
             # {kind} adapter\n\n\
             An adapter of `{base_model}`, trained with billon {}: rank {}, alpha {}, {} modules.\n",
            env!("CARGO_PKG_VERSION"),
            config.r,
            config.alpha,
            self.factors().len(),
        );
        if !self.saved().is_empty() {
            card.push_str(&format!("Trained whole: `{}`.\n", config.modules_to_save.join("`, `")));
        }
        card
    }
}
