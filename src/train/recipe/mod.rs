//! Training recipes: what is trained, on which data, with which settings.
//!
//! Keys are those of TRL, axolotl, LLaMA-Factory and transformers, aliases included; an unknown key
//! is an error with the nearest known one. Keys about machines and services are passed over
//! with one warning, those that would change what is learnt and are not followed are refused.
//!
//! ```
//! use billon::internal::TrainRecipe;
//!
//! let text = "model_name_or_path: models/base\nlora_rank: 32\ndatasets: [fpb]\nbf16: true\n";
//! let (recipe, warnings) = TrainRecipe::parse("example.yml", text)?;
//! assert_eq!((recipe.base_model.as_str(), recipe.learning_rate), ("models/base", 2e-4));
//! assert!(warnings[0].contains("`bf16`"));
//! assert_eq!(TrainRecipe::parse("config.resolved.yaml", &recipe.to_yaml())?.0, recipe);
//! # Ok::<(), billon::Error>(())
//! ```

mod adapter;
mod datasets;
pub(crate) mod intervals;
mod keys;
mod parse;
#[cfg(test)]
mod parse_tests;
mod resolved;
mod schema;
mod settings;

pub(in crate::train) use datasets::SPEAKERS;
pub(crate) use parse::Parsed;
pub(crate) use schema::AdapterRecipe;
pub(crate) use schema::BestModel;
pub use schema::DataFormat;
pub use schema::DatasetRecipe;
pub(crate) use schema::EvaluationRecipe;
pub use schema::ExcessLength;
pub(crate) use schema::LoraRecipe;
pub(crate) use schema::Scheduler;
pub(crate) use schema::TargetModules;
pub use schema::TrainRecipe;
pub use schema::UnsupportedSystem;
pub(crate) use schema::Warmup;
