//! Training recipes: what is trained, on which data, with which settings.
//!
//! Keys are those of TRL, axolotl and LLaMA-Factory, aliases included; an unknown key is an error
//! with the nearest known one.

mod schema;

pub use schema::{
    AdapterRecipe, BestModel, DataFormat, DatasetRecipe, EvaluationRecipe, ExcessLength, LoraRecipe, Scheduler,
    TargetModules, TrainRecipe, Warmup,
};
