//! Data and task files of the demo.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::corpus::{Sample, pretraining};
use super::split::{Split, SplitSizes};
use super::tasks::{DemoTask, Document, TASKS};
use crate::storage::publish::{WriteError, publish_file};
use crate::task::Role;

/// Summary of the written data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataSummary {
    /// Task name, split and number of documents, in the order of the tasks.
    pub splits: Vec<(String, String, usize)>,
    /// Rows of the base model's chats and plain texts.
    pub pretraining: (usize, usize),
}

/// Writes the demo's data below a directory: `TASK.yml` and `TASK/{train,validation,test}.jsonl` for
/// each task, the groups `demo_seen`, `demo_unseen` and `demo_general`, and the base model's training
/// data, `pretraining/chat.jsonl` (`messages`) and `pretraining/text.jsonl` (`text`). The same seed
/// gives the same bytes.
///
/// # Errors
/// I/O errors; each file is there whole or not at all.
pub fn write_data(directory: &Path, seed: u64) -> Result<DataSummary, WriteError> {
    let (mut summary, sizes) = (DataSummary::default(), SplitSizes::default());
    for task in TASKS {
        for split in splits(task) {
            let documents = task.documents(*split, sizes.of(*split), seed);
            let rows = documents.iter().enumerate().map(|(number, document)| row(task, *split, number, document));
            publish_file(&directory.join(task.name).join(format!("{}.jsonl", split.name())), &lines(rows))?;
            summary.splits.push((task.name.to_owned(), split.name().to_owned(), documents.len()));
        }
        publish_file(&directory.join(format!("{}.yml", task.name)), task_file(task).as_bytes())?;
    }
    for role in [Role::Seen, Role::Unseen, Role::General] {
        let mut text = format!("group: demo_{}\ntask:\n", role.name());
        for task in TASKS.iter().filter(|task| task.role == role) {
            text.push_str(&format!("  - {}\n", task.name));
        }
        publish_file(&directory.join(format!("demo_{}.yml", role.name())), text.as_bytes())?;
    }
    let (mut chats, mut texts) = (Vec::new(), Vec::new());
    for sample in pretraining(seed) {
        match sample {
            Sample::Chat(asked, answer) => chats.push(json!({"messages": [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
            ]})),
            Sample::Plain(text) => texts.push(json!({"text": text})),
        }
    }
    summary.pretraining = (chats.len(), texts.len());
    publish_file(&directory.join("pretraining/chat.jsonl"), &lines(chats.into_iter()))?;
    publish_file(&directory.join("pretraining/text.jsonl"), &lines(texts.into_iter()))?;
    Ok(summary)
}

/// Splits that are written: tasks that nobody is trained on have no training documents.
fn splits(task: &DemoTask) -> &'static [Split] {
    match task.role {
        Role::Seen => &[Split::Train, Split::Validation, Split::Test],
        Role::Unseen | Role::General => &[Split::Validation, Split::Test],
    }
}

fn row(task: &DemoTask, split: Split, number: usize, document: &Document) -> Value {
    let mut row = Map::new();
    row.insert("id".into(), format!("{}-{}-{number:04}", task.name, split.name()).into());
    row.extend(document.fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())));
    row.insert("label".into(), document.label.into());
    row.into()
}

fn lines(rows: impl Iterator<Item = Value>) -> Vec<u8> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&row.to_string());
        text.push('\n');
    }
    text.into_bytes()
}

fn task_file(task: &DemoTask) -> String {
    let mut text = format!("# Made for the demo: {}.\ntask: {}\n", task.about, task.name);
    text.push_str("dataset_path: json\ndataset_kwargs:\n  data_files:\n");
    for split in splits(task) {
        text.push_str(&format!("    {0}: {1}/{0}.jsonl\n", split.name(), task.name));
    }
    if splits(task).contains(&Split::Train) {
        text.push_str("training_split: train\nfewshot_split: train\n");
    } else {
        text.push_str("fewshot_split: validation\n");
    }
    text.push_str("validation_split: validation\ntest_split: test\noutput_type: multiple_choice\n");
    // JSON texts are YAML texts.
    text.push_str(&format!("doc_to_text: {}\ndoc_to_target: label\ndoc_to_choice:\n", json!(task.prompt)));
    for label in task.labels {
        text.push_str(&format!("  - {}\n", json!(label)));
    }
    text.push_str("metric_list:\n");
    for (metric, aggregation) in [("acc", "mean"), ("mcc", "matthews_corrcoef")] {
        text.push_str(&format!("  - metric: {metric}\n    aggregation: {aggregation}\n    higher_is_better: true\n"));
    }
    let role = task.role.name();
    text.push_str(&format!("metadata:\n  version: 1.0\n  role: {role}\n  metrics: [f1_weighted, f1_macro]\n"));
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::task::{self, PromptSettings, Task};

    fn read(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn no_core_is_in_two_splits_and_labels_are_in_balance() {
        for task in TASKS {
            let sizes = SplitSizes::default();
            let mut cores = BTreeSet::new();
            let all = [(Split::Pretraining, 1000)].into_iter().chain(splits(task).iter().map(|s| (*s, sizes.of(*s))));
            for (split, count) in all {
                let documents = task.documents(split, count, 3);
                assert_eq!(documents.len(), count, "{} {}", task.name, split.name());
                let mut labels = BTreeMap::new();
                for document in &documents {
                    *labels.entry(document.label).or_insert(0_usize) += 1;
                    assert!(cores.insert(document.core.clone()), "{}: `{}` twice", task.name, document.core);
                    let fields = document.fields.iter().map(|(_, value)| value.as_str());
                    for text in fields.chain([task.ask(document).as_str()]) {
                        assert!(!text.contains(['{', '}']) && !text.contains("  "), "{}: {text}", task.name);
                    }
                }
                assert_eq!(labels.len(), task.labels.len());
                let (least, most) = (labels.values().min().unwrap(), labels.values().max().unwrap());
                assert!(most - least <= 1, "{}: {labels:?}", task.name);
            }
            // Another seed may not move a core of one split into another.
            let other: Vec<_> = task.documents(Split::Test, 400, 4).into_iter().map(|d| d.core).collect();
            let trained = task.documents(Split::Train, 1000, 3);
            assert!(trained.iter().all(|document| !other.contains(&document.core)));
        }
    }

    /// The best rule of one word (or of a pair of neighbours): a label for documents with it, another
    /// for those without. No task may fall to it.
    #[test]
    fn no_single_word_gives_the_label_away() {
        for task in TASKS {
            let documents = task.documents(Split::Validation, 300, 0);
            let mut counts: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
            let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
            for document in &documents {
                *totals.entry(document.label).or_default() += 1;
                let text = task.ask(document).to_lowercase();
                let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
                for word in words {
                    *counts.entry(word.to_owned()).or_default().entry(document.label).or_default() += 1;
                }
            }
            let right = |with: &BTreeMap<&str, usize>| {
                let best_with = with.values().max().copied().unwrap_or(0);
                let without = totals.iter().map(|(label, total)| total - with.get(label).copied().unwrap_or(0));
                best_with + without.max().unwrap_or(0)
            };
            let (word, best) = counts.iter().map(|(word, with)| (word, right(with))).max_by_key(|(_, n)| *n).unwrap();
            let share = best as f64 / documents.len() as f64;
            let chance = 1.0 / task.labels.len() as f64;
            assert!(share < chance + 0.25, "{}: `{word}` alone is right in {share:.2}", task.name);
        }
    }

    #[test]
    fn the_files_load_and_ask_what_the_base_model_was_asked() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let write = |(folder, seed): (&tempfile::TempDir, u64)| write_data(folder.path(), seed).unwrap();
        let summaries: Vec<_> = folders.iter().zip([0, 0, 1]).map(write).collect();
        assert_eq!(summaries[0], summaries[1]);
        let files =
            ["demo_relation.yml", "demo_relation/train.jsonl", "pretraining/chat.jsonl", "pretraining/text.jsonl"];
        let bytes = |folder: usize, file: &str| std::fs::read(folders[folder].path().join(file)).unwrap();
        for file in files {
            assert_eq!(bytes(0, file), bytes(1, file), "{file}");
        }
        assert_ne!(bytes(0, files[1]), bytes(2, files[1]));
        let folder = folders[0].path();
        let groups = ["demo_seen", "demo_unseen", "demo_general"].map(str::to_owned);
        let set = task::load_from(&groups, &[folder.to_owned()]).unwrap();
        assert_eq!((set.warnings.len(), set.tasks.len()), (0, TASKS.len()));
        for config in set.tasks {
            let demo = TASKS.iter().find(|task| task.name == config.name).unwrap();
            assert_eq!(config.role, Some(demo.role));
            let task = Task::open(config, None).unwrap();
            assert_eq!((task.documents().len(), task.warnings().len()), (400, 0));
            let prompts = task.prompts(&PromptSettings::default()).unwrap();
            let documents = demo.documents(Split::Test, 400, 0);
            for (rendered, document) in prompts.rendered.iter().zip(&documents) {
                assert!(rendered.context.ends_with(&demo.ask(document)), "{}", rendered.context);
            }
        }
        // The base model's chats: of every task, and none of a test document.
        let chats = read(&folder.join("pretraining/chat.jsonl"));
        assert_eq!(chats.len(), summaries[0].pretraining.0);
        let asked: BTreeSet<&str> = chats.iter().map(|chat| chat["messages"][0]["content"].as_str().unwrap()).collect();
        for task in TASKS {
            let pretrained = task.documents(Split::Pretraining, 300, 0);
            assert!(pretrained.iter().all(|document| asked.contains(task.ask(document).as_str())), "{}", task.name);
            for split in splits(task) {
                let documents = task.documents(*split, 300, 0);
                assert!(documents.iter().all(|document| !asked.contains(task.ask(document).as_str())), "{}", task.name);
            }
        }
    }
}
