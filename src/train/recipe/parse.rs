//! From a recipe's text to its settings.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fields::{self, Field, Fields, Notes, Range};
use super::schema::{AdapterRecipe, ExcessLength, Scheduler, TrainRecipe, UnsupportedSystem, Warmup};
use super::{adapter, datasets};
use crate::error::{Diagnose, ErrorKind};
use crate::train::recipe::intervals;
use crate::yaml::diagnostic::SourceText;
use crate::yaml::{self, Kind, Node, RecipeError};

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
        let mut notes = Notes::new(name, text);
        notes.diagnostics = notes.diagnostics.last_key_wins();
        let documents = yaml::parse(text, &mut notes.diagnostics);
        // What a broken text seems to say is not worth a second fault.
        notes.diagnostics.check()?;
        let mut fields = Fields::default();
        match documents.as_slice() {
            [] => {}
            [root] => fields.take(root, &mut notes),
            [_, second, ..] => notes.error(second.span, "a training recipe is one document"),
        }
        for (key, value) in overrides {
            fields.set(key, value, &mut notes);
        }
        Self::resolved(&fields, notes)
    }

    /// Reads the tree of a recipe that stands in another file, whose text messages quote.
    ///
    /// # Errors
    /// As [`TrainRecipe::parse`].
    pub(crate) fn read(root: &Node, source: &Arc<SourceText>) -> Result<Parsed, RecipeError> {
        let mut notes = Notes::within(Arc::clone(source));
        let mut fields = Fields::default();
        fields.take(root, &mut notes);
        Self::resolved(&fields, notes)
    }

    fn resolved(fields: &Fields, mut notes: Notes) -> Result<Parsed, RecipeError> {
        let recipe = resolve(fields, &mut notes);
        fields.report_passed_over(&mut notes);
        notes.diagnostics.check()?;
        let warnings = notes.diagnostics.warnings();
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

fn resolve(fields: &Fields, notes: &mut Notes) -> TrainRecipe {
    let mut recipe = TrainRecipe::default();
    match fields.text("base_model", notes) {
        Some(model) => recipe.base_model = model,
        None if fields.first("base_model").is_none() => notes.diagnostics.error_help(
            None,
            "`base_model` is missing",
            "name a model directory, or a repository of the local cache",
        ),
        None => {}
    }
    recipe.adapter = adapter::resolve(fields, notes);
    data(fields, &mut recipe, notes);
    optimisation(fields, &mut recipe, notes);
    intervals::resolve(fields, &mut recipe, notes);
    recipe
}

/// Replaces a default where the recipe says something.
fn set<T>(place: &mut T, found: Option<T>) {
    if let Some(value) = found {
        *place = value;
    }
}

fn size(fields: &Fields, key: &str, notes: &mut Notes) -> Option<usize> {
    fields.whole(key, 1, notes).map(|n| n as usize)
}

fn data(fields: &Fields, recipe: &mut TrainRecipe, notes: &mut Notes) {
    recipe.datasets = datasets::resolve(fields, notes);
    set(&mut recipe.mixing_temperature, fields.number("mixing_temperature", Range::NotNegative, notes));
    set(&mut recipe.sequence_len, size(fields, "sequence_len", notes));
    let excess = [
        ("shorten", ExcessLength::Shorten),
        ("truncate", ExcessLength::Shorten),
        ("drop", ExcessLength::Drop),
        ("raise", ExcessLength::Raise),
    ];
    let read = |field: &Field, notes: &mut Notes| fields::choice(&field.node, &field.key.value, &excess, notes);
    set(&mut recipe.excess_length, fields.read("excess_length", notes, read));
    let packing = fields.boolean("sample_packing", notes);
    // LLaMA-Factory's `neat_packing` switches packing on and says how; ours never mixes examples.
    let neat = fields.boolean("neat_packing", notes);
    recipe.sample_packing = packing.unwrap_or(false) || neat.unwrap_or(false);
    template(fields, recipe, notes);
    tokens(fields, recipe, notes);
    let read = |field: &Field, notes: &mut Notes| {
        let flag = fields::boolean(&field.node, &field.key.value, notes)?;
        Some(flag != (field.key.value == "completion_only_loss"))
    };
    set(&mut recipe.train_on_inputs, fields.read("train_on_inputs", notes, read));
    let read = |field: &Field, notes: &mut Notes| {
        let flag = fields::boolean(&field.node, &field.key.value, notes)?;
        Some(flag != (field.key.value == "disable_shuffling"))
    };
    set(&mut recipe.shuffle, fields.read("shuffle", notes, read));
    set(&mut recipe.val_set_size, fields.read("val_set_size", notes, held_out));
}

/// A share; other trainers also take a number of rows, which would mean something else for each of
/// several data sets.
fn held_out(field: &Field, notes: &mut Notes) -> Option<f64> {
    let key = &field.key.value;
    match field.node.text().and_then(yaml::number) {
        Some(rows) if rows >= 1.0 => {
            let message = format!("`{key}` is the share of each data set's rows that is held out, not their number");
            notes.error_help(field.node.span, message, "write a number below 1, as 0.05 for one row in twenty");
            None
        }
        _ => Range::Share.number(&field.node, key, notes),
    }
}

fn template(fields: &Fields, recipe: &mut TrainRecipe, notes: &mut Notes) {
    recipe.apply_chat_template = fields.boolean("apply_chat_template", notes);
    if let Some(name) = fields.text("chat_template", notes) {
        recipe.chat_template = Some(name).filter(|name| name != "tokenizer_default");
    }
    // LLaMA-Factory has templates of its own by model family; `empty` is its word for none.
    if let Some(field) = fields.first("template")
        && let Some(name) = fields::text(&field.node, "template", notes)
    {
        if name == "empty" {
            recipe.apply_chat_template = recipe.apply_chat_template.or(Some(false));
        } else {
            notes.warning(
                field.key.span,
                format!("template `{name}` is not built in: the chat template of the model's tokenizer is used"),
            );
        }
    }
}

/// Special tokens that other trainers would change; here they are held against the tokenizer's own.
fn tokens(fields: &Fields, recipe: &mut TrainRecipe, notes: &mut Notes) {
    const ROLES: &[&str] =
        &["bos_token", "eos_token", "unk_token", "sep_token", "cls_token", "mask_token", "pad_token"];
    for field in fields.all("special_tokens") {
        for (role, node) in entries(&field.node, &field.key.value, notes) {
            let name = format!("{}.{}", field.key.value, role.value);
            match role.value.as_str() {
                _ if node.kind == Kind::Null => {}
                "pad_token" => notes.warning(role.span, format!("`{name}` has no effect: nothing is padded")),
                "additional_special_tokens" if matches!(&node.kind, Kind::Sequence(items) if items.is_empty()) => {}
                "additional_special_tokens" => {
                    let help = "the vocabulary stays as the model has it";
                    notes.error_help(role.span, format!("`{name}` is not supported"), help);
                }
                known if ROLES.contains(&known) => {
                    if let Some(text) = fields::text(node, &name, notes) {
                        recipe.special_tokens.push((known.to_owned(), text));
                    }
                }
                _ => notes.unknown(role.span, &format!("role of `{}`:", field.key.value), &role.value, ROLES),
            }
        }
    }
    let read = |field: &Field, notes: &mut Notes| fields::list(&field.node, &field.key.value, notes);
    recipe.eot_tokens = fields.read("eot_tokens", notes, read).unwrap_or_else(Vec::new);
    let systems = [
        ("raise", UnsupportedSystem::Raise),
        ("prepend", UnsupportedSystem::Prepend),
        ("drop", UnsupportedSystem::Drop),
    ];
    let read = |field: &Field, notes: &mut Notes| fields::choice(&field.node, &field.key.value, &systems, notes);
    set(&mut recipe.unsupported_system, fields.read("unsupported_system", notes, read));
}

fn optimisation(fields: &Fields, recipe: &mut TrainRecipe, notes: &mut Notes) {
    set(&mut recipe.micro_batch_size, size(fields, "micro_batch_size", notes));
    set(&mut recipe.gradient_accumulation_steps, size(fields, "gradient_accumulation_steps", notes));
    duration(fields, recipe, notes);
    recipe.learning_rate = recipe.adapter.learning_rate();
    set(&mut recipe.learning_rate, fields.number("learning_rate", Range::Positive, notes));
    schedule(fields, recipe, notes);
    optimiser(fields, notes);
    set(&mut recipe.weight_decay, fields.number("weight_decay", Range::NotNegative, notes));
    set(&mut recipe.adam_beta1, fields.number("adam_beta1", Range::Share, notes));
    set(&mut recipe.adam_beta2, fields.number("adam_beta2", Range::Share, notes));
    set(&mut recipe.adam_epsilon, fields.number("adam_epsilon", Range::Positive, notes));
    set(&mut recipe.max_grad_norm, fields.number("max_grad_norm", Range::NotNegative, notes));
    recipe.loraplus_lr_ratio = fields.number("loraplus_lr_ratio", Range::Positive, notes);
    if let (Some(field), AdapterRecipe::Full) = (fields.first("loraplus_lr_ratio"), &recipe.adapter) {
        recipe.loraplus_lr_ratio = None;
        notes.warning(field.key.span, format!("`{}` has no effect: no adapter is trained", field.key.value));
    }
    let read = |field: &Field, notes: &mut Notes| {
        let key = &field.key.value;
        match field.node.text() {
            Some("auto") => Some(None),
            // Where the other layers' activations wait is their business.
            Some("unsloth" | "offload" | "offload_disk") => Some(Some(true)),
            _ => fields::boolean(&field.node, key, notes).map(|flag| Some(flag != key.starts_with("disable"))),
        }
    };
    set(&mut recipe.gradient_checkpointing, fields.read("gradient_checkpointing", notes, read));
    set(&mut recipe.seed, fields.whole("seed", 0, notes));
}

/// `max_steps` of 0 and -1 are other trainers' words for none.
fn duration(fields: &Fields, recipe: &mut TrainRecipe, notes: &mut Notes) {
    let read = |field: &Field, notes: &mut Notes| match field.node.text().and_then(yaml::number) {
        Some(none) if none == 0.0 || none == -1.0 => Some(None),
        _ => fields::whole(&field.node, &field.key.value, 1, notes).map(Some),
    };
    recipe.max_steps = fields.read("max_steps", notes, read).flatten();
    let steps = recipe.max_steps;
    let read = |field: &Field, notes: &mut Notes| match field.node.text().and_then(yaml::number) {
        Some(endless) if endless == f64::INFINITY && steps.is_some() => Some(endless),
        _ => Range::Positive.number(&field.node, &field.key.value, notes),
    };
    let epochs = fields.read("num_epochs", notes, read);
    // A run of a number of steps goes round as often as it takes, unless both ends are given.
    set(&mut recipe.num_epochs, epochs.or_else(|| steps.map(|_| f64::INFINITY)));
}

fn schedule(fields: &Fields, recipe: &mut TrainRecipe, notes: &mut Notes) {
    let schedulers = [
        ("cosine", (Scheduler::Cosine, true)),
        ("linear", (Scheduler::Linear, true)),
        ("constant_with_warmup", (Scheduler::Constant, true)),
        ("constant", (Scheduler::Constant, false)),
    ];
    let read = |field: &Field, notes: &mut Notes| fields::choice(&field.node, &field.key.value, &schedulers, notes);
    let scheduler = fields.read("lr_scheduler", notes, read);
    if let Some((scheduler, rises)) = scheduler {
        recipe.lr_scheduler = scheduler;
        if !rises {
            recipe.warmup = Warmup::Steps(0);
        }
    }
    if let Some(warmup) = warmup(fields, notes) {
        if let Some((Scheduler::Constant, false)) = scheduler
            && warmup != Warmup::Steps(0)
            && let Some(field) = fields.first("warmup")
        {
            let message = "a `constant` schedule has no warm-up in transformers; here it has the one that is set";
            notes.warning(field.key.span, format!("{message} (its name for that is `constant_with_warmup`)"));
        }
        recipe.warmup = warmup;
    }
}

/// Several keys may be given as long as all but one of them are 0, which is how defaults are often
/// written out.
fn warmup(fields: &Fields, notes: &mut Notes) -> Option<Warmup> {
    let mut found: Option<(&Field, Warmup)> = None;
    for field in fields.all("warmup") {
        let key = &field.key.value;
        let value = match field.node.text().and_then(yaml::number) {
            Some(0.0) => Some(Warmup::Steps(0)),
            Some(share) if key == "warmup_ratio" || (0.0..1.0).contains(&share) => {
                Range::Share.number(&field.node, key, notes).map(Warmup::Ratio)
            }
            _ => fields::whole(&field.node, key, 1, notes).map(Warmup::Steps),
        };
        match (&found, value) {
            (_, None) => {}
            (Some((_, known)), Some(Warmup::Steps(0))) if *known != Warmup::Steps(0) => {}
            (Some((first, known)), Some(value)) if *known != Warmup::Steps(0) && *known != value => {
                let message = format!("`{}` and `{key}` set different warm-ups", first.key.value);
                notes.error_help(field.key.span, message, "keep one of them");
            }
            (_, Some(value)) => found = Some((field, value)),
        }
    }
    found.map(|(_, value)| value)
}

/// Plain AdamW, and variants of it that compute the same up to rounding or storage.
fn optimiser(fields: &Fields, notes: &mut Notes) {
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
    for field in fields.all("optimizer") {
        let Some(name) = fields::text(&field.node, &field.key.value, notes) else { continue };
        if VARIANTS.contains(&name.as_str()) {
            notes.warning(field.node.span, format!("optimiser `{name}`: AdamW with moments in f32 is used"));
        } else if !PLAIN.contains(&name.as_str()) {
            let message = format!("optimiser `{name}` is not supported");
            notes.error_help(field.node.span, message, "the optimiser is AdamW: write `adamw` or leave the key out");
        }
    }
}

/// The entries of a mapping.
pub(super) fn entries<'n>(node: &'n Node, key: &str, notes: &mut Notes) -> &'n [(yaml::Spanned<String>, Node)] {
    if let Kind::Mapping(entries) = &node.kind {
        return entries;
    }
    notes.error(node.span, format!("`{key}` must be a mapping, not {}", node.describe()));
    &[]
}
