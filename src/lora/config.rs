//! `adapter_config.json` as PEFT 0.21 writes it.
//!
//! Reading keeps what decides the arithmetic as fields and the rest as it was, and refuses every
//! value that would change the arithmetic in a way not known here. Writing gives all keys that PEFT
//! 0.21.2 writes, defaults and nulls included, sorted by name.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::AdapterError;
use super::pattern::ModulePattern;
use super::target::TargetModules;
use crate::python::regex::SearchError;

/// The config's name in an adapter's folder.
pub(super) const CONFIG: &str = "adapter_config.json";

/// Default values of a PEFT 0.21.2 config besides the fields of [`LoraConfig`].
fn defaults() -> Map<String, Value> {
    let defaults = json!({
        "alora_invocation_tokens": null,
        "arrow_config": null,
        "auto_mapping": null,
        "bias": "none",
        "corda_config": null,
        "ensure_weight_tying": false,
        "eva_config": null,
        "fan_in_fan_out": false,
        "inference_mode": true,
        "kasa_config": null,
        "layer_replication": null,
        "loftq_config": {},
        "lora_bias": false,
        "lora_ga_config": null,
        "megatron_config": null,
        "megatron_core": "megatron.core",
        "monteclora_config": null,
        "peft_type": "LORA",
        "peft_version": "0.21.2",
        "qalora_group_size": 16,
        "revision": null,
        "target_parameters": null,
        "task_type": "CAUSAL_LM",
        "trainable_token_indices": null,
        "use_bdlora": null,
        "use_qalora": false,
        "velora_config": null,
    });
    match defaults {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Keys that become fields.
const FIELDS: &[&str] = &[
    "alpha_pattern",
    "base_model_name_or_path",
    "exclude_modules",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "r",
    "rank_pattern",
    "target_modules",
    "use_dora",
    "use_rslora",
];

/// Keys of any value that only say how the adapter was trained or found.
const INFORMATIVE: &[&str] = &[
    "auto_mapping",
    "corda_config",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Initialisation of the factors. The starts that change the base's own weights (PiSSA, OLoRA,
/// CorDA, LoftQ, LoRA-GA) are not among them: on the original base such an adapter means something
/// else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InitLoraWeights {
    /// A uniform in ±1/√inputs, B zero.
    #[default]
    Default,
    /// A and B random; for tests.
    Random,
    /// A normal with deviation 1/r, B zero.
    Gaussian,
    /// Orthogonal factors.
    Orthogonal,
    /// A from the activations' singular vectors, B zero.
    Eva,
}

impl InitLoraWeights {
    fn value(self) -> Value {
        match self {
            Self::Default => true.into(),
            Self::Random => false.into(),
            Self::Gaussian => "gaussian".into(),
            Self::Orthogonal => "orthogonal".into(),
            Self::Eva => "eva".into(),
        }
    }
}

/// The settings of a LoRA adapter, in PEFT's words.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// `base_model_name_or_path`.
    pub base_model: Option<String>,
    /// Rank, where no pattern says otherwise.
    pub r: usize,
    /// `lora_alpha`, the numerator of the scale, where no pattern says otherwise.
    pub alpha: f64,
    /// `lora_dropout`: chance that an input of A is dropped in training.
    pub dropout: f64,
    /// Linear layers that get factors.
    pub target_modules: TargetModules,
    /// Exceptions from `target_modules`.
    pub exclude_modules: Option<TargetModules>,
    /// Numbers of the layers that get factors; empty is all.
    pub layers_to_transform: Vec<u64>,
    /// Names of the containers that these numbers count in; empty is the first number of a path.
    pub layers_pattern: Vec<String>,
    /// Scale alpha/√r instead of alpha/r (Kalajdzievski 2023, arXiv 2312.03732).
    pub use_rslora: bool,
    /// Weight-decomposed (Liu et al. 2024, arXiv 2402.09353): magnitude and direction apart.
    pub use_dora: bool,
    /// Ranks of modules; the first pattern that matches counts.
    pub rank_pattern: Vec<(ModulePattern, usize)>,
    /// Alphas of modules; the first pattern that matches counts.
    pub alpha_pattern: Vec<(ModulePattern, f64)>,
    /// Modules trained and saved whole.
    pub modules_to_save: Vec<String>,
    /// Initialisation of the factors.
    pub init_lora_weights: InitLoraWeights,
    /// All other keys, as they were read.
    other: Map<String, Value>,
}

impl LoraConfig {
    /// Settings with PEFT's defaults for what is not given: no dropout, no patterns.
    #[must_use]
    pub fn new(base_model: &str, r: usize, alpha: f64, target_modules: TargetModules) -> Self {
        Self {
            base_model: Some(base_model.to_owned()),
            r,
            alpha,
            dropout: 0.0,
            target_modules,
            exclude_modules: None,
            layers_to_transform: Vec::new(),
            layers_pattern: Vec::new(),
            use_rslora: false,
            use_dora: false,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            modules_to_save: Vec::new(),
            init_lora_weights: InitLoraWeights::Default,
            other: Map::new(),
        }
    }

    /// Reads the config of an adapter's folder.
    ///
    /// # Errors
    /// [`AdapterError::NotFound`], [`AdapterError::NoConfig`], or what [`LoraConfig::parse`] says.
    pub fn open(folder: &Path) -> Result<Self, AdapterError> {
        if !folder.exists() {
            return Err(AdapterError::NotFound { path: folder.into() });
        }
        let file = folder.join(CONFIG);
        if !file.is_file() {
            return Err(AdapterError::NoConfig { path: folder.into() });
        }
        let text = crate::storage::input::read(&file, crate::storage::input::SETTINGS_BYTES)
            .map_err(|source| AdapterError::Io { path: file.clone(), source })?;
        Self::parse(&file, &text)
    }

    /// Reads a config's text; `file` is for messages.
    ///
    /// # Errors
    /// An [`AdapterError`] naming file and key.
    pub fn parse(file: &Path, text: &[u8]) -> Result<Self, AdapterError> {
        let keys: Map<String, Value> =
            serde_json::from_slice(text).map_err(|source| AdapterError::Json { path: file.into(), source })?;
        let keys = Keys { file: file.into(), keys: &keys };
        keys.refuse_what_is_not_known()?;
        let whole = |key: &str, text: &str| {
            ModulePattern::whole(text).map_err(|source| AdapterError::Pattern {
                file: file.into(),
                key: key.to_owned(),
                source,
            })
        };
        let rule = |key: &str| match keys.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.to_lowercase() == "all-linear" => Ok(Some(TargetModules::AllLinear)),
            Some(Value::String(text)) => Ok(Some(TargetModules::Pattern(whole(key, text)?))),
            Some(_) => Ok(Some(TargetModules::Names(keys.names(key)?))),
        };
        let other = keys.keys.iter().filter(|(key, _)| !FIELDS.contains(&key.as_str()));
        Ok(Self {
            base_model: keys.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned),
            r: keys.rank("r", keys.get("r"))?,
            alpha: keys.positive("lora_alpha", keys.get("lora_alpha"))?,
            dropout: keys.share("lora_dropout")?,
            target_modules: rule("target_modules")?.unwrap_or(TargetModules::Names(Vec::new())),
            exclude_modules: rule("exclude_modules")?,
            layers_to_transform: keys.numbers("layers_to_transform")?,
            layers_pattern: keys.names("layers_pattern")?,
            use_rslora: keys.flag("use_rslora")?,
            use_dora: keys.flag("use_dora")?,
            rank_pattern: keys.patterns("rank_pattern", |key, value| keys.rank(key, value))?,
            alpha_pattern: keys.patterns("alpha_pattern", |key, value| keys.positive(key, value))?,
            modules_to_save: keys.names("modules_to_save")?,
            init_lora_weights: keys.start()?,
            other: other.map(|(key, value)| (key.clone(), value.clone())).collect(),
        })
    }

    /// The rank of a module and the factor on its `B A`: alpha/r, or alpha/√r with rsLoRA, both of
    /// the first pattern that matches.
    ///
    /// # Errors
    /// [`AdapterError::Search`] for a pattern that takes too many steps; [`AdapterError::Scale`] for a
    /// factor that f32 does not hold.
    pub fn rank_and_scale(&self, module: &str) -> Result<(usize, f64), AdapterError> {
        let rank = Self::first(&self.rank_pattern, module)?.unwrap_or(self.r);
        let alpha = Self::first(&self.alpha_pattern, module)?.unwrap_or(self.alpha);
        let scale = alpha / if self.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        if !is_factor(scale) {
            return Err(AdapterError::Scale { file: CONFIG.into(), module: module.to_owned(), scale });
        }
        Ok((rank, scale))
    }

    fn first<T: Copy>(patterns: &[(ModulePattern, T)], module: &str) -> Result<Option<T>, AdapterError> {
        for (pattern, value) in patterns {
            let matches = pattern.matches(module);
            if matches.map_err(|source| Self::not_matched(module, source))? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }

    pub(super) fn not_matched(module: &str, source: SearchError) -> AdapterError {
        AdapterError::Search { file: CONFIG.into(), module: module.to_owned(), source }
    }

    /// The config's text: every key of PEFT 0.21.2, in order of name, the patterns in their own order
    /// (it decides which one counts).
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "what is expected holds by construction")]
    pub fn text(&self) -> String {
        let list = |names: &[String]| if names.is_empty() { Value::Null } else { json!(names) };
        let rule = |rule: &TargetModules| match rule {
            TargetModules::AllLinear => "all-linear".into(),
            TargetModules::Names(names) => json!(names),
            TargetModules::Pattern(pattern) => pattern.text().into(),
        };
        let ranks = self.rank_pattern.iter().map(|(pattern, rank)| (pattern.text().to_owned(), json!(rank)));
        let alphas = self.alpha_pattern.iter().map(|(pattern, alpha)| (pattern.text().to_owned(), number(*alpha)));
        let numbers = &self.layers_to_transform;
        let mut keys = defaults();
        keys.extend(self.other.iter().map(|(key, value)| (key.clone(), value.clone())));
        keys.extend([
            ("alpha_pattern".to_owned(), Value::Object(alphas.collect())),
            ("base_model_name_or_path".to_owned(), json!(self.base_model)),
            ("exclude_modules".to_owned(), self.exclude_modules.as_ref().map_or(Value::Null, rule)),
            ("init_lora_weights".to_owned(), self.init_lora_weights.value()),
            ("layers_pattern".to_owned(), list(&self.layers_pattern)),
            ("layers_to_transform".to_owned(), if numbers.is_empty() { Value::Null } else { json!(numbers) }),
            ("lora_alpha".to_owned(), number(self.alpha)),
            ("lora_dropout".to_owned(), json!(self.dropout)),
            ("modules_to_save".to_owned(), list(&self.modules_to_save)),
            ("r".to_owned(), json!(self.r)),
            ("rank_pattern".to_owned(), Value::Object(ranks.collect())),
            ("target_modules".to_owned(), rule(&self.target_modules)),
            ("use_dora".to_owned(), json!(self.use_dora)),
            ("use_rslora".to_owned(), json!(self.use_rslora)),
        ]);
        let mut sorted: Vec<(String, Value)> = keys.into_iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let mut text = serde_json::to_string_pretty(&sorted.into_iter().collect::<Map<_, _>>())
            .expect("a JSON map has nothing that JSON lacks");
        text.push('\n');
        text
    }
}

/// Whether arithmetic in f32 can multiply by a number without losing everything.
fn is_factor(number: f64) -> bool {
    let number = number as f32;
    number > 0.0 && number.is_finite()
}

/// Whole numbers without a decimal point, as PEFT's users write alphas.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

/// The keys of a file, for reading.
struct Keys<'a> {
    file: PathBuf,
    keys: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    fn refuse(&self, key: &str, value: Option<&Value>, reason: &'static str) -> AdapterError {
        let value = value.map_or_else(|| "absent".to_owned(), Value::to_string);
        AdapterError::Unsupported {
            file: self.file.clone(),
            key: key.to_owned(),
            value: value.chars().take(80).collect(),
            reason,
        }
    }

    fn refuse_what_is_not_known(&self) -> Result<(), AdapterError> {
        if self.get("peft_type").and_then(Value::as_str) != Some("LORA") {
            return Err(self.refuse("peft_type", self.get("peft_type"), "only LORA adapters are applied"));
        }
        let bias = self.get("bias");
        if bias.is_some_and(|bias| bias != "none") {
            return Err(self.refuse("bias", bias, "trained biases of the base model are not applied"));
        }
        for (key, value) in self.keys {
            let known = FIELDS.contains(&key.as_str())
                || INFORMATIVE.contains(&key.as_str())
                || key == "peft_type"
                || key == "bias";
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            if !known && !off {
                let reason = "it changes what the adapter computes in a way that is not known here";
                return Err(self.refuse(key, Some(value), reason));
            }
        }
        Ok(())
    }

    fn start(&self) -> Result<InitLoraWeights, AdapterError> {
        let value = self.get("init_lora_weights");
        match value {
            None | Some(Value::Bool(true)) => Ok(InitLoraWeights::Default),
            Some(Value::Bool(false)) => Ok(InitLoraWeights::Random),
            Some(Value::String(name)) => match name.to_lowercase().as_str() {
                "gaussian" => Ok(InitLoraWeights::Gaussian),
                "orthogonal" => Ok(InitLoraWeights::Orthogonal),
                "eva" => Ok(InitLoraWeights::Eva),
                _ => {
                    let reason = "the adapter may fit a base whose weights this start changed";
                    Err(self.refuse("init_lora_weights", value, reason))
                }
            },
            _ => Err(self.refuse("init_lora_weights", value, "it must be true, false or a name")),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, AdapterError> {
        match self.get(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.refuse(key, Some(value), "it must be true or false")),
        }
    }

    fn positive(&self, key: &str, value: Option<&Value>) -> Result<f64, AdapterError> {
        let number = value.and_then(Value::as_f64).filter(|number| is_factor(*number));
        number.ok_or_else(|| self.refuse(key, value, "it must be a number above 0 that f32 can hold"))
    }

    /// A share below 1, 0 where it is absent.
    fn share(&self, key: &str) -> Result<f64, AdapterError> {
        let Some(value) = self.get(key) else { return Ok(0.0) };
        let share = value.as_f64().filter(|share| (0.0..1.0).contains(share));
        share.ok_or_else(|| self.refuse(key, Some(value), "it must be a number from 0 to 1"))
    }

    fn rank(&self, key: &str, value: Option<&Value>) -> Result<usize, AdapterError> {
        let rank = value.and_then(Value::as_u64).filter(|rank| (1..=1 << 20).contains(rank));
        rank.map(|rank| rank as usize).ok_or_else(|| self.refuse(key, value, "it must be a whole number above 0"))
    }

    /// A list of names, or one name.
    fn names(&self, key: &str) -> Result<Vec<String>, AdapterError> {
        let names = match self.get(key) {
            None => Some(Vec::new()),
            Some(Value::String(name)) => Some(vec![name.clone()]),
            Some(Value::Array(list)) => list.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        names.ok_or_else(|| self.refuse(key, self.get(key), "it must be a list of names"))
    }

    /// A list of numbers, or one number.
    fn numbers(&self, key: &str) -> Result<Vec<u64>, AdapterError> {
        let numbers = match self.get(key) {
            None => Some(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(Value::as_u64).collect(),
            Some(value) => value.as_u64().map(|number| vec![number]),
        };
        numbers.ok_or_else(|| self.refuse(key, self.get(key), "it must be a list of layer numbers"))
    }

    fn patterns<T>(
        &self,
        key: &str,
        read: impl Fn(&str, Option<&Value>) -> Result<T, AdapterError>,
    ) -> Result<Vec<(ModulePattern, T)>, AdapterError> {
        let Some(patterns) = self.get(key) else { return Ok(Vec::new()) };
        let Some(map) = patterns.as_object() else {
            return Err(self.refuse(key, Some(patterns), "it must be an object"));
        };
        let one = |(text, value): (&String, &Value)| {
            let key = format!("{key}.{text}");
            let pattern = ModulePattern::tail(text).map_err(|source| AdapterError::Pattern {
                file: self.file.clone(),
                key: key.clone(),
                source,
            })?;
            Ok((pattern, read(&key, Some(value))?))
        };
        map.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranks and scales that PEFT 0.21.2 reports for these settings.
    #[test]
    fn the_first_matching_pattern_decides_rank_and_scale() {
        let tail = |text| ModulePattern::tail(text).unwrap();
        let mut config = LoraConfig::new("base", 4, 8.0, TargetModules::AllLinear);
        config.rank_pattern = vec![(tail(r"layers\.1\.self_attn\.q_proj"), 2), (tail("q_proj|v_proj"), 3)];
        config.alpha_pattern = vec![(tail("layers.1.self_attn.q_proj"), 32.0)];
        assert_eq!(config.rank_and_scale("model.layers.1.self_attn.q_proj").unwrap(), (2, 16.0));
        assert_eq!(config.rank_and_scale("model.layers.0.self_attn.q_proj").unwrap(), (3, 8.0 / 3.0));
        assert_eq!(config.rank_and_scale("model.layers.0.self_attn.my_q_proj").unwrap(), (4, 2.0), "a whole last name");
        config.use_rslora = true;
        assert_eq!(config.rank_and_scale("k_proj").unwrap(), (4, 4.0));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut config = LoraConfig::new("org/base", 16, 24.5, TargetModules::AllLinear);
        config.dropout = 0.05;
        config.exclude_modules = Some(TargetModules::Names(vec!["down_proj".into()]));
        config.layers_to_transform = vec![3, 1];
        config.rank_pattern = vec![(ModulePattern::tail("z").unwrap(), 2), (ModulePattern::tail("a").unwrap(), 3)];
        config.alpha_pattern = vec![(ModulePattern::tail("z").unwrap(), 1.5)];
        config.modules_to_save = vec!["lm_head".into()];
        let read = LoraConfig::parse("x".as_ref(), config.text().as_bytes()).unwrap();
        let again = LoraConfig::parse("x".as_ref(), read.text().as_bytes()).unwrap();
        assert_eq!(read, again);
        config.other = read.other.clone();
        assert_eq!(read, config);
        let keys: Vec<String> = serde_json::from_str::<Map<_, _>>(&config.text()).unwrap().keys().cloned().collect();
        assert!(keys.is_sorted() && keys.len() == 41, "{keys:?}");
    }
}
