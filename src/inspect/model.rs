//! Description of a model directory.
//!
//! Reads headers and `config.json`, never a tensor.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::names;
use crate::arch::{self, Role};
use crate::checkpoint::{ModelConfig, ModelDir};
use crate::merge::plan::sources::Model;

/// The config values that a description shows, in this order, each where the config has it.
pub(crate) const CONFIG_KEYS: &[&str] = &[
    "hidden_size",
    "n_embd",
    "d_model",
    "intermediate_size",
    "n_inner",
    "num_hidden_layers",
    "n_layer",
    "num_layers",
    "n_layers",
    "num_decoder_layers",
    "num_attention_heads",
    "n_head",
    "num_key_value_heads",
    "head_dim",
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "n_positions",
    "sliding_window",
    "rope_theta",
    "hidden_act",
    "tie_word_embeddings",
    "torch_dtype",
    "dtype",
];

/// A described model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ModelSummary {
    /// The model as the user named it.
    pub model: String,
    pub directory: PathBuf,
    /// First entry of the config's `architectures`.
    pub architecture: Option<String>,
    /// The config's `model_type`.
    pub model_type: Option<String>,
    /// Elements of all stored tensors; a tied head is not stored and not counted.
    pub parameters: u64,
    /// Bytes of all stored tensors.
    pub bytes: u64,
    /// Number of stored tensors.
    pub tensor_count: usize,
    /// Values of the config by key; see [`CONFIG_KEYS`].
    pub config: BTreeMap<String, Value>,
    /// Per dtype, by safetensors name.
    pub dtypes: BTreeMap<String, DtypeSummary>,
    /// The decoder layers.
    pub layers: LayerSummary,
    /// Embedding and head.
    pub tied_weights: TiedWeights,
    /// The weight files.
    pub shards: Vec<ShardSummary>,
    /// Every tensor, inputs first, then by layer; absent unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensors: Option<Vec<TensorSummary>>,
    /// Oddities of the directory.
    pub warnings: Vec<String>,
}

/// The tensors of one dtype.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DtypeSummary {
    /// Number of tensors.
    pub tensors: usize,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
}

/// One weight file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ShardSummary {
    /// Path inside the directory.
    pub file: PathBuf,
    /// Size of the file, header included.
    pub bytes: u64,
    /// Number of tensors read from it.
    pub tensors: usize,
}

/// The decoder layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LayerSummary {
    /// Number of layers that tensor names show.
    pub count: u64,
    /// Everything before the layer number in tensor names; empty without layers.
    pub prefix: String,
    /// Elements of all layers together.
    pub parameters: u64,
}

/// Whether the output head is the input embedding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TiedWeights {
    /// The config's `tie_word_embeddings`; absent means the model class decides.
    pub config: Option<bool>,
    /// The stored input embedding.
    pub embedding: Option<String>,
    /// The stored output head.
    pub head: Option<String>,
}

impl TiedWeights {
    /// Whether a head is used that is not stored: there is an embedding, no head, and the config
    /// does not forbid it.
    #[must_use]
    pub(crate) fn is_tied(&self) -> bool {
        self.embedding.is_some() && self.head.is_none() && self.config != Some(false)
    }
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TensorSummary {
    pub name: String,
    /// Safetensors name of its dtype.
    pub dtype: &'static str,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Size.
    pub bytes: u64,
    /// File, inside the directory.
    pub shard: PathBuf,
    /// Decoder layer; `None` outside the layers.
    pub layer: Option<u64>,
}

/// Describes an opened model; lists its tensors when `list_tensors`.
#[must_use]
pub(crate) fn summarize(model: &Model, list_tensors: bool) -> ModelSummary {
    let root = model.dir.as_ref().map_or_else(PathBuf::new, |dir| dir.root().to_owned());
    let files = model.dir.iter().flat_map(ModelDir::shards);
    let mut shards: Vec<ShardSummary> = files
        .map(|shard| ShardSummary {
            file: shard.path().strip_prefix(&root).unwrap_or(shard.path()).to_owned(),
            bytes: shard.len(),
            tensors: 0,
        })
        .collect();
    let mut dtypes: BTreeMap<String, DtypeSummary> = BTreeMap::new();
    let mut layers =
        LayerSummary { count: model.stack.count(), prefix: model.stack.prefix().to_owned(), parameters: 0 };
    let mut tensors = Vec::new();
    for (name, tensor) in &model.tensors {
        let dtype = dtypes.entry(tensor.dtype.name().to_owned()).or_default();
        dtype.tensors += 1;
        dtype.parameters += tensor.elements();
        dtype.bytes += tensor.bytes();
        let layer = model.stack.layer(name).map(|(layer, _)| layer);
        if layer.is_some() {
            layers.parameters += tensor.elements();
        }
        let mut file = PathBuf::new();
        if let Some(shard) = shards.get_mut(tensor.shard) {
            shard.tensors += 1;
            file.clone_from(&shard.file);
        }
        if list_tensors {
            tensors.push(TensorSummary {
                name: name.clone(),
                dtype: tensor.dtype.name(),
                shape: tensor.shape.clone(),
                bytes: tensor.bytes(),
                shard: file,
                layer,
            });
        }
    }
    tensors.sort_by(|a, b| names::position(&a.name, &model.stack).cmp(&names::position(&b.name, &model.stack)));
    shards.sort_by(|a, b| a.file.cmp(&b.file));
    let tied_weights = tied_weights(model);
    ModelSummary {
        model: model.reference.to_string(),
        directory: root,
        architecture: model.config.as_ref().and_then(ModelConfig::architecture).map(str::to_owned),
        model_type: model.config.as_ref().and_then(|c| c.string("model_type")).map(str::to_owned),
        parameters: dtypes.values().map(|d| d.parameters).sum(),
        bytes: dtypes.values().map(|d| d.bytes).sum(),
        tensor_count: model.tensors.len(),
        config: config_values(model),
        warnings: warnings(model, &tied_weights),
        dtypes,
        layers,
        tied_weights,
        shards,
        tensors: list_tensors.then_some(tensors),
    }
}

/// A value of the decoder's part of the config, else of the top level.
fn config_value<'a>(model: &'a Model, key: &str) -> Option<&'a Value> {
    let config = model.config.as_ref()?;
    config.decoder().get(key).or_else(|| config.value().get(key)).filter(|value| !value.is_null())
}

fn config_values(model: &Model) -> BTreeMap<String, Value> {
    let found = |key: &&str| Some(((*key).to_owned(), config_value(model, key)?.clone()));
    CONFIG_KEYS.iter().filter_map(found).collect()
}

fn tied_weights(model: &Model) -> TiedWeights {
    let stored = |wanted: Role| {
        let mut names = model.tensors.keys();
        names.find(|name| arch::role(name) == wanted && name.ends_with(".weight")).cloned()
    };
    let key = "tie_word_embeddings";
    // The top level wins, as in `ModelConfig::ties_word_embeddings`.
    let top = model.config.as_ref().and_then(|c| c.value().get(key)).and_then(Value::as_bool);
    let config = top.or_else(|| config_value(model, key).and_then(Value::as_bool));
    TiedWeights { config, embedding: stored(Role::Embedding), head: stored(Role::Head) }
}

fn warnings(model: &Model, tied: &TiedWeights) -> Vec<String> {
    let mut warnings: Vec<String> = model.dir.iter().flat_map(ModelDir::warnings).cloned().collect();
    let Some(config) = &model.config else {
        warnings.push("there is no config.json: architecture and sizes are unknown".to_owned());
        return warnings;
    };
    if let Some(count) = config.layer_count().filter(|count| *count != model.stack.count()) {
        warnings.push(format!("config.json says {count} layers but the tensors show {}", model.stack.count()));
    }
    match (tied.config, &tied.head) {
        (Some(true), Some(head)) => warnings.push(format!(
            "config.json ties the output head to the embedding, but `{head}` is stored too and is ignored on loading"
        )),
        (Some(false), None) if config.architecture().is_some_and(|a| a.contains("LM")) => {
            warnings.push("config.json says the output head is not tied, but no head is stored".to_owned());
        }
        _ => {}
    }
    let embedding = tied.embedding.as_ref().and_then(|name| Some((name, model.tensors.get(name)?.shape.first()?)));
    let vocabulary = config_value(model, "vocab_size").and_then(Value::as_u64);
    if let (Some((name, rows)), Some(vocabulary)) = (embedding, vocabulary)
        && *rows != vocabulary
    {
        warnings.push(format!("config.json says {vocabulary} tokens but `{name}` has {rows} rows"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::header::Header;
    use crate::dtype::DType;
    use crate::inspect::open::open;
    use crate::merge::plan::sources::Resolver;

    fn write(path: &std::path::Path, tensors: &[(&str, DType, &[u64])]) {
        let mut bytes = Header::build(tensors);
        let data: u64 = tensors.iter().map(|t| t.2.iter().product::<u64>() * t.1.bytes() as u64).sum();
        bytes.resize(bytes.len() + data as usize, 0);
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_sharded_tied_model_is_described() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(&root.join("a.safetensors"), &[("model.embed_tokens.weight", DType::BF16, &[8, 4])]);
        let layer = |n: u64| format!("model.layers.{n}.mlp.up_proj.weight");
        let (first, second) = (layer(0), layer(10));
        write(&root.join("b.safetensors"), &[(&first, DType::F32, &[2, 4]), (&second, DType::F32, &[2, 4])]);
        let index =
            format!(r#"{{"weight_map":{{"model.embed_tokens.weight":"a.safetensors","{first}":"b.safetensors"}}}}"#);
        std::fs::write(root.join("model.safetensors.index.json"), index).unwrap();
        let config = r#"{"architectures":["TinyForCausalLM"],"model_type":"tiny","num_hidden_layers":2,
            "hidden_size":4,"vocab_size":9,"tie_word_embeddings":true}"#;
        std::fs::write(root.join("config.json"), config).unwrap();
        let model = open(root.to_str().unwrap(), &Resolver::default()).unwrap();
        let summary = summarize(&model, true);
        assert_eq!((summary.parameters, summary.bytes, summary.tensor_count), (48, 128, 3));
        assert_eq!(summary.dtypes["BF16"], DtypeSummary { tensors: 1, parameters: 32, bytes: 64 });
        assert_eq!(summary.dtypes["F32"], DtypeSummary { tensors: 2, parameters: 16, bytes: 64 });
        let shards: Vec<_> = summary.shards.iter().map(|s| (s.file.to_str().unwrap(), s.tensors)).collect();
        assert_eq!(shards, [("a.safetensors", 1), ("b.safetensors", 2)]);
        assert_eq!((summary.layers.count, summary.layers.prefix.as_str()), (11, "model.layers."));
        assert!(summary.tied_weights.is_tied());
        let tensors = summary.tensors.unwrap();
        let listed: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.layer)).collect();
        assert_eq!(listed, [("model.embed_tokens.weight", None), (&first, Some(0)), (&second, Some(10))]);
        assert_eq!(summary.config["hidden_size"], 4);
        let all = summary.warnings.join("\n");
        assert_eq!(summary.warnings.len(), 3, "{all}");
        assert!(all.contains("missing from the index") && all.contains("2 layers") && all.contains("8 rows"), "{all}");
        assert_eq!(summarize(&model, false).tensors, None);
    }
}
