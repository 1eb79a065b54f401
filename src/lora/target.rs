//! Modules that an adapter changes: PEFT's matching rules.

use std::collections::{BTreeMap, BTreeSet};

use super::config::LoraConfig;
use super::error::AdapterError;
use super::file_names::CONFIG;
use super::target_modules::{TargetModules, is_named};
use crate::python::regex::{PythonRegex, SearchError};
use crate::suggest::nearest;

/// Whether `modules_to_save` has a module trained whole, itself or with one that holds it. PEFT looks at
/// the ends of paths as plain text here: `norm` means every `input_layernorm` as well.
#[must_use]
pub(crate) fn is_saved_whole(config: &LoraConfig, module: &str) -> bool {
    config.modules_to_save.iter().any(|name| saves(name, module))
}

/// Whether one name of `modules_to_save` has a module trained whole.
pub(super) fn saves(name: &str, module: &str) -> bool {
    paths_above(module).any(|path| path.ends_with(name))
}

/// Whether `modules_to_save` keeps a module from getting factors: here names are whole parts of paths.
fn is_kept_free(config: &LoraConfig, module: &str) -> bool {
    paths_above(module).any(|path| config.modules_to_save.iter().any(|name| is_named(path, name)))
}

/// A path, and those of all modules that hold it.
fn paths_above(module: &str) -> impl Iterator<Item = &str> {
    module.match_indices('.').map(|(at, _)| at).chain([module.len()]).filter_map(|end| module.get(..end))
}

/// The modules, of the linear layers that a model has, which a config gives factors, in the order
/// given.
///
/// PEFT's rules: a list names paths or their ends, a string is one regular expression over the whole
/// path, `all-linear` takes all but the output head; `exclude_modules` and modules saved whole are
/// left out; `layers_to_transform` keeps the layers with those numbers (of names that are not whole
/// paths), the number being the first in the path or the one after `layers_pattern`.
///
/// # Errors
/// [`AdapterError::UnknownTarget`] for a listed name that no layer has, where PEFT would train fewer
/// layers than meant without a word; [`AdapterError::NoTarget`] when nothing is left.
pub(crate) fn targets<'a>(
    config: &LoraConfig,
    modules: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<String>, AdapterError> {
    let modules: Vec<&str> = modules.into_iter().collect();
    if let TargetModules::Names(names) = &config.target_modules
        && let Some(name) = names.iter().find(|name| !modules.iter().any(|module| is_named(module, name)))
    {
        let ends: Vec<&str> = modules.iter().filter_map(|module| module.rsplit('.').next()).collect();
        let nearest = nearest(name, &ends).map(str::to_owned);
        return Err(AdapterError::UnknownTarget { name: name.clone(), nearest });
    }
    let rules = Rules::new(config)?;
    let mut found = Vec::new();
    for module in modules {
        if rules.leaving_out(module)?.is_none() {
            found.push(module.to_owned());
        }
    }
    if found.is_empty() { Err(AdapterError::NoTarget) } else { Ok(found) }
}

/// Rules of a config that select the modules with factors.
pub(super) struct Rules<'a> {
    config: &'a LoraConfig,
    numbers: LayerNumbers<'a>,
}

impl<'a> Rules<'a> {
    /// # Errors
    /// A `layers_pattern` that is no regular expression.
    pub(super) fn new(config: &'a LoraConfig) -> Result<Self, AdapterError> {
        Ok(Self { config, numbers: LayerNumbers::new(config)? })
    }

    /// The key that leaves a module out; nothing for a module that gets factors.
    pub(super) fn leaving_out(&self, module: &str) -> Result<Option<&'static str>, AdapterError> {
        let config = self.config;
        let searched =
            |result: Result<bool, SearchError>| result.map_err(|source| LoraConfig::not_matched(module, source));
        let excluded = match &config.exclude_modules {
            Some(rule) => searched(rule.matches(module))?,
            None => false,
        };
        Ok(if excluded {
            Some("exclude_modules")
        } else if is_kept_free(config, module) {
            Some("modules_to_save")
        } else if !searched(config.target_modules.matches(module))? {
            Some("target_modules")
        } else if !searched(self.numbers.allow(module))? {
            Some("layers_to_transform")
        } else {
            None
        })
    }

    /// Modules of a model that should have factors and have none: those of a name without any, as the
    /// name and one module of it, and those whose counterparts in other layers have some.
    ///
    /// `all-linear` says nothing here: which matrices are linear layers is not in their names.
    pub(super) fn lacking<'m>(
        &self,
        modules: impl IntoIterator<Item = &'m str>,
        has_factors: impl Fn(&str) -> bool,
    ) -> Result<Lacking, AdapterError> {
        let (mut with, mut without) = (BTreeSet::new(), Vec::new());
        if self.config.target_modules == TargetModules::AllLinear {
            return Ok(Lacking::default());
        }
        for module in modules {
            if has_factors(module) {
                with.insert(module);
            } else if self.leaving_out(module)?.is_none() {
                without.push(module);
            }
        }
        let mut lacking = Lacking::default();
        let names: &[String] = if let TargetModules::Names(names) = &self.config.target_modules { names } else { &[] };
        for name in names.iter().filter(|name| !with.iter().any(|module| is_named(module, name))) {
            if let Some(module) = without.iter().find(|module| is_named(module, name)) {
                lacking.names.insert(name.clone(), (*module).to_owned());
            }
        }
        let patterns: BTreeSet<String> = with.iter().map(|module| without_numbers(module)).collect();
        let partly = without.into_iter().filter(|module| patterns.contains(&without_numbers(module)));
        lacking.modules = partly.map(str::to_owned).collect();
        Ok(lacking)
    }
}

/// Modules without the factors that the config asks for.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// Names of `target_modules` without any factors, each with a module of the model.
    pub(super) names: BTreeMap<String, String>,
    /// Modules whose counterparts in other layers have factors.
    pub(super) modules: Vec<String>,
}

/// A path with its numbers left out: layers alike have one.
fn without_numbers(module: &str) -> String {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    module.split('.').map(|part| if number(part) { "*" } else { part }).collect::<Vec<_>>().join(".")
}

/// `layers_to_transform` and `layers_pattern`.
struct LayerNumbers<'a> {
    config: &'a LoraConfig,
    patterns: Vec<PythonRegex>,
}

impl<'a> LayerNumbers<'a> {
    fn new(config: &'a LoraConfig) -> Result<Self, AdapterError> {
        let names: Vec<&str> = if config.layers_pattern.is_empty() {
            vec![r"[^.]*"]
        } else {
            config.layers_pattern.iter().map(String::as_str).collect()
        };
        // Without a pattern PEFT wants something before the container's name.
        let before = if config.layers_pattern.is_empty() { r"^.*?\." } else { r"^(?:|.*?\.)" };
        let compile = |name: &&str| {
            PythonRegex::new(&format!(r"{before}(?:{name})\.(\d+)\.")).map_err(|source| AdapterError::Pattern {
                file: CONFIG.into(),
                key: "layers_pattern".to_owned(),
                source,
            })
        };
        Ok(Self { config, patterns: names.iter().map(compile).collect::<Result<_, _>>()? })
    }

    fn allow(&self, module: &str) -> Result<bool, SearchError> {
        let TargetModules::Names(names) = &self.config.target_modules else { return Ok(true) };
        if self.config.layers_to_transform.is_empty() || names.iter().any(|name| name == module) {
            return Ok(true);
        }
        for pattern in &self.patterns {
            // The last group: the pattern may have groups of its own.
            if let Some(number) = pattern.find(module)?.and_then(|found| found.group(found.groups() - 1)) {
                let number = number.parse().ok();
                return Ok(number.is_some_and(|number: u64| self.config.layers_to_transform.contains(&number)));
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::pattern::ModulePattern;

    const MODULES: &[&str] = &[
        "lm_head",
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.mlp.experts.1.up_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.experts.0.up_proj",
        "model.layers.10.self_attn.q_proj",
        "vision.blocks.1.q_proj",
    ];

    fn picked(change: impl FnOnce(&mut LoraConfig)) -> Result<Vec<usize>, String> {
        let mut config = LoraConfig::new("base", 8, 16.0, TargetModules::AllLinear);
        change(&mut config);
        let found = targets(&config, MODULES.iter().copied()).map_err(|error| error.to_string())?;
        Ok(found.iter().map(|name| MODULES.iter().position(|module| module == name).unwrap()).collect())
    }

    fn names(names: &[&str]) -> TargetModules {
        TargetModules::Names(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// The answers are those of PEFT 0.21.2's `check_target_module_exists` for the same settings.
    #[test]
    fn modules_are_picked_as_peft_picks_them() {
        let pattern = |text| TargetModules::Pattern(ModulePattern::whole(text).unwrap());
        assert_eq!(picked(|_| ()).unwrap(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(picked(|c| c.target_modules = names(&["q_proj"])).unwrap(), [1, 3, 5, 6]);
        assert_eq!(picked(|c| c.target_modules = names(&["lm_head", "0.up_proj"])).unwrap(), [0, 4]);
        assert_eq!(picked(|c| c.target_modules = pattern(r".*layers\.1\..*")).unwrap(), [3, 4]);
        assert!(picked(|c| c.target_modules = pattern("q_proj")).is_err(), "the whole path must match");
        assert_eq!(picked(|c| c.exclude_modules = Some(names(&["q_proj"]))).unwrap(), [2, 4]);
        assert_eq!(picked(|c| c.exclude_modules = Some(pattern(r"model\..*"))).unwrap(), [6]);
        assert_eq!(picked(|c| c.modules_to_save = vec!["self_attn".into(), "up_proj".into()]).unwrap(), [6]);
        let layer = |number, pattern: &[&str]| {
            picked(|c| {
                c.target_modules = names(&["q_proj", "up_proj"]);
                c.layers_to_transform = vec![number];
                c.layers_pattern = pattern.iter().map(|p| (*p).to_owned()).collect();
            })
            .unwrap()
        };
        assert_eq!(layer(1, &[]), [3, 4, 6], "the first number counts, not an expert's");
        assert_eq!(layer(1, &["layers"]), [3, 4]);
        assert_eq!(layer(10, &["blocks", "layers"]), [5]);
        let whole = picked(|c| {
            c.target_modules = names(&["q_proj", "model.layers.10.self_attn.q_proj"]);
            c.layers_to_transform = vec![0];
        });
        assert_eq!(whole.unwrap(), [1, 5], "a whole path is not filtered by number");
        let error = picked(|c| c.target_modules = names(&["q_proj", "k_proj"])).unwrap_err();
        assert!(error.contains("`k_proj`"), "{error}");
    }
}
