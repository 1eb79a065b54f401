//! Training corpus of the base model.
//!
//! It learns the language from plain statements, to follow instructions from general ones,
//! and a little of every task: less of those that specialists will be trained on than of the
//! others, whose skill is what a specialist can forget.

use super::draw::Draw;
use super::instructions;
use super::sentence::sentence;
use super::split::Split;
use super::tasks::TASKS;
use crate::task::Role;

/// Instructions of each kind.
const INSTRUCTIONS: usize = 1200;
/// Questions of each task that specialists will be trained on.
const SEEN: usize = 300;
/// Questions of each task that they will not.
const UNSEEN: usize = 2000;
/// Plain statements of each task.
const STATEMENTS: usize = 1000;

/// One row of the base model's training data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::demo) enum Sample {
    /// Question and answer.
    Chat(String, String),
    /// A text.
    Plain(String),
}

/// All rows, shuffled.
pub(in crate::demo) fn pretraining(seed: u64) -> Vec<Sample> {
    let mut draw = Draw::new(seed, &["pretraining"]);
    let mut samples = Vec::new();
    for kind in 0..instructions::KINDS {
        for _ in 0..INSTRUCTIONS {
            let (asked, answer) = instructions::write(kind, &mut draw);
            samples.push(Sample::Chat(asked, answer));
        }
    }
    for task in TASKS {
        let count = if task.role == Role::Seen { SEEN } else { UNSEEN };
        for document in task.documents(Split::Pretraining, count, seed) {
            samples.push(Sample::Chat(task.ask(&document), document.label.to_owned()));
        }
        // Other draws of the same share of the language, without their labels.
        let plain = task.documents(Split::Pretraining, STATEMENTS, seed ^ 1);
        for pair in plain.chunks(2) {
            let texts: Vec<String> = pair.iter().map(|document| sentence(&document.core)).collect();
            samples.push(Sample::Plain(texts.join(" ")));
        }
    }
    draw.shuffle(&mut samples);
    samples
}
