//! `merges`: recipes, and short forms that stand for recipes.
//!
//! `task_arithmetic: {weight: 0.25}` merges all single-task specialists into the base; a list where
//! mergekit has a number is a sweep: every value makes a recipe. A whole recipe names the base by
//! leaving `base_model` out or writing `base`, and a specialist by its name.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::reader::Reader;
use crate::dtype::DType;
use crate::error::Result;
use crate::experiment::error::ExperimentError;
use crate::experiment::schema::{BASE, Candidate, Merge, SPECIALIST, Specialist};
use crate::experiment::value::json;
use crate::merge::methods;
use crate::merge::methods::{BaseRule, MergeMethod, ParameterScope};
use crate::recipe::{ModelReference, Recipe, RecipeFile, Source};
use crate::yaml::diagnostic::SourceText;
use crate::yaml::{self, Diagnostics, Field, Fields, Kind, Node};

/// Keys of a merge besides its method's.
const OWN: &[&str] = &["specialists", "select", "keep", "dtype", "recipe"];
/// Most recipes that one sweep makes.
const MOST: usize = 64;

type Specialists = IndexMap<String, Specialist>;

impl Reader {
    pub(super) fn merges(&mut self, node: &Node, specialists: &Specialists) -> Result<IndexMap<String, Merge>> {
        let mut found = IndexMap::new();
        for field in Fields::of_optional(node, "`merges`", &mut self.diagnostics).iter() {
            if let Some(merge) = self.merge(field, specialists)? {
                found.insert(field.name.to_owned(), merge);
            }
        }
        Ok(found)
    }

    fn merge(&mut self, merge: Field<'_>, specialists: &Specialists) -> Result<Option<Merge>> {
        let (name, node) = (merge.name, merge.node);
        if let Some(file) = node.text() {
            return self.of_file(name, node, file, specialists);
        }
        if !matches!(node.kind, Kind::Mapping(_)) {
            let help = "give a recipe file, a recipe, or a short form like `task_arithmetic: {weight: 0.25}`";
            self.diagnostics.error_help(node.span, format!("merge `{name}` is {}", node.describe()), help);
            return Ok(None);
        }
        let fields = Fields::within(node);
        let inner = fields.iter().find(|field| methods::find(field.name).is_some());
        if fields.get("merge_method").is_some() {
            return Ok(self.whole_recipe(name, node, specialists, false));
        }
        if let Some(recipe) = fields.get("recipe") {
            fields.known("key", &["recipe", "keep"], &mut self.diagnostics);
            let keep = fields.get("keep").and_then(|field| field.read(&mut self.diagnostics)).unwrap_or(false);
            let Some(file) = recipe.scalar() else {
                return Ok(self.whole_recipe(name, recipe.node, specialists, keep));
            };
            let merge = self.of_file(name, recipe.node, file, specialists)?;
            return Ok(merge.map(|merge| Merge { keep, ..merge }));
        }
        let Some((method, parameters)) = inner
            .and_then(|field| Some((methods::find(field.name)?, field.node)))
            .or_else(|| Some((methods::find(name)?, node)))
        else {
            let names: Vec<&str> = methods::REGISTRY.iter().map(|method| method.name()).collect();
            let first = fields.iter().find(|field| !OWN.contains(&field.name)).unwrap_or(merge);
            self.diagnostics.unknown(first.key, "merge method", first.name, &names);
            return Ok(None);
        };
        // With the method as a key, the other keys stand beside it; else all are in one mapping.
        let beside: Vec<Field<'_>> = match inner {
            Some(method) => fields.iter().filter(|field| field.name != method.name).collect(),
            None => fields.iter().filter(|field| OWN.contains(&field.name)).collect(),
        };
        Ok(self.short_form(merge, method, parameters, &beside, specialists))
    }

    fn short_form(
        &mut self,
        merge: Field<'_>,
        method: &dyn MergeMethod,
        parameters: &Node,
        beside: &[Field<'_>],
        specialists: &Specialists,
    ) -> Option<Merge> {
        let single = specialists.iter().filter(|(_, s)| !s.is_multi_task()).map(|(name, _)| name.clone());
        let (mut members, mut select, mut keep, mut dtype): (Vec<String>, _, _, _) =
            (single.collect(), false, false, None);
        for field in beside {
            match field.name {
                "specialists" => {
                    members = self.texts(*field);
                    let known: Vec<&str> = specialists.keys().map(String::as_str).collect();
                    for member in members.iter().filter(|member| !specialists.contains_key(*member)) {
                        self.diagnostics.unknown(field.node.span, "specialist", member, &known);
                    }
                }
                "select" => {
                    select = field.scalar() == Some("validation");
                    if !select && field.scalar().and_then(yaml::boolean) != Some(false) {
                        field.expected("`validation`, or left out", &mut self.diagnostics);
                    }
                }
                "keep" => keep = field.read(&mut self.diagnostics).unwrap_or(false),
                "dtype" => dtype = field.read::<DType>(&mut self.diagnostics),
                other => {
                    let known: Vec<&str> = OWN.iter().copied().filter(|key| *key != "recipe").collect();
                    self.diagnostics.unknown(field.key, "key", other, &known);
                }
            }
        }
        let contract = method.contract();
        if members.len() < contract.least.max(1) || members.len() > contract.most {
            let most = if contract.most == usize::MAX { "or more".to_owned() } else { format!("to {}", contract.most) };
            let takes = if contract.least == contract.most {
                format!("{}", contract.least)
            } else {
                format!("{} {most}", contract.least.max(1))
            };
            let message = format!("`{}` takes {takes} specialists, not {}", method.name(), members.len());
            self.diagnostics.error_help(merge.key, message, "name them with `specialists: [...]`");
            return None;
        }
        let sweep = self.sweep(method, parameters)?;
        if select && sweep.len() < 2 {
            let help = "give a list, for example `weight: [0.25, 0.5, 1.0]`";
            self.diagnostics.error_help(merge.key, "`select` needs several values to choose from", help);
        }
        let several = sweep.len() > 1;
        let candidates = sweep.into_iter().map(|values| {
            let setting = values.iter().filter(|v| v.varied).map(|v| format!("{}={}", v.name, word(&v.value)));
            let setting = setting.collect::<Vec<_>>().join(",");
            let recipe = expanded(method, &values, &members, dtype);
            let name = if several { format!("{}-{setting}", merge.name) } else { merge.name.to_owned() };
            Candidate { name, setting, written: recipe.to_value(), recipe: recipe.into() }
        });
        Some(Merge { candidates: candidates.collect(), specialists: members.clone(), select, keep })
    }

    /// Every combination of the listed values, the first parameter turning slowest.
    fn sweep(&mut self, method: &dyn MergeMethod, parameters: &Node) -> Option<Vec<Vec<Swept>>> {
        let specs = method.parameters();
        let known: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
        let mut combinations = vec![Vec::new()];
        let fields = Fields::of_optional(parameters, &format!("`{}`", method.name()), &mut self.diagnostics);
        for field in fields.iter().filter(|field| !OWN.contains(&field.name)) {
            let value = field.node;
            let Some(spec) = specs.iter().find(|spec| spec.name == field.name) else {
                self.diagnostics.unknown(field.key, "parameter", field.name, &known);
                continue;
            };
            let (values, swept): (Vec<Value>, bool) = match &value.kind {
                Kind::Sequence(items) => (items.iter().map(json).collect(), true),
                _ => (vec![json(value)], false),
            };
            for (index, value_) in values.iter().enumerate() {
                if !(value_.is_number() || value_.is_boolean() || value_.is_string()) {
                    self.diagnostics.error(value.span, format!("value {} of `{}` is no scalar", index + 1, spec.name));
                }
            }
            combinations = combinations
                .iter()
                .flat_map(|first: &Vec<Swept>| {
                    values.iter().map(move |value| {
                        let scope = spec.scope;
                        let own = Swept { name: spec.name, value: value.clone(), scope, varied: swept };
                        first.iter().cloned().chain([own]).collect()
                    })
                })
                .collect();
            if combinations.len() > MOST {
                self.diagnostics.error(value.span, format!("the sweep makes more than {MOST} recipes"));
                return None;
            }
        }
        if combinations.is_empty() {
            self.diagnostics.error(parameters.span, "a list of values is empty");
            return None;
        }
        for spec in specs.iter().filter(|spec| spec.default == methods::ParameterDefault::Required) {
            if !combinations.iter().all(|list| list.iter().any(|setting| setting.name == spec.name)) {
                let message = format!("`{}` needs `{}`", method.name(), spec.name);
                self.diagnostics.error(parameters.span, message);
            }
        }
        Some(combinations)
    }

    fn of_file(&mut self, name: &str, node: &Node, file: &str, specialists: &Specialists) -> Result<Option<Merge>> {
        let path = self.folder.join(file);
        let text = crate::storage::input::read_text(&path, crate::storage::input::TEXT_BYTES)
            .map_err(|source| ExperimentError::Read { path: path.clone(), source })?;
        let source = Arc::new(SourceText { name: path.display().to_string(), text });
        let mut diagnostics = Diagnostics::new(Arc::clone(&source), false);
        let documents = yaml::parse(&source.text, &mut diagnostics);
        diagnostics.check()?;
        let [document] = documents.as_slice() else {
            let help = "merge in one step, or give each document a merge of its own";
            let message = format!("`{file}` holds {} documents", documents.len());
            self.diagnostics.error_help(node.span, message, help);
            return Ok(None);
        };
        let (merge, faults) = read_recipe(name, document, &source, specialists, false);
        if faults.has_errors() {
            self.other_files.push(faults);
        }
        Ok(merge)
    }

    fn whole_recipe(&mut self, name: &str, node: &Node, specialists: &Specialists, keep: bool) -> Option<Merge> {
        let (merge, faults) = read_recipe(name, node, &self.source, specialists, keep);
        for fault in faults.list() {
            self.diagnostics.push(fault.severity, fault.span, fault.message.clone(), fault.help.clone());
        }
        merge
    }
}

/// A recipe as mergekit writes it, with names of the experiment in place of models, and what is wrong with it.
fn read_recipe(
    name: &str,
    node: &Node,
    source: &Arc<SourceText>,
    specialists: &Specialists,
    keep: bool,
) -> (Option<Merge>, Diagnostics) {
    let mut diagnostics = Diagnostics::new(Arc::clone(source), false);
    let Kind::Mapping(entries) = &node.kind else {
        diagnostics.error(node.span, format!("the recipe of merge `{name}` is no mapping"));
        return (None, diagnostics);
    };
    let (own, recipe): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(|(key, _)| key.value == "keep");
    let keep = own.last().map_or(keep, |(_, value)| json(value) == Value::Bool(true));
    let node = Node { span: node.span, kind: Kind::Mapping(recipe) };
    let Some(mut recipe) = Recipe::read(0, &node, &mut diagnostics) else { return (None, diagnostics) };
    let mut members = Vec::new();
    for reference in recipe.references_mut().into_iter().filter(|reference| reference.revision.is_none()) {
        if reference.path == "base" {
            BASE.clone_into(&mut reference.path);
        } else if specialists.contains_key(&reference.path) && reference.adapter.is_none() {
            if !members.contains(&reference.path) {
                members.push(reference.path.clone());
            }
            reference.path = format!("{SPECIALIST}{}", reference.path);
        }
    }
    let mut written = json(&node);
    named(&mut written, specialists);
    let needs_base = methods::find(&recipe.method.value).is_some_and(|m| m.contract().base == BaseRule::Required);
    if let Value::Object(map) = &mut written
        && !map.contains_key("base_model")
        && needs_base
    {
        map.insert("base_model".to_owned(), BASE.into());
        recipe = recipe.with_base_model(ModelReference::directory(BASE));
    }
    let recipe = RecipeFile::within(source, recipe, diagnostics.clone());
    let candidate = Candidate { name: name.to_owned(), setting: String::new(), recipe, written };
    (Some(Merge { candidates: vec![candidate], specialists: members, select: false, keep }), diagnostics)
}

/// A parameter of a short form with one of its values.
#[derive(Debug, Clone)]
struct Swept {
    name: &'static str,
    value: Value,
    scope: ParameterScope,
    varied: bool,
}

/// The recipe that a short form stands for.
fn expanded(method: &dyn MergeMethod, values: &[Swept], members: &[String], dtype: Option<DType>) -> Recipe {
    let mut recipe = Recipe::new(method.name());
    if method.contract().base != BaseRule::Ignored {
        recipe = recipe.with_base_model(ModelReference::directory(BASE));
    }
    let (shared, own): (Vec<_>, Vec<_>) = values.iter().partition(|value| value.scope == ParameterScope::Shared);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for member in members {
        let model = Source::new(ModelReference::directory(&format!("{SPECIALIST}{member}")));
        let set = |model: Source, value: &&Swept| model.with_parameter(value.name, text(&value.value).as_str());
        recipe = recipe.with_model(own.iter().fold(model, set));
    }
    for value in shared {
        recipe = recipe.with_parameter(value.name, text(&value.value).as_str());
    }
    match dtype {
        Some(dtype) => recipe.with_dtype(dtype),
        None => recipe,
    }
}

/// Puts marks where the recipe names the base or a specialist.
fn named(value: &mut Value, specialists: &Specialists) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| named(item, specialists)),
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                let text = inner.as_str().map(str::to_owned);
                match text {
                    Some(text) if key == "model" || key == "base_model" => {
                        if text == "base" {
                            *inner = BASE.into();
                        } else if specialists.contains_key(&text) {
                            *inner = format!("{SPECIALIST}{text}").into();
                        }
                    }
                    _ => named(inner, specialists),
                }
            }
        }
        _ => {}
    }
}

/// A value as it stands in a row's name.
fn word(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect()
}
