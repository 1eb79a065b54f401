//! Starting from an adapter: its settings and the recipe's made one, or found to contradict each other.

use super::super::error::TrainError;
use super::super::recipe::{AdapterRecipe, LoraRecipe, TargetModules, TrainRecipe};
use super::config::config;
use crate::error::Result;
use crate::lora::{self, Adapter};

/// The recipe with what it leaves to the adapter that it starts from filled in: what is trained, and what
/// `config.resolved.yaml` says.
///
/// # Errors
/// [`TrainError::InitFrom`] naming every setting of the recipe that the adapter does not have. Dropout is a setting of the
/// training and may differ.
pub(crate) fn settled(recipe: &TrainRecipe, first: Option<&Adapter>) -> Result<TrainRecipe> {
    let mut recipe = recipe.clone();
    let (AdapterRecipe::Lora(lora), Some(first)) = (&mut recipe.adapter, first) else { return Ok(recipe) };
    let mut conflicts = inherit(lora, first);
    if conflicts.is_empty() {
        let (ours, theirs) = (config(lora, &recipe.base_model)?, first.config());
        for module in first.modules() {
            let ((r, scale), (their_r, their_scale)) = (ours.rank_and_scale(module)?, theirs.rank_and_scale(module)?);
            if (r, scale) != (their_r, their_scale) {
                conflicts.push(format!(
                    "`rank_pattern` and `alpha_pattern` make `{module}` of rank {r} and scale {scale}, the adapter has \
                     rank {their_r} and scale {their_scale}"
                ));
                break;
            }
        }
    }
    if conflicts.is_empty() {
        return Ok(recipe);
    }
    Err(TrainError::InitFrom { adapter: first.path().to_owned(), conflicts }.into())
}

/// Fills in what the recipe leaves open; returns what it sets to something else.
fn inherit(lora: &mut LoraRecipe, first: &Adapter) -> Vec<String> {
    let LoraRecipe {
        r,
        lora_alpha,
        lora_dropout,
        target_modules,
        use_rslora,
        use_dora,
        rank_pattern,
        alpha_pattern,
        modules_to_save,
        init_from,
    } = lora;
    let theirs = first.config();
    let inherited = init_from.as_mut().map_or_else(Vec::new, |start| std::mem::take(&mut start.inherited));
    let is_open = |key: &str| inherited.contains(&key);
    let mut conflicts = Vec::new();
    let mut conflict = |key: &str, ours: String, theirs: String| {
        conflicts.push(format!("`{key}` is {ours}, the adapter's is {theirs}"));
    };
    if is_open("lora_r") {
        *r = theirs.r;
    } else if *r != theirs.r {
        conflict("lora_r", r.to_string(), theirs.r.to_string());
    }
    if is_open("lora_alpha") {
        *lora_alpha = theirs.alpha;
    } else if *lora_alpha != theirs.alpha {
        conflict("lora_alpha", lora_alpha.to_string(), theirs.alpha.to_string());
    }
    if is_open("lora_dropout") {
        *lora_dropout = theirs.dropout;
    }
    if is_open("use_rslora") {
        *use_rslora = theirs.use_rslora;
    } else if *use_rslora != theirs.use_rslora {
        conflict("use_rslora", use_rslora.to_string(), theirs.use_rslora.to_string());
    }
    if is_open("use_dora") {
        *use_dora = theirs.use_dora;
    } else if *use_dora != theirs.use_dora {
        conflict("use_dora", use_dora.to_string(), theirs.use_dora.to_string());
    }
    if is_open("target_modules") {
        *target_modules = their_targets(first);
    }
    if is_open("rank_pattern") {
        *rank_pattern = theirs.rank_pattern.iter().map(|(p, rank)| (p.text().to_owned(), *rank)).collect();
    }
    if is_open("alpha_pattern") {
        *alpha_pattern = theirs.alpha_pattern.iter().map(|(p, alpha)| (p.text().to_owned(), *alpha)).collect();
    }
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    if is_open("modules_to_save") {
        modules_to_save.clone_from(&theirs.modules_to_save);
    } else if sorted(modules_to_save) != sorted(&theirs.modules_to_save) {
        conflict("modules_to_save", format!("{modules_to_save:?}"), format!("{:?}", theirs.modules_to_save));
    }
    conflicts
}

/// The adapter's rule, or, where a recipe can't say it, the modules that it picked.
fn their_targets(first: &Adapter) -> TargetModules {
    let config = first.config();
    if config.exclude_modules.is_some() || !config.layers_to_transform.is_empty() {
        return TargetModules::Names(first.modules().map(str::to_owned).collect());
    }
    match &config.target_modules {
        lora::TargetModules::AllLinear => TargetModules::AllLinear,
        lora::TargetModules::Names(names) => TargetModules::Names(names.clone()),
        lora::TargetModules::Pattern(pattern) => TargetModules::Pattern(pattern.text().to_owned()),
    }
}

/// Compares the modules that the recipe picks with those that the adapter has factors for.
///
/// # Errors
/// [`TrainError::InitFrom`] naming one that only one of them has.
pub(super) fn same_targets(targets: &[String], start: &Adapter) -> Result<(), TrainError> {
    let only_recipe = targets.iter().find(|module| !start.factors().contains_key(*module));
    let only_adapter = start.modules().find(|module| !targets.iter().any(|target| target == module));
    let conflict = match (only_recipe, only_adapter) {
        (None, None) => return Ok(()),
        (Some(module), _) => format!("picks `{module}`, for which the adapter has no factors"),
        (None, Some(module)) => format!("leaves out `{module}`, for which the adapter has factors"),
    };
    let conflicts = vec![format!("`target_modules` {conflict}")];
    Err(TrainError::InitFrom { adapter: start.path().to_owned(), conflicts })
}
