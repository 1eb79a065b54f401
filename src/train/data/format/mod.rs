//! The formats of data files: the content of a row that is to be learnt.

mod alpaca;
mod conversation;
mod detect;
mod message;
mod prompt_completion;
mod read;
mod refused;
mod tokenised;

pub(super) use detect::{detect, name};
pub(super) use read::{Reading, read};
