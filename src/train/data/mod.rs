//! Training data: rows of many formats become token sequences that know which tokens carry loss.
//!
//! # What is trained
//! Completions, with the end that makes a model stop. A **task** is asked to the letter as its
//! evaluation asks it (few-shot examples as the task file says, none by default), and the tokens that
//! `choice-ll` would score for the right choice are the ones that carry loss, followed by the end of
//! the turn (with a chat template) or EOS (without). **Conversations** (`messages`, `conversations`, lists of
//! messages in `prompt` and `completion`) are rendered by the tokenizer's chat template, and every
//! turn of the assistant carries loss up to its end-of-turn token, whatever the template: see
//! `chat.rs`. What is said beside the contents (`tools`, `tool_calls`, `reasoning_content`) goes to the
//! template, and is refused where it does not reach the text; `weight: 0` and `train: false` take the loss off
//! a turn. **`prompt` and `completion`** as plain texts are joined as they are, EOS after them.
//! **Alpaca** rows are conversations, or framed in headings without a template (`alpaca.rs`).
//! **`text`** is trained whole. **`input_ids`** with `labels` are taken as they are.
//! `train_on_inputs` puts loss on every token but the first.
//!
//! `format: auto` goes by the keys of the first row, in this order: `input_ids`, `messages`,
//! `conversations`, `prompt` with `completion`, `instruction` with `output`, `text`.
//!
//! # The mix
//! An epoch sees of each set, counted in examples after `max_rows` and `val_set_size`:
//!
//! - with `weight: w`, w times its size;
//! - with `share: s`, so many that it fills that fraction of the whole epoch: s / (1 - all shares)
//!   times what the sets without a share come to;
//! - with neither, its size; under `mixing_temperature: t`, sizes to the power of t, scaled so that
//!   these sets together stay as many as they were.
//!
//! Counts are rounded, and a set that is in the mix is seen at least once. A count beyond a set's size
//! means whole copies; what remains is drawn without replacement, anew each epoch. [`SetSummary`] has
//! the counts. All examples are then shuffled uniformly under seed and epoch; with `sample_packing`
//! they are packed best-fit-decreasing into rows of `sequence_len`, and the rows shuffled again.
//!
//! ```no_run
//! use billon::train::{data::{TrainingData, show}, recipe::TrainRecipe};
//! # fn f(recipe: &TrainRecipe, tokenizer: &billon::internal::Tokenizer, progress: billon::internal::Progress<'_>)
//! # -> billon::Result<()> {
//! let data = TrainingData::load(recipe, Some("data".as_ref()), tokenizer, workers, progress)?;
//! for row in data.rows(recipe, 0) {
//!     let text = show(&data.examples[row[0]], tokenizer)?;
//! }
//! # Ok(())
//! # }
//! ```

mod asked;
mod chat;
mod content;
mod data_row;
mod encode;
mod ending;
mod error;
mod example;
mod format;
mod length;
mod limits;
mod load;
mod mix;
mod pack;
mod show;
mod shown;
mod source;
mod task_rows;

pub(crate) use asked::Asked;
pub(crate) use encode::asking_template;
pub use example::Example;
pub(crate) use example::PackedRow;
pub use example::SetSummary;
pub use example::TrainingData;
pub use show::show;
pub(super) use source::locate as located;
