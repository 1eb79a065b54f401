//! `evaluation`: which tasks, asked how.

use indexmap::IndexMap;

use super::reader::Reader;
use crate::eval::protocol::Protocol;
use crate::experiment::schema::{Evaluation, Origin, Specialist};
use crate::task::Sampler;
use crate::yaml::{Node, boolean};

const KEYS: &[&str] = &[
    "seen",
    "unseen",
    "general",
    "protocol",
    "protocols",
    "metric",
    "limit",
    "validation_limit",
    "num_fewshot",
    "fewshot_seed",
    "fewshot_sampler",
    "fewshot_as_multiturn",
    "apply_chat_template",
    "system_instruction",
    "weights",
];
const WEIGHTS: [&str; 3] = ["f32", "bf16", "f16"];

impl Reader {
    pub(super) fn evaluation(&mut self, node: &Node, specialists: &IndexMap<String, Specialist>) -> Evaluation {
        let mut found = Evaluation { weights: "f32".to_owned(), ..Evaluation::default() };
        for (key, value) in self.entries(node, "`evaluation`", KEYS) {
            let key = key.value.as_str();
            match key {
                "seen" => found.seen = self.tasks(value, key),
                "unseen" => found.unseen = self.tasks(value, key),
                "general" => found.general = self.tasks(value, key),
                "protocol" | "protocols" => {
                    found.protocols = self.texts(value, key);
                    for name in found.protocols.iter().filter(|name| Protocol::named(name).is_none()) {
                        self.diagnostics.unknown(value.span, "protocol", name, &Protocol::NAMES);
                    }
                }
                "metric" => found.metric = self.text(value, key),
                "limit" => found.limit = self.whole(value, key),
                "validation_limit" => found.validation_limit = self.whole(value, key),
                "num_fewshot" => found.prompts.num_fewshot = self.whole(value, key),
                "fewshot_seed" => {
                    found.prompts.fewshot_seed = self.whole(value, key).unwrap_or(found.prompts.fewshot_seed);
                }
                "fewshot_sampler" => {
                    let name = self.text(value, key).unwrap_or_default();
                    found.prompts.sampler = Sampler::named(&name);
                    if found.prompts.sampler.is_none() {
                        self.diagnostics.unknown(value.span, "few-shot sampler", &name, &Sampler::NAMES);
                    }
                }
                "fewshot_as_multiturn" => match value.text().and_then(boolean) {
                    Some(multiturn) => found.prompts.fewshot_as_multiturn = multiturn,
                    None => self.diagnostics.error(value.span, format!("`{key}` must be true or false")),
                },
                "system_instruction" => found.prompts.system_instruction = self.text(value, key),
                "apply_chat_template" => {
                    found.prompts.chat_template = match value.text().map(boolean) {
                        Some(Some(true)) => Some(String::new()),
                        Some(Some(false)) => None,
                        _ => self.text(value, key),
                    };
                }
                "weights" => {
                    let word = self.text(value, key).unwrap_or_else(String::new);
                    if WEIGHTS.contains(&word.as_str()) {
                        found.weights = word;
                    } else {
                        self.diagnostics.unknown(value.span, "storage of weights", &word, &WEIGHTS);
                    }
                }
                _ => {}
            }
        }
        let learnt: Vec<&String> = specialists.values().flat_map(|s| &s.learns).collect();
        for task in found.unseen.iter().filter(|task| learnt.contains(task)) {
            let message = format!("task `{task}` is called unseen, and a specialist learns it");
            self.diagnostics.error_help(node.span, message, "list it under `seen`");
        }
        let mut names: Vec<&str> = found.tasks().map(|(name, _)| name).collect();
        names.sort_unstable();
        for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            self.diagnostics.error(node.span, format!("task `{}` is listed twice under `evaluation`", pair[0]));
        }
        found
    }

    fn tasks(&mut self, node: &Node, key: &str) -> Vec<String> {
        let names = self.texts(node, key);
        names.iter().map(|name| self.file_or_name(name)).collect()
    }
}

/// Without `seen`, the tasks that specialists learn are the seen ones.
pub(super) fn with_seen_tasks(mut evaluation: Evaluation, specialists: &IndexMap<String, Specialist>) -> Evaluation {
    if evaluation.seen.is_empty() {
        let other: Vec<String> = evaluation.tasks().map(|(name, _)| name.to_owned()).collect();
        let mut seen: Vec<String> = Vec::new();
        for specialist in specialists.values() {
            let tasks: Vec<String> = match &specialist.origin {
                Origin::Adapter(_) => specialist.learns.clone(),
                Origin::Trained { datasets, .. } => datasets
                    .iter()
                    .filter(|set| set.get("type").and_then(|t| t.as_str()) == Some("task"))
                    .filter_map(|set| Some(set.get("path")?.as_str()?.to_owned()))
                    .collect(),
            };
            for task in tasks {
                if !seen.contains(&task) && !other.contains(&task) {
                    seen.push(task);
                }
            }
        }
        evaluation.seen = seen;
    }
    evaluation
}
