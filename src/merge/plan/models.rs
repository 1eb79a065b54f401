//! Opens the models of a recipe and checks that they belong together.

use std::collections::{BTreeMap, BTreeSet};

use super::options::MergeOptions;
use crate::arch;
use crate::checkpoint::config::ModelConfig;
use crate::error::ErrorKind;
use crate::merge::plan::sources::{Model, Resolver};
use crate::recipe::schema::TokenizerSource;
use crate::recipe::{Assembly, Diagnostics, ModelReference, Recipe};

/// Places of the models in the plan's list.
pub(super) type ModelIndex = BTreeMap<ModelReference, usize>;

pub(super) fn open(
    recipe: &Recipe,
    resolver: &Resolver,
    mut opened: BTreeMap<ModelReference, Model>,
    diagnostics: &mut Diagnostics,
) -> (Option<Vec<Model>>, ModelIndex) {
    let slice_bases: Vec<_> = match &recipe.assembly {
        Assembly::Slices(slices) => slices.iter().filter_map(|s| s.base_model.as_ref()).collect(),
        Assembly::Models(_) => Vec::new(),
    };
    let references = recipe.sources().map(|s| &s.model).chain(&recipe.base_model).chain(slice_bases);
    let mut models: Vec<Model> = Vec::new();
    let mut index = ModelIndex::new();
    let mut complete = true;
    let mut failed = BTreeSet::new();
    for reference in references {
        if index.contains_key(&reference.value) || failed.contains(&reference.value) {
            continue;
        }
        let model =
            opened.remove(&reference.value).or_else(|| resolver.open(&reference.value, reference.span, diagnostics));
        match model {
            // One directory is one model, however it is spelled.
            Some(model) if models.iter().any(|known| known.is_same(&model)) => {
                let known = models.iter().position(|known| known.is_same(&model)).expect("the guard has found it");
                let message = format!("`{}` is `{}`: one model", reference.value, models[known].reference);
                diagnostics.warning(reference.span, message, None);
                index.insert(reference.value.clone(), known);
            }
            Some(model) => {
                index.insert(reference.value.clone(), models.len());
                models.push(model);
            }
            None => {
                complete = false;
                failed.insert(reference.value.clone());
            }
        }
    }
    ((complete && !models.is_empty()).then_some(models), index)
}

pub(super) fn check(recipe: &Recipe, models: &[Model], options: &MergeOptions, diagnostics: &mut Diagnostics) {
    let mut known = models.iter().filter_map(|m| m.architecture().map(|a| (m, a)));
    if let Some((first, architecture)) = known.next() {
        for (model, other) in known.filter(|(_, a)| *a != architecture) {
            let message = format!("`{}` is a {architecture} but `{}` is a {other}", first.reference, model.reference);
            let span = recipe.sources().find(|s| s.model.value == model.reference).map(|s| s.model.span);
            if options.allow_crimes {
                diagnostics.warning(span, message, None);
            } else {
                let help = "`billon merge --allow-crimes` merges them all the same";
                diagnostics.model_error(ErrorKind::Mismatch, span, message, help);
            }
        }
    }
    for model in models {
        let config = model.config.as_ref().and_then(ModelConfig::layer_count);
        if let Some(config) = config.filter(|c| model.stack.count() > 0 && *c != model.stack.count()) {
            let message = format!(
                "`{}`: config.json says {config} layers but the weights have {} (`{}*`)",
                model.reference,
                model.stack.count(),
                model.stack.prefix()
            );
            diagnostics.warning(None, message, None);
        }
    }
}

/// A tokenizer source changes nothing when all models have the same tokenizer; anything else would
/// mean rewriting vocabularies.
pub(super) fn check_tokenizer(recipe: &Recipe, models: &[Model], diagnostics: &mut Diagnostics) {
    if let Some(span) = recipe.chat_template {
        diagnostics.error_help(
            span,
            "`chat_template` is not supported by this version",
            "remove the key: the config source's template is copied; edit it in the output's tokenizer_config.json",
        );
    }
    let Some(tokenizer) = &recipe.tokenizer else { return };
    let texts: BTreeSet<Option<Vec<u8>>> = models
        .iter()
        .map(|m| {
            crate::storage::input::read(
                &m.tokenizer_dir.as_ref()?.join("tokenizer.json"),
                crate::storage::input::LIST_BYTES,
            )
            .ok()
        })
        .collect();
    let rows: BTreeSet<u64> = models
        .iter()
        .flat_map(|m| m.tensors.iter().filter(|(name, _)| arch::is_vocabulary_indexed(name)))
        .filter_map(|(_, t)| t.shape.first().copied())
        .collect();
    let same = texts.len() == 1 && texts.first().is_some_and(Option::is_some) && rows.len() <= 1;
    if tokenizer.value == TokenizerSource::Custom || !same {
        diagnostics.error_help(
            tokenizer.span,
            "building a new tokenizer is not supported by this version, and these models do not all have the same one",
            "give all models the same tokenizer.json and vocabulary size first, or remove the key to copy the config source's",
        );
    }
}
