//! The demo's language and its untrained model, both made from a seed.
//!
//! Nothing here comes from outside: [`write_data`] writes financial statements from templates of
//! our own, as data and task files, together with what the base model is trained on before;
//! [`write_untrained`] writes a small Llama-shaped model with random weights and a tokenizer of its
//! own vocabulary. Trained with `fixtures/demo/pretrain.yml` it becomes the instruct model that the
//! demo's specialists start from.
//!
//! ```no_run
//! billon::internal::write_data("demo".as_ref(), 0)?;
//! billon::internal::write_untrained("demo-untrained".as_ref(), 0)?;
//! # Ok::<(), billon::Error>(())
//! ```

mod run;
mod text;
mod untrained;

pub(crate) use run::prepare;
pub use text::write_data;
pub use untrained::write_untrained;
