//! Task files: what a document is, how it is asked, and what counts as right.
//!
//! A task file is lm-evaluation-harness YAML, read as is: [`load()`] resolves names of the built-in
//! [`suite`], files and folders, with `include`, groups and tags, into [`TaskConfig`]s.
//! [`Task::open`] reads the documents, [`Task::prompts`] writes the prompts, byte for byte those
//! of the harness 0.4.13, except that a document is never shown to itself. What is not supported
//! is refused with its line, never ignored.
//!
//! ```no_run
//! use billon::internal::task::{self, PromptSettings, Task};
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
pub(crate) mod config;
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
pub(crate) mod prompt;
mod reader;
mod render;
mod row;
mod schema;
mod shots;
pub(crate) mod spec;
pub(crate) mod suite;
mod template;
mod turns;

pub(crate) use config::{OutputType, Protocol, Role, Sampler, TaskConfig};
pub use data::Task;
pub(crate) use data::read_records;
pub use documents::Documents;
pub(crate) use error::TaskError;
pub(crate) use generation::GenerationArguments;
pub(crate) use load::AggregateMetric;
pub(crate) use load::Group;
pub(crate) use load::TaskSet;
pub use load::load;
pub use load::load_from;
pub use prompt::Ask;
pub(crate) use prompt::PromptOptions;
pub use prompt::PromptSettings;
pub(crate) use prompt::Prompts;
pub use prompt::Rendered;
pub(crate) use prompt::UnknownLabel;
