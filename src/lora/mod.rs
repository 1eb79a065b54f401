//! LoRA adapters as PEFT keeps them: a folder with `adapter_config.json` and
//! `adapter_model.safetensors`.
//!
//! - [`LoraConfig`]: PEFT's settings. What the arithmetic here does not know is refused by key: an
//!   adapter half applied is worse than none.
//! - [`targets`]: which modules of a model an adapter changes.
//! - [`Adapter`]: the factors of every module, and the tensors trained whole, in memory. It is opened
//!   from a folder or made from parts by a trainer, and saved as a folder that PEFT loads.
//! - [`LoraFactors`]: one module's change, `s · B A`, by rows and parts of rows.
//!
//! ```no_run
//! use billon::internal::Adapter;
//! let adapter = Adapter::open("specialists/fpb".as_ref())?;
//! for (module, factors) in adapter.factors() {
//!     println!("{module}: rank {} times {}", factors.rank(), factors.scale());
//! }
//! # Ok::<(), billon::Error>(())
//! ```

mod adapter;
pub(crate) mod apply;
mod config;
mod error;
mod file_names;
mod names;
mod pattern;
mod read;
mod save;
mod target;
mod target_modules;
mod update;

pub use adapter::{Adapter, Factors, SavedTensor};
pub use config::LoraConfig;
pub(crate) use pattern::ModulePattern;
pub(crate) use target::is_saved_whole;
pub(crate) use target::targets;
pub use target_modules::TargetModules;
pub(crate) use update::LoraFactors;
