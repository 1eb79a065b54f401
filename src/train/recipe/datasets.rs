//! The data sets of a mix.

use std::path::Path;

use super::schema::{DataFormat, DatasetRecipe};
use super::settings::{Settings, choice, comma_list};
use crate::yaml::{Diagnostics, Field, Fields, Kind, Node, Range};

/// Keys of an entry.
const KEYS: &[&str] =
    &["name", "path", "format", "type", "formatting", "split", "weight", "max_rows", "num_samples", "share"];

/// Names of the formats: our own first.
pub(super) const FORMATS: &[(&str, DataFormat)] = &[
    ("auto", DataFormat::Auto),
    ("task", DataFormat::Task),
    ("messages", DataFormat::Messages),
    ("prompt_completion", DataFormat::PromptCompletion),
    ("alpaca", DataFormat::Alpaca),
    ("sharegpt", DataFormat::ShareGpt),
    ("text", DataFormat::Text),
    ("tokenised", DataFormat::Tokenised),
    ("tokenized", DataFormat::Tokenised),
    ("chat_template", DataFormat::Messages),
    ("chat", DataFormat::Messages),
    ("openai", DataFormat::Messages),
    ("completion", DataFormat::Text),
    ("pretrain", DataFormat::Text),
];

/// Keys of other trainers' entries with the values that say what is done here anyway.
const AGREED: &[(&str, &[&str])] = &[
    ("ds_type", &["json", "jsonl"]),
    ("field", &["text"]),
    ("field_messages", &["messages", "conversations"]),
    ("field_tools", &["tools"]),
    ("field_system", &["system"]),
    ("field_thinking", &["reasoning_content"]),
    ("template_thinking_key", &["reasoning_content"]),
    ("message_field_training", &["train", "training", "trainable", "weight", "loss"]),
    ("drop_system_message", &["false"]),
    ("train_on_eot", &["turn"]),
    ("split_thinking", &["false"]),
    ("revision", &["main"]),
    ("roles_to_train", &["assistant", "gpt"]),
    ("train_on_eos", &["turn"]),
    ("train_on_split", &["train"]),
    ("chat_template", &["tokenizer_default"]),
    ("message_field_role", &["role", "from"]),
    ("message_field_content", &["content", "value"]),
    ("trust_remote_code", &["false"]),
    ("conversation", &["chatml"]),
];

/// Speakers of messages by role, in the words of `ShareGPT` and `LLaMA-Factory`.
pub(in crate::train) const SPEAKERS: &[(&str, &str)] = &[
    ("human", "user"),
    ("user", "user"),
    ("gpt", "assistant"),
    ("assistant", "assistant"),
    ("chatgpt", "assistant"),
    ("model", "assistant"),
    ("bot", "assistant"),
    ("system", "system"),
    ("function_call", "assistant"),
    ("observation", "tool"),
    ("function_response", "tool"),
    ("tool", "tool"),
];

pub(super) fn resolve(settings: &Settings, diagnostics: &mut Diagnostics) -> Vec<DatasetRecipe> {
    let most = settings.whole("max_samples", 1, diagnostics).map(|rows| rows as usize);
    let Some(field) = settings.first("datasets") else {
        let help = "list tasks or JSONL files under `datasets:`";
        diagnostics.error_help(None, "`datasets` is missing", help);
        return Vec::new();
    };
    if let Some(second) = settings.all("datasets").nth(1) {
        let message = format!("`{}` and `{}` both list data sets", field.name, second.name);
        diagnostics.error_help(second.key, message, "keep one of them");
    }
    let mut sets = match &field.node.kind {
        Kind::Sequence(items) => items.iter().flat_map(|item| entry(item, diagnostics)).collect(),
        Kind::Mapping(_) => entry(field.node, diagnostics),
        _ => {
            let paths = comma_list(field, diagnostics).unwrap_or_else(Vec::new);
            paths.into_iter().map(plain).collect()
        }
    };
    if sets.is_empty() {
        diagnostics.error(field.key, format!("`{}` lists no data set", field.name));
    }
    for set in &mut sets {
        set.max_rows = set.max_rows.or(most);
    }
    name(&mut sets, field, diagnostics);
    shares(&sets, field, diagnostics);
    sets
}

fn plain(path: String) -> DatasetRecipe {
    DatasetRecipe {
        name: String::new(),
        path,
        format: DataFormat::Auto,
        split: None,
        weight: None,
        max_rows: None,
        share: None,
    }
}

/// One entry, which is several data sets where it lists several files.
fn entry(node: &Node, diagnostics: &mut Diagnostics) -> Vec<DatasetRecipe> {
    let fields = match &node.kind {
        Kind::Mapping(_) => Fields::within(node),
        Kind::Scalar { text, .. } if !text.is_empty() => return vec![plain(text.clone())],
        _ => {
            diagnostics.error(node.span, format!("a data set must be a path or a mapping, not {}", node.describe()));
            return Vec::new();
        }
    };
    let mut set = plain(String::new());
    let mut files = Vec::new();
    let mut conversations = false;
    for field in fields.iter().filter(|field| !field.is_null()) {
        let Field { name, key, node: value } = field;
        match name {
            "path" => set.path = field.read(diagnostics).unwrap_or_else(String::new),
            "name" => set.name = field.read(diagnostics).unwrap_or_else(String::new),
            "format" | "type" | "formatting" => {
                let format = match &value.kind {
                    Kind::Mapping(_) => {
                        let message = format!("`{name}` with fields of its own is not supported");
                        diagnostics.error_help(value.span, message, "rename the columns to those of a known format");
                        None
                    }
                    _ => choice(field, FORMATS, diagnostics),
                };
                set.format = format.unwrap_or(set.format);
            }
            "split" => set.split = field.read(diagnostics),
            "weight" => set.weight = field.number(Range::POSITIVE, diagnostics),
            "max_rows" | "num_samples" => {
                set.max_rows = field.whole(1..=u64::MAX, diagnostics).map(|rows| rows as usize);
            }
            "share" => set.share = field.number(Range::PROPER_SHARE, diagnostics),
            "message_property_mappings" => properties(field, diagnostics),
            "roles" => roles(field, diagnostics),
            "data_files" => files = comma_list(field, diagnostics).unwrap_or_else(Vec::new),
            _ => match AGREED.iter().find(|(known, _)| *known == name) {
                Some((_, agreed)) => {
                    let found = comma_list(field, diagnostics).unwrap_or_else(Vec::new);
                    conversations |= name == "field_messages" && found == ["conversations"];
                    if !found.iter().all(|word| agreed.contains(&word.to_lowercase().as_str())) {
                        let message = format!("`{name}` of a data set may only say {}", agreed.join(" or "));
                        diagnostics.error_help(value.span, message, "prepare the rows in one of the known formats");
                    }
                }
                None => diagnostics.unknown(key, "key of a data set:", name, KEYS),
            },
        }
    }
    if conversations && set.format == DataFormat::Messages {
        set.format = DataFormat::ShareGpt;
    }
    if set.weight.is_some() && set.share.is_some() {
        diagnostics.error_help(node.span, "a data set has either a `weight` or a `share`", "keep one of them");
    }
    // The loaders of other trainers are named by file type, the files apart.
    if matches!(set.path.as_str(), "json" | "jsonl") && !files.is_empty() {
        let numbered = files.len() > 1 && !set.name.is_empty();
        let with_path = |(index, path): (usize, String)| {
            let name = if numbered { format!("{}_{}", set.name, index + 1) } else { set.name.clone() };
            DatasetRecipe { name, path, ..set.clone() }
        };
        return files.into_iter().enumerate().map(with_path).map(whole_file).collect();
    }
    if !files.is_empty() {
        diagnostics.error_help(node.span, "`data_files` goes with `path: json`", "name the file as `path`");
    }
    if set.path.is_empty() {
        diagnostics.error(node.span, "a data set needs a `path`");
    }
    vec![whole_file(set)]
}

/// Names of a message's keys; only those that are read anyway.
fn properties(mappings: Field<'_>, diagnostics: &mut Diagnostics) {
    for property in mappings.fields(diagnostics).into_iter().flat_map(Fields::iter) {
        let Some(name) = property.read::<String>(diagnostics) else { continue };
        let known: &[&str] = match property.name {
            "role" => &["role", "from"],
            "content" => &["content", "value"],
            other => &[other],
        };
        if !known.contains(&name.as_str()) {
            let message = format!("`{}` may only map `{}` to {}", mappings.name, property.name, known.join(" or "));
            diagnostics.error_help(property.node.span, message, "rename the key in the messages");
        }
    }
}

/// Names of speakers by role; only those that are known anyway.
fn roles(roles: Field<'_>, diagnostics: &mut Diagnostics) {
    for role in roles.fields(diagnostics).into_iter().flat_map(Fields::iter) {
        for name in comma_list(role, diagnostics).unwrap_or_else(Vec::new) {
            if name != role.name && !SPEAKERS.contains(&(name.as_str(), role.name)) {
                let message = format!("`{}`: `{name}` is not read as `{}`", roles.name, role.name);
                diagnostics.error_help(role.node.span, message, "rename the speaker in the messages");
            }
        }
    }
}

/// A data file has no splits; `split: train`, which other trainers want for it, means the whole of it.
fn whole_file(mut set: DatasetRecipe) -> DatasetRecipe {
    if Path::new(&set.path).extension().is_some_and(|end| end == "json" || end == "jsonl") {
        set.split = set.split.filter(|split| split != "train");
    }
    set
}

/// Names what has no name after its path, and sees to it that no two share one.
fn name(sets: &mut [DatasetRecipe], field: Field<'_>, diagnostics: &mut Diagnostics) {
    let mut taken: Vec<String> = Vec::new();
    for set in sets.iter().filter(|set| !set.name.is_empty()) {
        if taken.contains(&set.name) {
            diagnostics.error(field.key, format!("two data sets are called `{}`", set.name));
        }
        taken.push(set.name.clone());
    }
    for set in sets.iter_mut().filter(|set| set.name.is_empty()) {
        let path = Path::new(&set.path);
        let is_file = path.extension().is_some_and(|end| ["json", "jsonl", "yml", "yaml"].iter().any(|e| end == *e));
        let stem = path.file_stem().filter(|_| is_file).map(|stem| stem.to_string_lossy().into_owned());
        let stem = stem.unwrap_or_else(|| set.path.clone());
        let numbered = (2..).map(|n| format!("{stem}_{n}"));
        let mut free = std::iter::once(stem.clone()).chain(numbered).filter(|name| !taken.contains(name));
        set.name = free.next().expect("numbers do not end");
        taken.push(set.name.clone());
    }
}

/// Shares are parts of a whole that the other sets fill.
fn shares(sets: &[DatasetRecipe], field: Field<'_>, diagnostics: &mut Diagnostics) {
    let total: f64 = sets.iter().filter_map(|set| set.share).sum();
    if total > 0.0 && sets.iter().all(|set| set.share.is_some()) {
        let help = "leave `share` out for at least one: its rows are what the shares are measured against";
        diagnostics.error_help(field.key, "every data set has a `share`", help);
    } else if total >= 1.0 {
        let message = format!("the shares add up to {total}, which leaves no room for the other data sets");
        diagnostics.error(field.key, message);
    }
}
