//! From a recipe's text to its settings.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::schema::{AdapterRecipe, ExcessLength, Scheduler, TrainRecipe, UnsupportedSystem, Warmup};
use super::settings::Settings;
use super::{adapter, datasets};
use crate::error::{Diagnose, ErrorKind};
use crate::train::recipe::intervals;
use crate::yaml::diagnostic::SourceText;
use crate::yaml::{self, Diagnostics, Field, Fields, Kind, Node, Range, RecipeError};

/// A recipe and the rendered warnings about it.
pub(crate) type Parsed = (TrainRecipe, Vec<String>);

/// A recipe file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("cannot read the training recipe {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        source: io::Error,
    },
    /// The recipe has faults.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
}

impl Diagnose for LoadError {
    fn is_laid_out(&self) -> bool {
        matches!(self, Self::Recipe(_))
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } => ErrorKind::Usage,
            Self::Recipe(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Read { .. } => vec!["name a YAML file; recipes/train has examples".to_owned()],
            Self::Recipe(error) => error.hints(),
        }
    }
}

impl TrainRecipe {
    /// Reads a recipe; `name` is how the user calls it.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn parse(name: &str, text: &str) -> Result<Parsed, RecipeError> {
        Self::parse_with(name, text, &[])
    }

    /// Reads a recipe of which some keys are set anew, by any of their names: `("lora_r", "8")`,
    /// `("evaluation.limit", "100")`, `("datasets.0.weight", "2")`, `("datasets", "[fpb, fomc]")`. An
    /// empty value takes a setting back.
    ///
    /// # Errors
    /// As [`TrainRecipe::parse`]; a fault of an override quotes it.
    pub fn parse_with(name: &str, text: &str, overrides: &[(String, String)]) -> Result<Parsed, RecipeError> {
        // A byte order mark is not part of the recipe.
        let text = text.trim_start_matches('\u{feff}');
        let source = Arc::new(SourceText { name: name.to_owned(), text: text.to_owned() });
        let mut diagnostics = Diagnostics::new(source, false).last_key_wins();
        let documents = yaml::parse(text, &mut diagnostics);
        // What a broken text seems to say is not worth a second fault.
        diagnostics.check()?;
        let mut settings = Settings::default();
        match documents.as_slice() {
            [] => {}
            [root] => settings.take(root, &mut diagnostics),
            [_, second, ..] => diagnostics.error(second.span, "a training recipe is one document"),
        }
        for (key, value) in overrides {
            settings.set(key, value, &mut diagnostics);
        }
        Self::resolved(&settings, diagnostics)
    }

    /// Reads the tree of a recipe that stands in another file, whose text messages quote.
    ///
    /// # Errors
    /// As [`TrainRecipe::parse`].
    pub(crate) fn read(root: &Node, source: &Arc<SourceText>) -> Result<Parsed, RecipeError> {
        let mut diagnostics = Diagnostics::new(Arc::clone(source), false);
        let mut settings = Settings::default();
        settings.take(root, &mut diagnostics);
        Self::resolved(&settings, diagnostics)
    }

    fn resolved(settings: &Settings, mut diagnostics: Diagnostics) -> Result<Parsed, RecipeError> {
        let recipe = resolve(settings, &mut diagnostics);
        settings.report_passed_over(&mut diagnostics);
        diagnostics.check()?;
        let warnings = diagnostics.warnings();
        Ok((recipe, warnings))
    }

    /// Reads a recipe file.
    ///
    /// # Errors
    /// When it can't be read, and as [`TrainRecipe::parse_with`].
    pub fn load(path: &Path, overrides: &[(String, String)]) -> Result<Parsed, LoadError> {
        let text = crate::storage::input::read_text(path, crate::storage::input::TEXT_BYTES)
            .map_err(|source| LoadError::Read { path: path.to_path_buf(), source })?;
        Ok(Self::parse_with(&path.display().to_string(), &text, overrides)?)
    }
}

fn resolve(settings: &Settings, diagnostics: &mut Diagnostics) -> TrainRecipe {
    let mut recipe = TrainRecipe::default();
    match settings.read::<String>("base_model", diagnostics) {
        Some(model) => recipe.base_model = model,
        None if settings.first("base_model").is_none() => diagnostics.error_help(
            None,
            "`base_model` is missing",
            "name a model directory, or a repository of the local cache",
        ),
        None => {}
    }
    recipe.adapter = adapter::resolve(settings, diagnostics);
    data(settings, &mut recipe, diagnostics);
    optimisation(settings, &mut recipe, diagnostics);
    intervals::resolve(settings, &mut recipe, diagnostics);
    recipe
}

/// Replaces a default where the recipe says something.
fn set<T>(place: &mut T, found: Option<T>) {
    if let Some(value) = found {
        *place = value;
    }
}

fn size(settings: &Settings, key: &str, diagnostics: &mut Diagnostics) -> Option<usize> {
    settings.whole(key, 1, diagnostics).map(|n| n as usize)
}

fn data(settings: &Settings, recipe: &mut TrainRecipe, diagnostics: &mut Diagnostics) {
    recipe.datasets = datasets::resolve(settings, diagnostics);
    set(&mut recipe.mixing_temperature, settings.number("mixing_temperature", Range::NOT_NEGATIVE, diagnostics));
    set(&mut recipe.sequence_len, size(settings, "sequence_len", diagnostics));
    let excess = [
        ("shorten", ExcessLength::Shorten),
        ("truncate", ExcessLength::Shorten),
        ("drop", ExcessLength::Drop),
        ("raise", ExcessLength::Raise),
    ];
    set(&mut recipe.excess_length, settings.choice("excess_length", &excess, diagnostics));
    let packing = settings.read::<bool>("sample_packing", diagnostics);
    // LLaMA-Factory's `neat_packing` switches packing on and says how; ours never mixes examples.
    let neat = settings.read::<bool>("neat_packing", diagnostics);
    recipe.sample_packing = packing.unwrap_or(false) || neat.unwrap_or(false);
    template(settings, recipe, diagnostics);
    tokens(settings, recipe, diagnostics);
    let read = |field: Field<'_>, diagnostics: &mut Diagnostics| {
        let flag = field.read::<bool>(diagnostics)?;
        Some(flag != (field.name == "completion_only_loss"))
    };
    set(&mut recipe.train_on_inputs, settings.read_with("train_on_inputs", diagnostics, read));
    let read = |field: Field<'_>, diagnostics: &mut Diagnostics| {
        let flag = field.read::<bool>(diagnostics)?;
        Some(flag != (field.name == "disable_shuffling"))
    };
    set(&mut recipe.shuffle, settings.read_with("shuffle", diagnostics, read));
    set(&mut recipe.val_set_size, settings.read_with("val_set_size", diagnostics, held_out));
}

/// A share; other trainers also take a number of rows, which would mean something else for each of
/// several data sets.
fn held_out(field: Field<'_>, diagnostics: &mut Diagnostics) -> Option<f64> {
    let key = field.name;
    match field.scalar().and_then(yaml::number) {
        Some(rows) if rows >= 1.0 => {
            let message = format!("`{key}` is the share of each data set's rows that is held out, not their number");
            diagnostics.error_help(field.node.span, message, "write a number below 1, as 0.05 for one row in twenty");
            None
        }
        _ => field.number(Range::BELOW_ONE, diagnostics),
    }
}

fn template(settings: &Settings, recipe: &mut TrainRecipe, diagnostics: &mut Diagnostics) {
    recipe.apply_chat_template = settings.read::<bool>("apply_chat_template", diagnostics);
    if let Some(name) = settings.read::<String>("chat_template", diagnostics) {
        recipe.chat_template = Some(name).filter(|name| name != "tokenizer_default");
    }
    // LLaMA-Factory has templates of its own by model family; `empty` is its word for none.
    if let Some(field) = settings.first("template")
        && let Some(name) = field.read::<String>(diagnostics)
    {
        if name == "empty" {
            recipe.apply_chat_template = recipe.apply_chat_template.or(Some(false));
        } else {
            diagnostics.warning(
                field.key,
                format!("template `{name}` is not built in: the chat template of the model's tokenizer is used"),
                None,
            );
        }
    }
}

/// Special tokens that other trainers would change; here they are held against the tokenizer's own.
fn tokens(settings: &Settings, recipe: &mut TrainRecipe, diagnostics: &mut Diagnostics) {
    const ROLES: &[&str] =
        &["bos_token", "eos_token", "unk_token", "sep_token", "cls_token", "mask_token", "pad_token"];
    for field in settings.all("special_tokens") {
        for role in field.fields(diagnostics).into_iter().flat_map(Fields::iter).filter(|role| !role.is_null()) {
            let name = format!("{}.{}", field.name, role.name);
            match role.name {
                "pad_token" => {
                    diagnostics.warning(role.key, format!("`{name}` has no effect: nothing is padded"), None);
                }
                "additional_special_tokens" if matches!(&role.node.kind, Kind::Sequence(items) if items.is_empty()) => {
                }
                "additional_special_tokens" => {
                    let help = "the vocabulary stays as the model has it";
                    diagnostics.error_help(role.key, format!("`{name}` is not supported"), help);
                }
                known if ROLES.contains(&known) => {
                    if let Some(text) = (Field { name: &name, ..role }).read::<String>(diagnostics) {
                        recipe.special_tokens.push((known.to_owned(), text));
                    }
                }
                _ => diagnostics.unknown(role.key, &format!("role of `{}`:", field.name), role.name, ROLES),
            }
        }
    }
    recipe.eot_tokens = settings.list("eot_tokens", diagnostics).unwrap_or_else(Vec::new);
    let systems = [
        ("raise", UnsupportedSystem::Raise),
        ("prepend", UnsupportedSystem::Prepend),
        ("drop", UnsupportedSystem::Drop),
    ];
    set(&mut recipe.unsupported_system, settings.choice("unsupported_system", &systems, diagnostics));
}

fn optimisation(settings: &Settings, recipe: &mut TrainRecipe, diagnostics: &mut Diagnostics) {
    set(&mut recipe.micro_batch_size, size(settings, "micro_batch_size", diagnostics));
    set(&mut recipe.gradient_accumulation_steps, size(settings, "gradient_accumulation_steps", diagnostics));
    duration(settings, recipe, diagnostics);
    recipe.learning_rate = recipe.adapter.learning_rate();
    set(&mut recipe.learning_rate, settings.number("learning_rate", Range::POSITIVE, diagnostics));
    schedule(settings, recipe, diagnostics);
    optimiser(settings, diagnostics);
    set(&mut recipe.weight_decay, settings.number("weight_decay", Range::NOT_NEGATIVE, diagnostics));
    set(&mut recipe.adam_beta1, settings.number("adam_beta1", Range::BELOW_ONE, diagnostics));
    set(&mut recipe.adam_beta2, settings.number("adam_beta2", Range::BELOW_ONE, diagnostics));
    set(&mut recipe.adam_epsilon, settings.number("adam_epsilon", Range::POSITIVE, diagnostics));
    set(&mut recipe.max_grad_norm, settings.number("max_grad_norm", Range::NOT_NEGATIVE, diagnostics));
    recipe.loraplus_lr_ratio = settings.number("loraplus_lr_ratio", Range::POSITIVE, diagnostics);
    if let (Some(field), AdapterRecipe::Full) = (settings.first("loraplus_lr_ratio"), &recipe.adapter) {
        recipe.loraplus_lr_ratio = None;
        diagnostics.warning(field.key, format!("`{}` has no effect: no adapter is trained", field.name), None);
    }
    let read = |field: Field<'_>, diagnostics: &mut Diagnostics| {
        let key = field.name;
        match field.scalar() {
            Some("auto") => Some(None),
            // Where the other layers' activations wait is their business.
            Some("unsloth" | "offload" | "offload_disk") => Some(Some(true)),
            _ => field.read::<bool>(diagnostics).map(|flag| Some(flag != key.starts_with("disable"))),
        }
    };
    set(&mut recipe.gradient_checkpointing, settings.read_with("gradient_checkpointing", diagnostics, read));
    set(&mut recipe.seed, settings.whole("seed", 0, diagnostics));
}

/// `max_steps` of 0 and -1 are other trainers' words for none.
fn duration(settings: &Settings, recipe: &mut TrainRecipe, diagnostics: &mut Diagnostics) {
    let read = |field: Field<'_>, diagnostics: &mut Diagnostics| match field.scalar().and_then(yaml::number) {
        Some(none) if none == 0.0 || none == -1.0 => Some(None),
        _ => field.whole(1..=u64::MAX, diagnostics).map(Some),
    };
    recipe.max_steps = settings.read_with("max_steps", diagnostics, read).flatten();
    let steps = recipe.max_steps;
    let read = |field: Field<'_>, diagnostics: &mut Diagnostics| match field.scalar().and_then(yaml::number) {
        Some(endless) if endless == f64::INFINITY && steps.is_some() => Some(endless),
        _ => field.number(Range::POSITIVE, diagnostics),
    };
    let epochs = settings.read_with("num_epochs", diagnostics, read);
    // A run of a number of steps goes round as often as it takes, unless both ends are given.
    set(&mut recipe.num_epochs, epochs.or_else(|| steps.map(|_| f64::INFINITY)));
}

fn schedule(settings: &Settings, recipe: &mut TrainRecipe, diagnostics: &mut Diagnostics) {
    let schedulers = [
        ("cosine", (Scheduler::Cosine, true)),
        ("linear", (Scheduler::Linear, true)),
        ("constant_with_warmup", (Scheduler::Constant, true)),
        ("constant", (Scheduler::Constant, false)),
    ];
    let scheduler = settings.choice("lr_scheduler", &schedulers, diagnostics);
    if let Some((scheduler, rises)) = scheduler {
        recipe.lr_scheduler = scheduler;
        if !rises {
            recipe.warmup = Warmup::Steps(0);
        }
    }
    if let Some(warmup) = warmup(settings, diagnostics) {
        if let Some((Scheduler::Constant, false)) = scheduler
            && warmup != Warmup::Steps(0)
            && let Some(field) = settings.first("warmup")
        {
            let message = "a `constant` schedule has no warm-up in transformers; here it has the one that is set";
            diagnostics.warning(field.key, format!("{message} (its name for that is `constant_with_warmup`)"), None);
        }
        recipe.warmup = warmup;
    }
}

/// Several keys may be given as long as all but one of them are 0, which is how defaults are often
/// written out.
fn warmup(settings: &Settings, diagnostics: &mut Diagnostics) -> Option<Warmup> {
    let mut found: Option<(Field<'_>, Warmup)> = None;
    for field in settings.all("warmup") {
        let key = field.name;
        let value = match field.scalar().and_then(yaml::number) {
            Some(0.0) => Some(Warmup::Steps(0)),
            Some(share) if key == "warmup_ratio" || (0.0..1.0).contains(&share) => {
                field.number(Range::BELOW_ONE, diagnostics).map(Warmup::Ratio)
            }
            _ => field.whole(1..=u64::MAX, diagnostics).map(Warmup::Steps),
        };
        match (&found, value) {
            (_, None) => {}
            (Some((_, known)), Some(Warmup::Steps(0))) if *known != Warmup::Steps(0) => {}
            (Some((first, known)), Some(value)) if *known != Warmup::Steps(0) && *known != value => {
                let message = format!("`{}` and `{key}` set different warm-ups", first.name);
                diagnostics.error_help(field.key, message, "keep one of them");
            }
            (_, Some(value)) => found = Some((field, value)),
        }
    }
    found.map(|(_, value)| value)
}

/// Plain AdamW, and variants of it that compute the same up to rounding or storage.
fn optimiser(settings: &Settings, diagnostics: &mut Diagnostics) {
    const PLAIN: &[&str] = &["adamw", "adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw_apex_fused"];
    const VARIANTS: &[&str] = &[
        "adamw_8bit",
        "adamw_bnb_8bit",
        "adamw_torch_8bit",
        "adamw_torch_4bit",
        "adamw_anyprecision",
        "adamw_torch_xla",
        "adamw_torch_npu_fused",
        "paged_adamw",
        "paged_adamw_8bit",
        "paged_adamw_32bit",
    ];
    for field in settings.all("optimizer") {
        let Some(name) = field.read::<String>(diagnostics) else { continue };
        if VARIANTS.contains(&name.as_str()) {
            diagnostics.warning(
                field.node.span,
                format!("optimiser `{name}`: AdamW with moments in f32 is used"),
                None,
            );
        } else if !PLAIN.contains(&name.as_str()) {
            let message = format!("optimiser `{name}` is not supported");
            diagnostics.error_help(
                field.node.span,
                message,
                "the optimiser is AdamW: write `adamw` or leave the key out",
            );
        }
    }
}
