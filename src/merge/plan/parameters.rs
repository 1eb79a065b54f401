//! Resolving a method's parameters for a tensor and a model.
//!
//! First hit wins: the source (per-input parameters only), the slice, the module, the recipe, the
//! method's default. A scope whose filters all miss falls through to the next one.

use std::collections::BTreeSet;

use crate::arch::KNOWN_FILTERS;
use crate::merge::methods::{
    FOREIGN_PARAMETERS, MergeMethod, ParameterDefault, ParameterScope, ParameterSpec, REGISTRY, Role, Values,
};
use crate::recipe::setting::{Value, matches};
use crate::recipe::{Diagnostics, OutputSlice, Parameters, Recipe, Source, Span};
use crate::yaml::Spanned;

/// Resolves and remembers which filters were of use.
pub(crate) struct ParameterResolver<'a> {
    recipe: &'a Recipe,
    method: &'static dyn MergeMethod,
    /// Filters by address: those of recipes made in Rust have no place of their own.
    used: BTreeSet<*const Spanned<String>>,
    missing: BTreeSet<(&'static str, String)>,
}

/// Position of a tensor, as far as parameters depend on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position<'a> {
    /// The slice, for layer-wise recipes.
    pub slice: Option<&'a OutputSlice>,
    /// Position in the slice, `0..=1`.
    pub t: f64,
}

impl<'a> ParameterResolver<'a> {
    /// Checks names and types of all parameters of the recipe, once.
    pub(crate) fn new(recipe: &'a Recipe, method: &'static dyn MergeMethod, diagnostics: &mut Diagnostics) -> Self {
        let specs = method.parameters();
        let known: Vec<&str> = specs.iter().map(|s| s.name).collect();
        let elsewhere: Vec<&str> = REGISTRY
            .iter()
            .flat_map(|m| m.parameters())
            .map(|s| s.name)
            .chain(FOREIGN_PARAMETERS.iter().copied())
            .collect();
        let per_source: Vec<*const Parameters> = recipe.sources().map(|s| &raw const s.parameters).collect();
        for scope in recipe.scopes() {
            for (key, setting) in scope.iter() {
                let name = key.value.as_str();
                if let Some(spec) = specs.iter().find(|s| s.name == name) {
                    setting.check(name, spec.kind, diagnostics);
                    if spec.scope == ParameterScope::Shared && per_source.contains(&std::ptr::from_ref(scope)) {
                        diagnostics.warning(
                            key.span,
                            format!("`{name}` has no effect on a single model"),
                            Some("move it to the recipe's or the slice's `parameters`".to_owned()),
                        );
                    }
                } else if elsewhere.contains(&name) {
                    let message = format!("method `{}` does not use parameter `{name}`", method.name());
                    diagnostics.warning(key.span, message, None);
                } else {
                    let everything: Vec<&str> = known.iter().chain(&elsewhere).copied().collect();
                    let candidates = if crate::suggest::nearest(name, &known).is_some() || elsewhere.is_empty() {
                        known.clone()
                    } else if crate::suggest::nearest(name, &everything).is_some() {
                        everything
                    } else {
                        known.clone()
                    };
                    diagnostics.unknown(key.span, "parameter", name, &candidates);
                }
            }
        }
        Self { recipe, method, used: BTreeSet::new(), missing: BTreeSet::new() }
    }

    /// The shared parameters of an output tensor.
    pub(crate) fn shared(&mut self, output: &str, position: Position<'_>, diagnostics: &mut Diagnostics) -> Values {
        self.values(|spec| spec.scope == ParameterScope::Shared, None, output, position, None, diagnostics)
    }

    /// The parameters of one input. `source` is `None` for a base model that the recipe only names
    /// as such; `label` names the model in messages.
    pub(crate) fn input(
        &mut self,
        source: Option<&Source>,
        role: Role,
        tensor: &str,
        position: Position<'_>,
        label: (&str, Span),
        diagnostics: &mut Diagnostics,
    ) -> Values {
        let wanted = |spec: &ParameterSpec| match spec.scope {
            ParameterScope::Shared => false,
            ParameterScope::Input => true,
            ParameterScope::NonBaseInput => role == Role::Tuned,
        };
        self.values(wanted, source, tensor, position, Some(label), diagnostics)
    }

    fn values(
        &mut self,
        wanted: impl Fn(&ParameterSpec) -> bool,
        source: Option<&Source>,
        tensor: &str,
        position: Position<'_>,
        label: Option<(&str, Span)>,
        diagnostics: &mut Diagnostics,
    ) -> Values {
        let mut values = Vec::new();
        for spec in self.method.parameters().iter().filter(|spec| wanted(spec)) {
            match self.lookup(spec, source, tensor, position) {
                Some(value) => values.push((spec.name, value)),
                None => self.report_missing(spec, tensor, label, source.is_none(), diagnostics),
            }
        }
        values
    }

    fn lookup(
        &mut self,
        spec: &ParameterSpec,
        source: Option<&Source>,
        tensor: &str,
        position: Position<'_>,
    ) -> Option<Value> {
        let scopes = [
            source.map(|s| &s.parameters),
            position.slice.map(|s| &s.parameters),
            Some(&self.recipe.module_parameters),
            Some(&self.recipe.parameters),
        ];
        for scope in scopes.into_iter().flatten() {
            let found = scope.get(spec.name).and_then(|s| s.evaluate(spec.kind, tensor, position.t));
            if let Some((value, filter)) = found {
                self.used.extend(filter.map(std::ptr::from_ref));
                return Some(value);
            }
        }
        match spec.default {
            ParameterDefault::Value(value) => Some(value),
            ParameterDefault::Required | ParameterDefault::Absent => None,
        }
    }

    /// A missing parameter is reported once per model, not once per tensor.
    fn report_missing(
        &mut self,
        spec: &ParameterSpec,
        tensor: &str,
        label: Option<(&str, Span)>,
        unlisted: bool,
        diagnostics: &mut Diagnostics,
    ) {
        if spec.default != ParameterDefault::Required {
            return;
        }
        let (model, span) = label.map_or((String::new(), self.recipe.method.span), |(m, span)| (m.to_owned(), span));
        if !self.missing.insert((spec.name, model.clone())) {
            return;
        }
        let of = if model.is_empty() { String::new() } else { format!(" for model `{model}`") };
        let message = format!(
            "method `{}` needs parameter `{}`{of} (first missing at tensor `{tensor}`)",
            self.method.name(),
            spec.name
        );
        // The base model is the only one that takes part without being listed.
        let help = if unlisted && label.is_some() {
            "this method takes the base model for one more input: remove `base_model`, or set the parameter for all"
        } else {
            "set it at the model or for all models under the recipe's `parameters`; when it has filters, end the list \
             with a `value` without filter"
        };
        diagnostics.error_help(span, message, help);
    }

    /// Reports filters that chose no value. `names` are all tensor names of inputs and output.
    pub(crate) fn report_filters(&self, names: &BTreeSet<&str>, diagnostics: &mut Diagnostics) {
        let known: Vec<&str> = self.method.parameters().iter().map(|s| s.name).collect();
        for scope in self.recipe.scopes() {
            for (_, setting) in scope.iter().filter(|(key, _)| known.contains(&key.value.as_str())) {
                for filter in setting.filters().filter(|f| !self.used.contains(&std::ptr::from_ref(*f))) {
                    let text = filter.value.as_str();
                    if names.iter().any(|name| matches(text, name)) {
                        let message =
                            format!("filter `{text}` never decides: an earlier condition or a narrower scope does");
                        diagnostics.warning(filter.span, message, None);
                    } else if text.split('.').all(|part| KNOWN_FILTERS.contains(&part)) {
                        diagnostics.warning(
                            filter.span,
                            format!("filter `{text}` matches no tensor of these models"),
                            None,
                        );
                    } else {
                        let parts: BTreeSet<&str> = names.iter().flat_map(|n| n.split('.')).collect();
                        let parts: Vec<&str> = parts.into_iter().collect();
                        let help = crate::suggest::nearest(text, &parts).map_or_else(
                            || {
                                "a filter is a part of a tensor name; `billon inspect MODEL --tensors` lists them"
                                    .to_owned()
                            },
                            |near| format!("did you mean `{near}`?"),
                        );
                        diagnostics.error_help(filter.span, format!("filter `{text}` matches no tensor"), help);
                    }
                }
            }
        }
    }
}
