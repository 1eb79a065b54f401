//! A task and its documents.

use std::collections::BTreeSet;

use crate::demo::text::draw::Draw;
use crate::demo::text::split::Split;
use crate::task::Role;

/// Generator of a task: its labels, its sentences and its descriptions.
#[derive(Debug, Clone, Copy)]
pub(in crate::demo::text) struct DemoTask {
    /// Name of the task and of its files.
    pub name: &'static str,
    /// Seen, unseen or general.
    pub role: Role,
    /// Description for the task file's head.
    pub about: &'static str,
    /// The answers.
    pub labels: &'static [&'static str],
    /// `doc_to_text`: the fields of a document in double braces.
    pub prompt: &'static str,
    /// A document of a label, by the label's index.
    pub write: fn(usize, &mut Draw) -> Content,
}

/// A document before it has a label and a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::demo::text) struct Content {
    /// Clause that decides the label, without clauses about something else.
    pub core: String,
    /// Fields by name, `text` among them.
    pub fields: Vec<(&'static str, String)>,
}

/// Generated text with its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::demo::text) struct Document {
    pub core: String,
    pub fields: Vec<(&'static str, String)>,
    pub label: &'static str,
}

impl DemoTask {
    /// `count` documents of a split, each core once, labels in equal shares, shuffled.
    ///
    /// Cores are drawn until they fall into the split; a task whose templates can't make so many
    /// gives fewer, which a test excludes for the sizes in use.
    pub(in crate::demo::text) fn documents(&self, split: Split, count: usize, seed: u64) -> Vec<Document> {
        let mut draw = Draw::new(seed, &[self.name, split.name()]);
        let (mut documents, mut cores) = (Vec::new(), BTreeSet::new());
        for number in 0..count {
            let index = number % self.labels.len().max(1);
            for _ in 0..2000 {
                let content = (self.write)(index, &mut draw);
                if Split::of(self.name, &content.core) != split || !cores.insert(content.core.clone()) {
                    continue;
                }
                let label = self.labels.get(index).copied().unwrap_or("");
                documents.push(Document { core: content.core, fields: content.fields, label });
                break;
            }
        }
        draw.shuffle(&mut documents);
        documents
    }

    /// The prompt of a document, as the task file's template renders it.
    pub(in crate::demo::text) fn ask(&self, document: &Document) -> String {
        let mut prompt = self.prompt.to_owned();
        for (name, value) in &document.fields {
            prompt = prompt.replace(&format!("{{{{{name}}}}}"), value);
        }
        prompt
    }
}
