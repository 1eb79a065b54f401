//! Task files: what a document is, how it is asked, and what counts as right.
//!
//! A task file is lm-evaluation-harness YAML, read as is: [`load`] resolves names of the built-in
//! [`suite`], files and folders, with `include`, groups and tags, into [`TaskConfig`]s.
//! [`Task::open`] reads the documents, [`Task::prompts`] writes the prompts, byte for byte those
//! of the harness 0.4.13, except that a document is never shown to itself. What is not supported
//! is refused with its line, never ignored.
//!
//! ```no_run
//! use billon::task::{self, PromptSettings, Task};
//! let set = task::load(&["fpb".to_owned()])?;
//! for config in set.tasks {
//!     let task = Task::open(config, Some("data".as_ref()))?;
//!     let prompts = task.prompts(&PromptSettings::default())?;
//!     assert_eq!(prompts.rendered.len(), task.documents().len());
//! }
//! # Ok::<(), billon::Error>(())
//! ```

mod answer;
mod completion;
pub mod config;
mod csv;
mod data;
mod documents;
mod error;
mod fewshot;
mod file;
mod generation;
mod index;
mod load;
mod measures;
#[cfg(feature = "parquet")]
mod parquet_rows;
pub mod prompt;
mod python_random;
mod pyyaml;
mod render;
mod schema;
mod shots;
pub mod spec;
pub mod suite;
mod template;
mod turns;

pub use completion::Completion;
pub use config::{OutputType, Protocol, Role, Sampler, TaskConfig};
pub use data::{Task, read_records};
pub use documents::Documents;
pub use error::TaskError;
pub use generation::GenerationArguments;
pub use load::{AggregateMetric, Group, TaskSet, load, load_from};
pub use prompt::{Ask, PromptSettings, Prompts, Rendered, UnknownLabel};
pub use python_random::PythonRandom;
