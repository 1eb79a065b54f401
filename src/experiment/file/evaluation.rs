//! `evaluation`: which tasks, asked how.

use indexmap::IndexMap;

use super::reader::Reader;
use crate::eval::protocol::Protocol;
use crate::experiment::schema::{Evaluation, Origin, Specialist};
use crate::task::Sampler;
use crate::yaml::{Field, Fields, Node, boolean};

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
        let fields = Fields::of_optional(node, "`evaluation`", &mut self.diagnostics);
        for field in fields.known("key", KEYS, &mut self.diagnostics).iter() {
            match field.name {
                "seen" => found.seen = self.tasks(field),
                "unseen" => found.unseen = self.tasks(field),
                "general" => found.general = self.tasks(field),
                "protocol" | "protocols" => {
                    found.protocols = self.texts(field);
                    for name in found.protocols.iter().filter(|name| Protocol::named(name).is_none()) {
                        self.diagnostics.unknown(field.node.span, "protocol", name, &Protocol::NAMES);
                    }
                }
                "metric" => found.metric = field.read(&mut self.diagnostics),
                "limit" => found.limit = field.read(&mut self.diagnostics),
                "validation_limit" => found.validation_limit = field.read(&mut self.diagnostics),
                "num_fewshot" => found.prompts.num_fewshot = field.read(&mut self.diagnostics),
                "fewshot_seed" => {
                    let seed = field.read(&mut self.diagnostics);
                    found.prompts.fewshot_seed = seed.unwrap_or(found.prompts.fewshot_seed);
                }
                "fewshot_sampler" => {
                    let words = Sampler::NAMES.map(|name| (name, Sampler::named(name)));
                    found.prompts.sampler = field.one_of("few-shot sampler", &words, &mut self.diagnostics).flatten();
                }
                "fewshot_as_multiturn" => {
                    let multiturn = field.read(&mut self.diagnostics);
                    found.prompts.fewshot_as_multiturn = multiturn.unwrap_or(found.prompts.fewshot_as_multiturn);
                }
                "system_instruction" => found.prompts.system_instruction = field.read(&mut self.diagnostics),
                "apply_chat_template" => {
                    found.prompts.chat_template = match field.scalar().map(boolean) {
                        Some(Some(true)) => Some(String::new()),
                        Some(Some(false)) => None,
                        _ => field.read(&mut self.diagnostics),
                    };
                }
                "weights" => {
                    let words = WEIGHTS.map(|word| (word, word));
                    if let Some(word) = field.one_of("storage of weights", &words, &mut self.diagnostics) {
                        word.clone_into(&mut found.weights);
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

    fn tasks(&mut self, field: Field<'_>) -> Vec<String> {
        let names = self.texts(field);
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
