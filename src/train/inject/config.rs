//! A recipe's LoRA settings as PEFT's config.

use super::super::error::TrainError;
use super::super::recipe::{LoraRecipe, TargetModules};
use crate::lora::{self, LoraConfig, ModulePattern};

/// The config of an adapter trained with these settings.
///
/// # Errors
/// A pattern that is no regular expression.
pub(super) fn config(recipe: &LoraRecipe, base_model: &str) -> Result<LoraConfig, TrainError> {
    let fault =
        |key: &'static str, source: &dyn std::fmt::Display| TrainError::Unsupported { key, reason: source.to_string() };
    let targets = match &recipe.target_modules {
        TargetModules::AllLinear => lora::TargetModules::AllLinear,
        TargetModules::Names(names) => lora::TargetModules::Names(names.clone()),
        TargetModules::Pattern(pattern) => lora::TargetModules::Pattern(
            ModulePattern::whole(pattern).map_err(|source| fault("lora_target_modules", &source))?,
        ),
    };
    let mut config = LoraConfig::new(base_model, recipe.r, recipe.lora_alpha, targets);
    config.dropout = recipe.lora_dropout;
    config.use_rslora = recipe.use_rslora;
    config.use_dora = recipe.use_dora;
    config.modules_to_save.clone_from(&recipe.modules_to_save);
    for (pattern, rank) in &recipe.rank_pattern {
        let pattern = ModulePattern::tail(pattern).map_err(|source| fault("rank_pattern", &source))?;
        config.rank_pattern.push((pattern, *rank));
    }
    for (pattern, alpha) in &recipe.alpha_pattern {
        let pattern = ModulePattern::tail(pattern).map_err(|source| fault("alpha_pattern", &source))?;
        config.alpha_pattern.push((pattern, *alpha));
    }
    Ok(config)
}
