//! Trained parameters: LoRA's settings, or the full model.

use std::path::PathBuf;

use super::fields::{self, Field, Fields, Notes, Range};
use super::parse::entries;
use super::schema::{AdapterRecipe, LoraRecipe, StartAdapter, TargetModules};
use crate::lora::ModulePattern;
use crate::yaml::{self, Kind, Severity};

/// Keys that speak of factors.
const LORA_KEYS: &[&str] = &[
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "lora_target_linear",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
];

/// Settings that an adapter to start from brings with it where the recipe does not set them.
const INHERITED: &[&str] = &[
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
];

pub(super) fn resolve(fields: &Fields, notes: &mut Notes) -> AdapterRecipe {
    if trains_everything(fields, notes) {
        for field in LORA_KEYS.iter().flat_map(|key| fields.all(key)) {
            notes.warning(field.key.span, format!("`{}` has no effect: no adapter is trained", field.key.value));
        }
        if let Some(field) = fields.first("init_from") {
            let message = format!("`{}` names an adapter, but none is trained", field.key.value);
            notes.error_help(field.key.span, message, "merge the adapter into the base model first");
        }
        return AdapterRecipe::Full;
    }
    let mut lora = LoraRecipe::default();
    if let Some(r) = fields.whole("lora_r", 1, notes) {
        lora.r = r as usize;
    }
    // Twice the rank is what most recipes write.
    lora.lora_alpha = fields.number("lora_alpha", Range::Positive, notes).unwrap_or(2.0 * lora.r as f64);
    lora.lora_dropout = fields.number("lora_dropout", Range::Share, notes).unwrap_or(0.0);
    lora.target_modules = targets(fields, notes);
    lora.use_rslora = fields.boolean("use_rslora", notes).unwrap_or(false);
    lora.use_dora = fields.boolean("use_dora", notes).unwrap_or(false);
    let ranks = |field: &Field, notes: &mut Notes| {
        Some(pattern(field, notes, |node, key, notes| fields::whole(node, key, 1, notes).map(|n| n as usize)))
    };
    lora.rank_pattern = fields.read("rank_pattern", notes, ranks).unwrap_or_else(Vec::new);
    let alphas = |field: &Field, notes: &mut Notes| {
        Some(pattern(field, notes, |node, key, notes| Range::Positive.number(node, key, notes)))
    };
    lora.alpha_pattern = fields.read("alpha_pattern", notes, alphas).unwrap_or_else(Vec::new);
    let names = |field: &Field, notes: &mut Notes| fields::list(&field.node, &field.key.value, notes);
    lora.modules_to_save = fields.read("modules_to_save", notes, names).unwrap_or_else(Vec::new);
    let path = |field: &Field, notes: &mut Notes| {
        // LLaMA-Factory takes several adapters here, merging all but the last.
        let paths = fields::list(&field.node, &field.key.value, notes)?;
        match paths.as_slice() {
            [path] => {
                let is_open = |key: &&str| fields.first(key).is_none();
                let mut inherited: Vec<&str> = INHERITED.iter().copied().filter(is_open).collect();
                let linear = fields.first("lora_target_linear").and_then(|field| field.node.text());
                if linear.and_then(yaml::boolean) == Some(true) {
                    inherited.retain(|key| *key != "target_modules");
                }
                Some(StartAdapter { path: PathBuf::from(path), inherited })
            }
            _ => {
                let message = format!("`{}` must name one adapter", field.key.value);
                notes.error_help(field.node.span, message, "merge the others into the base model first");
                None
            }
        }
    };
    lora.init_from = fields.read("init_from", notes, path);
    AdapterRecipe::Lora(lora)
}

/// Whether the model itself is trained. A recipe that names no adapter means what the trainer means whose keys it is
/// written in: axolotl and TRL train every parameter, LLaMA-Factory LoRA. Our own recipes get LoRA.
fn trains_everything(fields: &Fields, notes: &mut Notes) -> bool {
    if fields.first("adapter").is_some() {
        return fields.read("adapter", notes, kind).unwrap_or(false);
    }
    // A key that stands there empty is these trainers' way to say no.
    if fields.is_empty("adapter") || fields.is_empty("use_peft") {
        return true;
    }
    let trainer = Trainer::of(fields);
    let speaks_of_factors = LORA_KEYS.iter().chain(["init_from"].iter()).find_map(|key| fields.first(key));
    let cure = "write `adapter: lora`, or `adapter: full` to train every parameter";
    match (trainer, speaks_of_factors) {
        (Trainer::Axolotl | Trainer::Trl, Some(field)) => {
            let (name, switch) = trainer.switch();
            notes.warning(
                field.key.span,
                format!(
                    "LoRA is trained, since `{}` is set; {name} would do so only with `{switch}`: {cure}",
                    field.key.value
                ),
            );
            false
        }
        (Trainer::Axolotl | Trainer::Trl, None) => {
            let (name, switch) = trainer.switch();
            notes.diagnostics.push(
                Severity::Warning,
                None,
                format!("every parameter is trained, as {name} does without `{switch}`; {cure}"),
                None,
            );
            true
        }
        (Trainer::Own, None) => {
            let message = format!("no `adapter` is named: LoRA of rank 16 is trained on all linear layers; {cure}");
            notes.diagnostics.push(Severity::Warning, None, message, None);
            false
        }
        (Trainer::Own, Some(_)) | (Trainer::LlamaFactory, _) => false,
    }
}

/// The trainer that a recipe was written for, recognised by keys that only it has.
#[derive(Clone, Copy)]
enum Trainer {
    Own,
    Axolotl,
    LlamaFactory,
    Trl,
}

impl Trainer {
    fn of(fields: &Fields) -> Self {
        const LLAMA_FACTORY: &[&str] = &[
            "stage",
            "finetuning_type",
            "template",
            "cutoff_len",
            "dataset_dir",
            "lora_rank",
            "lora_target",
            "additional_target",
            "adapter_name_or_path",
            "neat_packing",
            "train_on_prompt",
            "mask_history",
            "plot_loss",
            "preprocessing_num_workers",
            "overwrite_cache",
            "val_size",
        ];
        const AXOLOTL: &[&str] = &[
            "model_type",
            "tokenizer_type",
            "base_model_config",
            "is_llama_derived_model",
            "is_mistral_derived_model",
            "is_qwen_derived_model",
            "is_falcon_derived_model",
            "strict",
            "load_in_8bit",
            "load_in_4bit",
            "gptq",
            "dataset_prepared_path",
            "pad_to_sequence_len",
            "eval_sample_packing",
            "flash_attention",
            "xformers_attention",
            "sdp_attention",
            "flex_attention",
            "s2_attention",
            "special_tokens",
            "wandb_entity",
            "wandb_project",
            "wandb_watch",
            "wandb_name",
            "wandb_log_model",
            "plugins",
            "pretraining_dataset",
            "shuffle_merged_datasets",
            "train_on_eos",
            "auto_resume_from_checkpoints",
        ];
        const TRL: &[&str] = &["model_name_or_path", "dataset_name", "dataset_mixture"];
        let names = |keys: &[&str]| keys.iter().any(|key| fields.names(key));
        match () {
            () if names(LLAMA_FACTORY) => Self::LlamaFactory,
            () if names(AXOLOTL) => Self::Axolotl,
            () if names(TRL) => Self::Trl,
            () => Self::Own,
        }
    }

    /// Key of the initialisation, and the setting that makes it train an adapter.
    fn switch(self) -> (&'static str, &'static str) {
        match self {
            Self::Trl => ("TRL", "use_peft: true"),
            _ => ("axolotl", "adapter: lora"),
        }
    }
}

/// Whether everything is trained.
fn kind(field: &Field, notes: &mut Notes) -> Option<bool> {
    let key = field.key.value.as_str();
    if key == "use_peft" {
        return fields::boolean(&field.node, key, notes).map(|peft| !peft);
    }
    let word = fields::text(&field.node, key, notes)?;
    match word.to_lowercase().as_str() {
        "lora" => Some(false),
        "full" => Some(true),
        "qlora" => {
            let message = "`qlora`: LoRA is trained, on weights in f32 rather than quantised ones";
            notes.warning(field.node.span, message);
            Some(false)
        }
        _ => {
            let message = format!("`{key}: {word}` is not supported");
            notes.error_help(field.node.span, message, "write `lora`, or `full` to train every parameter");
            None
        }
    }
}

/// Characters that make a text a pattern rather than names.
fn is_pattern(text: &str) -> bool {
    text.contains(['*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '^', '$', '\\'])
}

fn targets(fields: &Fields, notes: &mut Notes) -> TargetModules {
    let named = fields.read("target_modules", notes, target_modules);
    let linear = fields.boolean("lora_target_linear", notes).unwrap_or(false);
    let Some(named) = named else { return TargetModules::AllLinear };
    if let (true, Some(field)) = (linear, fields.first("target_modules"))
        && named != TargetModules::AllLinear
    {
        let others = ["embed", "wte", "lm_head", "norm"];
        let beyond =
            |names: &[String]| names.iter().any(|name| others.iter().any(|other| name.to_lowercase().contains(other)));
        match &named {
            TargetModules::Names(names) if !beyond(names) => notes.warning(
                field.key.span,
                format!("`lora_target_linear` covers all linear layers, those of `{}` among them", field.key.value),
            ),
            _ => notes.error_help(
                field.key.span,
                format!("`lora_target_linear` and `{}` choose different modules", field.key.value),
                "keep one of them",
            ),
        }
        return TargetModules::AllLinear;
    }
    named
}

fn target_modules(field: &Field, notes: &mut Notes) -> Option<TargetModules> {
    let key = &field.key.value;
    if let Some(text) = field.node.text()
        && is_pattern(text)
    {
        if let Err(reason) = ModulePattern::whole(text) {
            notes.error(field.node.span, format!("`{key}` is no regular expression: {reason}"));
            return None;
        }
        return Some(TargetModules::Pattern(text.to_owned()));
    }
    let names = fields::list(&field.node, key, notes)?;
    match names.as_slice() {
        [] => {
            notes.error(field.node.span, format!("`{key}` names no module"));
            None
        }
        [all] if matches!(all.as_str(), "all" | "all-linear" | "all_linear") => Some(TargetModules::AllLinear),
        _ => {
            if let Some(odd) = names.iter().find(|name| is_pattern(name)) {
                let message = format!("`{odd}` is a pattern, and a list holds names");
                notes.error_help(field.node.span, message, format!("write one pattern as a text: `{key}: '...'`"));
            }
            Some(TargetModules::Names(names))
        }
    }
}

/// Values by pattern, in order.
fn pattern<T>(
    field: &Field,
    notes: &mut Notes,
    value: impl Fn(&yaml::Node, &str, &mut Notes) -> Option<T>,
) -> Vec<(String, T)> {
    let mut found = Vec::new();
    for (name, node) in entries(&field.node, &field.key.value, notes) {
        if let Err(reason) = ModulePattern::tail(&name.value) {
            notes.error(name.span, format!("`{}` is no regular expression: {reason}", name.value));
        }
        if node.kind == Kind::Null {
            notes.error(node.span, format!("`{}` has no value", name.value));
        } else if let Some(value) = value(node, &name.value, notes) {
            found.push((name.value.clone(), value));
        }
    }
    found
}
