//! Training recipes: what is trained, on which data, with which settings.
//!
//! Keys are those of TRL, axolotl, LLaMA-Factory and transformers, aliases included; an unknown key
//! is an error with the nearest known one. Keys about machines and services are passed over
//! with one warning, those that would change what is learnt and are not followed are refused.
//!
//! ```
//! use billon::train::recipe::TrainRecipe;
//!
//! let text = "model_name_or_path: models/base\nlora_rank: 32\ndatasets: [fpb]\nbf16: true\n";
//! let (recipe, warnings) = TrainRecipe::parse("example.yml", text)?;
//! assert_eq!((recipe.base_model.as_str(), recipe.learning_rate), ("models/base", 2e-4));
//! assert!(warnings[0].contains("`bf16`"));
//! assert_eq!(TrainRecipe::parse("config.resolved.yaml", &recipe.to_yaml())?.0, recipe);
//! # Ok::<(), billon::yaml::RecipeError>(())
//! ```

mod adapter;
mod cadence;
mod datasets;
mod fields;
mod keys;
mod parse;
#[cfg(test)]
mod parse_tests;
mod resolved;
mod schema;

pub(in crate::train) use datasets::SPEAKERS;
pub use parse::{LoadError, Parsed};
pub use schema::{
    AdapterRecipe, BestModel, DataFormat, DatasetRecipe, EvaluationRecipe, ExcessLength, LoraRecipe, Scheduler,
    StartAdapter, TargetModules, TrainRecipe, UnsupportedSystem, Warmup,
};
