//! PEFT's LoRA adapters: a folder with `adapter_config.json` and `adapter_model.safetensors`.
//!
//! A module's weight becomes `W + s · B A` with `s = alpha / r`, or `alpha / sqrt(r)` with rsLoRA
//! (Kalajdzievski 2023); `rank_pattern` and `alpha_pattern` override both by module, as PEFT matches
//! them. Whatever else a config asks for is refused by name: an adapter half applied is worse than
//! none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Map, Value};

use super::weights::widen;
use crate::checkpoint::header::Header;
use crate::checkpoint::mapped::MappedFile;
use crate::error::{Diagnose, Error, ErrorKind};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Why an adapter can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum AdapterError {
    #[error("{} is no adapter: it has no {CONFIG}", path.display())]
    NoConfig { path: PathBuf },
    #[error("{} has no {WEIGHTS}", path.display())]
    NoWeights { path: PathBuf },
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{} is not a valid adapter config", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{}: `{key}` is {value}, which is not supported: {reason}", file.display())]
    Unsupported { file: PathBuf, key: String, value: String, reason: &'static str },
    #[error("{}: `{key}` is no valid pattern", file.display())]
    Pattern { file: PathBuf, key: String, source: Box<regex::Error> },
    #[error("{}: tensor `{tensor}` {reason}", file.display())]
    Tensor { file: PathBuf, tensor: String, reason: String },
}

impl Diagnose for AdapterError {
    fn kind(&self) -> ErrorKind {
        if matches!(self, Self::Io { .. }) { ErrorKind::Io } else { ErrorKind::Input }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoConfig { .. } => "give the folder that PEFT's save_pretrained wrote",
            Self::NoWeights { .. } => "pickled adapters (.bin) are not read: save again with safe_serialization=True",
            Self::Io { .. } => return Vec::new(),
            Self::Json { .. } | Self::Pattern { .. } => "write the file again with PEFT",
            Self::Unsupported { .. } => "merge the adapter into its base with PEFT and give the merged model",
            Self::Tensor { .. } => "the weights do not belong to this adapter_config.json: save the adapter again",
        };
        vec![hint.to_owned()]
    }
}

/// The two factors of one module's change.
#[derive(Debug)]
pub(super) struct LoraPair {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    rank: usize,
    scale: f32,
    /// `[rank, inputs]`.
    a: Vec<f32>,
    /// `[outputs, rank]`.
    b: Vec<f32>,
}

impl LoraPair {
    /// Adds one row of the change, times `weight`.
    pub(super) fn add_row(&self, row: usize, weight: f32, out: &mut [f32]) {
        let b = self.b.get(row * self.rank..(row + 1) * self.rank).unwrap_or_default();
        for (b, a) in b.iter().zip(self.a.chunks_exact(self.inputs)) {
            let factor = weight * self.scale * b;
            for (out, a) in out.iter_mut().zip(a) {
                *out += factor * a;
            }
        }
    }
}

/// A LoRA adapter in memory.
#[derive(Debug)]
pub struct Adapter {
    path: PathBuf,
    pairs: BTreeMap<String, LoraPair>,
}

/// An adapter and the factor on its change.
#[derive(Debug)]
pub struct WeightedAdapter {
    /// The adapter.
    pub adapter: Adapter,
    /// 1 applies it as it was trained.
    pub weight: f32,
}

impl Adapter {
    /// Reads a PEFT folder.
    ///
    /// # Errors
    /// An [`AdapterError`] naming file and key or tensor, or the defect of the safetensors file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = path.join(CONFIG);
        if !file.is_file() {
            return Err(AdapterError::NoConfig { path: path.into() }.into());
        }
        let text = std::fs::read(&file).map_err(|source| AdapterError::Io { path: file.clone(), source })?;
        let config: Map<String, Value> =
            serde_json::from_slice(&text).map_err(|source| AdapterError::Json { path: file.clone(), source })?;
        let settings = Settings::parse(file, &config)?;
        let file = path.join(WEIGHTS);
        if !file.is_file() {
            return Err(AdapterError::NoWeights { path: path.into() }.into());
        }
        let mapped = MappedFile::open(&file).map_err(|source| AdapterError::Io { path: file.clone(), source })?;
        let header = Header::parse(&file, mapped.bytes(), mapped.len())?;
        Ok(Self { path: path.into(), pairs: pairs(&file, &mapped, &header, &settings)? })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Modules that the adapter changes, as the base model names them.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.pairs.keys().map(String::as_str)
    }

    pub(super) fn pair(&self, module: &str) -> Option<&LoraPair> {
        self.pairs.get(module)
    }
}

/// What of the config decides the arithmetic.
struct Settings {
    rank: f64,
    alpha: f64,
    rank_stabilised: bool,
    ranks: Vec<(Regex, f64)>,
    alphas: Vec<(Regex, f64)>,
}

/// Keys that only say how the adapter was trained or found, or that PEFT itself resolved when it
/// saved the tensors.
const INFORMATIVE: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "exclude_modules",
    "eva_config",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];

/// Keys read below.
const READ: &[&str] =
    &["peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "bias", "init_lora_weights"];

impl Settings {
    fn parse(file: PathBuf, config: &Map<String, Value>) -> Result<Self, AdapterError> {
        let refuse = |key: &str, reason: &'static str| {
            let value = config.get(key).map_or_else(|| "absent".to_owned(), Value::to_string);
            AdapterError::Unsupported {
                file: file.clone(),
                key: key.to_owned(),
                value: value.chars().take(80).collect(),
                reason,
            }
        };
        let get = |key: &str| config.get(key).filter(|value| !value.is_null());
        if get("peft_type").and_then(Value::as_str) != Some("LORA") {
            return Err(refuse("peft_type", "only LORA adapters are applied"));
        }
        if get("bias").is_some_and(|bias| bias != "none") {
            return Err(refuse("bias", "trained biases of the base model are not applied"));
        }
        // These start from a changed base: on the original one the adapter means something else.
        let changed_base = ["pissa", "olora", "corda", "loftq", "lora_ga"];
        let start = get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
        if changed_base.iter().any(|name| start.starts_with(name)) {
            return Err(refuse("init_lora_weights", "the adapter fits a base whose weights this start changed"));
        }
        for (key, value) in config {
            let known = INFORMATIVE.contains(&key.as_str()) || READ.contains(&key.as_str());
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            if !known && !off {
                return Err(refuse(key, "it changes what the adapter computes in a way that is not known here"));
            }
        }
        let positive = |key: &str, value: Option<&Value>| {
            value
                .and_then(Value::as_f64)
                .filter(|v| *v > 0.0 && v.is_finite())
                .ok_or_else(|| refuse(key, "it must be a number above 0"))
        };
        let patterns = |key: &str| {
            let Some(patterns) = get(key) else { return Ok(Vec::new()) };
            let map = patterns.as_object().ok_or_else(|| refuse(key, "it must be an object"))?;
            let compile = |(pattern, value): (&String, &Value)| {
                let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).map_err(|source| {
                    AdapterError::Pattern { file: file.clone(), key: format!("{key}.{pattern}"), source: source.into() }
                })?;
                Ok((regex, positive(key, Some(value))?))
            };
            map.iter().map(compile).collect::<Result<Vec<_>, AdapterError>>()
        };
        Ok(Self {
            rank: positive("r", get("r"))?,
            alpha: positive("lora_alpha", get("lora_alpha"))?,
            rank_stabilised: get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            ranks: patterns("rank_pattern")?,
            alphas: patterns("alpha_pattern")?,
        })
    }

    /// Rank and scale of a module.
    fn of(&self, module: &str) -> (f64, f64) {
        let first = |patterns: &[(Regex, f64)], otherwise: f64| {
            patterns.iter().find(|(pattern, _)| pattern.is_match(module)).map_or(otherwise, |(_, value)| *value)
        };
        let (rank, alpha) = (first(&self.ranks, self.rank), first(&self.alphas, self.alpha));
        (rank, if self.rank_stabilised { alpha / rank.sqrt() } else { alpha / rank })
    }
}

/// Rows, columns and values of one factor.
type Factor = (usize, usize, Vec<f32>);

/// Brings A and B of each module together.
fn pairs(
    file: &Path,
    mapped: &MappedFile,
    header: &Header,
    settings: &Settings,
) -> Result<BTreeMap<String, LoraPair>, AdapterError> {
    let fault =
        |tensor: &str, reason: String| AdapterError::Tensor { file: file.into(), tensor: tensor.to_owned(), reason };
    let mut halves: BTreeMap<String, [Option<Factor>; 2]> = BTreeMap::new();
    for info in &header.tensors {
        let name = info.name.as_str();
        let module = name.strip_prefix("base_model.model.").unwrap_or(name);
        let (module, half) = if let Some(module) = module.strip_suffix(".lora_A.weight") {
            (module, 0)
        } else if let Some(module) = module.strip_suffix(".lora_B.weight") {
            (module, 1)
        } else {
            return Err(fault(name, "is neither `lora_A.weight` nor `lora_B.weight` of a linear layer".to_owned()));
        };
        let &[rows, columns] = info.shape.as_slice() else {
            return Err(fault(name, format!("has shape {:?}, expected two dimensions", info.shape)));
        };
        if !info.dtype.is_float() {
            return Err(fault(name, format!("is {}, which is no float", info.dtype)));
        }
        let mut values = vec![0.0; (rows * columns) as usize];
        widen(info.dtype, mapped.slice(info.start..info.end), &mut values);
        halves.entry(module.to_owned()).or_default()[half] = Some((rows as usize, columns as usize, values));
    }
    let mut pairs = BTreeMap::new();
    for (module, halves) in halves {
        let (Some((rank, inputs, a)), Some((outputs, b_rank, b))) = halves.into() else {
            return Err(fault(&module, "has one of lora_A and lora_B only".to_owned()));
        };
        let (expected, scale) = settings.of(&module);
        if rank != b_rank || rank as f64 != expected || inputs == 0 {
            return Err(fault(
                &module,
                format!("has ranks {rank} (A) and {b_rank} (B), the config makes it {expected}"),
            ));
        }
        pairs.insert(module, LoraPair { inputs, outputs, rank, scale: scale as f32, a, b });
    }
    Ok(pairs)
}
