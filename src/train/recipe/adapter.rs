//! Trained parameters: LoRA's settings, or the full model.

use std::path::PathBuf;

use super::schema::{AdapterRecipe, LoraRecipe, StartAdapter, TargetModules};
use super::settings::{Settings, comma_list};
use crate::lora::ModulePattern;
use crate::yaml::{self, Diagnostics, Field, Fields, Range};

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

pub(super) fn resolve(settings: &Settings, diagnostics: &mut Diagnostics) -> AdapterRecipe {
    if trains_everything(settings, diagnostics) {
        for field in LORA_KEYS.iter().flat_map(|key| settings.all(key)) {
            diagnostics.warning(field.key, format!("`{}` has no effect: no adapter is trained", field.name), None);
        }
        if let Some(field) = settings.first("init_from") {
            let message = format!("`{}` names an adapter, but none is trained", field.name);
            diagnostics.error_help(field.key, message, "merge the adapter into the base model first");
        }
        return AdapterRecipe::Full;
    }
    let mut lora = LoraRecipe::default();
    if let Some(r) = settings.whole("lora_r", 1, diagnostics) {
        lora.r = r as usize;
    }
    // Twice the rank is what most recipes write.
    lora.lora_alpha = settings.number("lora_alpha", Range::POSITIVE, diagnostics).unwrap_or(2.0 * lora.r as f64);
    lora.lora_dropout = settings.number("lora_dropout", Range::BELOW_ONE, diagnostics).unwrap_or(0.0);
    lora.target_modules = targets(settings, diagnostics);
    lora.use_rslora = settings.read::<bool>("use_rslora", diagnostics).unwrap_or(false);
    lora.use_dora = settings.read::<bool>("use_dora", diagnostics).unwrap_or(false);
    let ranks = |field: Field<'_>, diagnostics: &mut Diagnostics| {
        Some(pattern(field, diagnostics, |field, diagnostics| Some(field.whole(1..=u64::MAX, diagnostics)? as usize)))
    };
    lora.rank_pattern = settings.read_with("rank_pattern", diagnostics, ranks).unwrap_or_else(Vec::new);
    let alphas = |field: Field<'_>, diagnostics: &mut Diagnostics| {
        Some(pattern(field, diagnostics, |field, diagnostics| field.number(Range::POSITIVE, diagnostics)))
    };
    lora.alpha_pattern = settings.read_with("alpha_pattern", diagnostics, alphas).unwrap_or_else(Vec::new);
    lora.modules_to_save = settings.list("modules_to_save", diagnostics).unwrap_or_else(Vec::new);
    let path = |field: Field<'_>, diagnostics: &mut Diagnostics| {
        // LLaMA-Factory takes several adapters here, merging all but the last.
        let paths = comma_list(field, diagnostics)?;
        match paths.as_slice() {
            [path] => {
                let is_open = |key: &&str| settings.first(key).is_none();
                let mut inherited: Vec<&str> = INHERITED.iter().copied().filter(is_open).collect();
                let linear = settings.first("lora_target_linear").and_then(Field::scalar);
                if linear.and_then(yaml::boolean) == Some(true) {
                    inherited.retain(|key| *key != "target_modules");
                }
                Some(StartAdapter { path: PathBuf::from(path), inherited })
            }
            _ => {
                let message = format!("`{}` must name one adapter", field.name);
                diagnostics.error_help(field.node.span, message, "merge the others into the base model first");
                None
            }
        }
    };
    lora.init_from = settings.read_with("init_from", diagnostics, path);
    AdapterRecipe::Lora(lora)
}

/// Whether the model itself is trained. A recipe that names no adapter means what the trainer means whose keys it is
/// written in: axolotl and TRL train every parameter, LLaMA-Factory LoRA. Our own recipes get LoRA.
fn trains_everything(settings: &Settings, diagnostics: &mut Diagnostics) -> bool {
    if settings.first("adapter").is_some() {
        return settings.read_with("adapter", diagnostics, kind).unwrap_or(false);
    }
    // A key that stands there empty is these trainers' way to say no.
    if settings.is_empty("adapter") || settings.is_empty("use_peft") {
        return true;
    }
    let trainer = Trainer::of(settings);
    let speaks_of_factors = LORA_KEYS.iter().chain(["init_from"].iter()).find_map(|key| settings.first(key));
    let cure = "write `adapter: lora`, or `adapter: full` to train every parameter";
    match (trainer, speaks_of_factors) {
        (Trainer::Axolotl | Trainer::Trl, Some(field)) => {
            let (name, switch) = trainer.switch();
            diagnostics.warning(
                field.key,
                format!(
                    "LoRA is trained, since `{}` is set; {name} would do so only with `{switch}`: {cure}",
                    field.name
                ),
                None,
            );
            false
        }
        (Trainer::Axolotl | Trainer::Trl, None) => {
            let (name, switch) = trainer.switch();
            diagnostics.warning(
                None,
                format!("every parameter is trained, as {name} does without `{switch}`; {cure}"),
                None,
            );
            true
        }
        (Trainer::Own, None) => {
            let message = format!("no `adapter` is named: LoRA of rank 16 is trained on all linear layers; {cure}");
            diagnostics.warning(None, message, None);
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
    fn of(settings: &Settings) -> Self {
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
        let names = |keys: &[&str]| keys.iter().any(|key| settings.names(key));
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
fn kind(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<bool> {
    let key = field.name;
    if key == "use_peft" {
        return field.read::<bool>(diagnostics).map(|peft| !peft);
    }
    let word = field.read::<String>(diagnostics)?;
    match word.to_lowercase().as_str() {
        "lora" => Some(false),
        "full" => Some(true),
        "qlora" => {
            let message = "`qlora`: LoRA is trained, on weights in f32 rather than quantised ones";
            diagnostics.warning(field.node.span, message, None);
            Some(false)
        }
        _ => {
            let message = format!("`{key}: {word}` is not supported");
            diagnostics.error_help(field.node.span, message, "write `lora`, or `full` to train every parameter");
            None
        }
    }
}

/// Characters that make a text a pattern rather than names.
fn is_pattern(text: &str) -> bool {
    text.contains(['*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '^', '$', '\\'])
}

fn targets(settings: &Settings, diagnostics: &mut Diagnostics) -> TargetModules {
    let named = settings.read_with("target_modules", diagnostics, target_modules);
    let linear = settings.read::<bool>("lora_target_linear", diagnostics).unwrap_or(false);
    let Some(named) = named else { return TargetModules::AllLinear };
    if let (true, Some(field)) = (linear, settings.first("target_modules"))
        && named != TargetModules::AllLinear
    {
        let others = ["embed", "wte", "lm_head", "norm"];
        let beyond =
            |names: &[String]| names.iter().any(|name| others.iter().any(|other| name.to_lowercase().contains(other)));
        match &named {
            TargetModules::Names(names) if !beyond(names) => diagnostics.warning(
                field.key,
                format!("`lora_target_linear` covers all linear layers, those of `{}` among them", field.name),
                None,
            ),
            _ => diagnostics.error_help(
                field.key,
                format!("`lora_target_linear` and `{}` choose different modules", field.name),
                "keep one of them",
            ),
        }
        return TargetModules::AllLinear;
    }
    named
}

fn target_modules(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<TargetModules> {
    let key = &field.name;
    if let Some(text) = field.scalar()
        && is_pattern(text)
    {
        if let Err(reason) = ModulePattern::whole(text) {
            diagnostics.error(field.node.span, format!("`{key}` is no regular expression: {reason}"));
            return None;
        }
        return Some(TargetModules::Pattern(text.to_owned()));
    }
    let names = comma_list(field, diagnostics)?;
    match names.as_slice() {
        [] => {
            diagnostics.error(field.node.span, format!("`{key}` names no module"));
            None
        }
        [all] if matches!(all.as_str(), "all" | "all-linear" | "all_linear") => Some(TargetModules::AllLinear),
        _ => {
            if let Some(odd) = names.iter().find(|name| is_pattern(name)) {
                let message = format!("`{odd}` is a pattern, and a list holds names");
                diagnostics.error_help(
                    field.node.span,
                    message,
                    format!("write one pattern as a text: `{key}: '...'`"),
                );
            }
            Some(TargetModules::Names(names))
        }
    }
}

/// Values by pattern, in order.
fn pattern<T>(
    field: Field<'_>,
    diagnostics: &mut Diagnostics,
    value: impl Fn(Field<'_>, &mut Diagnostics) -> Option<T>,
) -> Vec<(String, T)> {
    let mut found = Vec::new();
    for field in field.fields(diagnostics).into_iter().flat_map(Fields::iter) {
        if let Err(reason) = ModulePattern::tail(field.name) {
            diagnostics.error(field.key, format!("`{}` is no regular expression: {reason}", field.name));
        }
        if field.is_null() {
            diagnostics.error(field.node.span, format!("`{}` has no value", field.name));
        } else if let Some(value) = value(field, diagnostics) {
            found.push((field.name.to_owned(), value));
        }
    }
    found
}
