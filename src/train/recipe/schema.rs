//! The settings of a training run, resolved: defaults filled in, aliases resolved.
//!
//! `TrainRecipe::default` has everything but a model and data.

use std::path::PathBuf;

/// A training recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainRecipe {
    /// Model directory or cached repository id.
    pub base_model: String,
    /// Trained parameters.
    pub adapter: AdapterRecipe,
    /// Data sets of the mix.
    pub datasets: Vec<DatasetRecipe>,
    /// Exponent on the sizes of sets without a weight: 1 draws in proportion, 0 evenly.
    pub mixing_temperature: f64,
    /// Most tokens of a row.
    pub sequence_len: usize,
    /// Treatment of longer examples.
    pub excess_length: ExcessLength,
    /// Whether several examples share a row (each attending to itself only).
    pub sample_packing: bool,
    /// Name of a chat template of the tokenizer, for models with several.
    pub chat_template: Option<String>,
    /// Whether prompts of tasks go through the chat template: `None` follows the tokenizer having a template.
    pub apply_chat_template: Option<bool>,
    /// Treatment of conversations with a system message that the chat template has no place for.
    pub unsupported_system: UnsupportedSystem,
    /// Special tokens by role that the recipe counts on; the tokenizer has to have them so.
    pub special_tokens: Vec<(String, String)>,
    /// Tokens one of which has to end the assistant's turns.
    pub eot_tokens: Vec<String>,
    /// Loss on the prompt as well.
    pub train_on_inputs: bool,
    /// Share of each set's rows held out for `eval_loss`.
    pub val_set_size: f64,
    /// Rows of a micro-batch.
    pub micro_batch_size: usize,
    /// Micro-batches of an optimiser step.
    pub gradient_accumulation_steps: usize,
    /// Passes over the mix; infinite where only `max_steps` ends the run.
    pub num_epochs: f64,
    /// Optimiser steps, where they end the run earlier.
    pub max_steps: Option<u64>,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decay after the warm-up.
    pub lr_scheduler: Scheduler,
    /// Warm-up of the learning rate.
    pub warmup: Warmup,
    /// AdamW's decoupled decay.
    pub weight_decay: f64,
    /// AdamW's first moment.
    pub adam_beta1: f64,
    /// AdamW's second moment.
    pub adam_beta2: f64,
    /// AdamW's epsilon.
    pub adam_epsilon: f64,
    /// Largest norm of a step's gradient; 0 is none.
    pub max_grad_norm: f64,
    /// Learning rate of `lora_B` over that of `lora_A` (LoRA+).
    pub loraplus_lr_ratio: Option<f64>,
    /// Whether activations of a layer are computed again in the backward pass; `None` decides by
    /// the memory at hand.
    pub gradient_checkpointing: Option<bool>,
    /// Whether rows are shuffled; otherwise they are seen in the order of the files.
    pub shuffle: bool,
    /// Seed of starts, order and dropout.
    pub seed: u64,
    /// Steps between log lines.
    pub logging_steps: u64,
    /// Steps between checkpoints. Without this and the two below, one is written at the end only;
    /// [`TrainRecipe::save_interval`] looks at all three.
    pub save_steps: Option<u64>,
    /// The same as a share of all steps.
    pub save_share: Option<f64>,
    /// Checkpoints of an epoch, evenly apart.
    pub saves_per_epoch: Option<u64>,
    /// Most checkpoints kept.
    pub save_total_limit: Option<usize>,
    /// Evaluation during training.
    pub evaluation: EvaluationRecipe,
}

/// Trained parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum AdapterRecipe {
    /// LoRA factors (Hu et al. 2021).
    Lora(LoraRecipe),
    /// Every parameter.
    Full,
}

/// LoRA's settings, in PEFT's words.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraRecipe {
    /// Rank.
    pub r: usize,
    /// Numerator of the scale.
    pub lora_alpha: f64,
    /// Chance that an input of `lora_A` is dropped.
    pub lora_dropout: f64,
    /// Module names, one regular expression over the path, or `all-linear`.
    pub target_modules: TargetModules,
    /// Scale alpha / sqrt(r) (Kalajdzievski 2023).
    pub use_rslora: bool,
    /// Weight-decomposed (Liu et al. 2024).
    pub use_dora: bool,
    /// Ranks of modules by pattern, in order.
    pub rank_pattern: Vec<(String, usize)>,
    /// Alphas of modules by pattern, in order.
    pub alpha_pattern: Vec<(String, f64)>,
    /// Modules trained whole.
    pub modules_to_save: Vec<String>,
    /// An adapter to start from.
    pub init_from: Option<StartAdapter>,
}

/// An adapter that training starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartAdapter {
    pub path: PathBuf,
    /// Keys that the recipe does not set: the adapter's own values hold, whatever the fields say.
    pub inherited: Vec<&'static str>,
}

/// Linear layers that get factors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// Every linear layer but the output head.
    AllLinear,
    /// Layers whose path is or ends in one of these names.
    Names(Vec<String>),
    /// Layers whose whole path matches.
    Pattern(String),
}

/// One data set of the mix.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetRecipe {
    /// Name in logs.
    pub name: String,
    /// A task's name, or a path.
    pub path: String,
    /// Layout of the rows.
    pub format: DataFormat,
    /// Split of a task.
    pub split: Option<String>,
    /// Times the set's rows are drawn in an epoch relative to plain concatenation; may be a fraction.
    pub weight: Option<f64>,
    /// Most rows used, drawn under the seed.
    pub max_rows: Option<usize>,
    /// Share of the whole mix this set fills (general instructions, maths).
    pub share: Option<f64>,
}

/// Layout of a data set's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataFormat {
    /// By its keys.
    Auto,
    /// A task file: the prompt as the evaluation asks it, the right answer as completion.
    Task,
    /// `messages` of `role` and `content`.
    Messages,
    /// `prompt` and `completion`.
    PromptCompletion,
    /// `instruction`, `input`, `output`.
    Alpaca,
    /// `conversations` of `from` and `value`.
    ShareGpt,
    /// `text`, trained whole.
    Text,
    /// `input_ids` and `labels`, where -100 carries no loss.
    Tokenised,
}

/// Treatment of examples longer than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExcessLength {
    /// The beginning of a prompt is cut off, a conversation loses early rounds, the answer is kept.
    Shorten,
    /// Leaves them out.
    Drop,
    /// Fails with an error.
    Raise,
}

/// Treatment of a conversation whose system message the chat template refuses or does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsupportedSystem {
    /// Fails with an error.
    Raise,
    /// The text is put before the first message of the user.
    Prepend,
    /// The row is left out.
    Drop,
}

/// Learning rate schedule after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    /// Half a cosine, to zero.
    Cosine,
    /// A line, to zero.
    Linear,
    /// Level.
    Constant,
}

/// Length of the linear rise of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Warmup {
    /// Optimiser steps.
    Steps(u64),
    /// Share of all steps.
    Ratio(f64),
}

/// Evaluation during training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EvaluationRecipe {
    /// Nothing is evaluated during training, whatever there is.
    pub disabled: bool,
    /// Steps between evaluations. Without this and the two below, the end of each epoch is evaluated if
    /// there is anything to evaluate; [`EvaluationRecipe::interval`] looks at all three.
    pub eval_steps: Option<u64>,
    /// The same as a share of all steps.
    pub eval_share: Option<f64>,
    /// Evaluations of an epoch, evenly apart.
    pub evals_per_epoch: Option<u64>,
    /// Tasks scored by the evaluation engine, seen and unseen.
    pub tasks: Vec<String>,
    /// Most documents of a task, drawn with the recipe's seed.
    pub limit: Option<usize>,
    /// Few-shot examples.
    pub num_fewshot: Option<usize>,
    /// Criterion of the best checkpoint.
    pub best: Option<BestModel>,
}

/// Criterion of the best checkpoint, and of early stopping.
#[derive(Debug, Clone, PartialEq)]
pub struct BestModel {
    /// `eval_loss`, or `task/metric`.
    pub metric: String,
    /// Whether more is better.
    pub greater_is_better: bool,
    /// Evaluations without improvement that end the run.
    pub early_stopping_patience: Option<u64>,
    /// Whether the run ends with the best checkpoint's weights instead of the last ones.
    pub load_at_end: bool,
}

impl Default for TrainRecipe {
    fn default() -> Self {
        Self {
            base_model: String::new(),
            adapter: AdapterRecipe::Lora(LoraRecipe::default()),
            datasets: Vec::new(),
            mixing_temperature: 1.0,
            sequence_len: 2048,
            excess_length: ExcessLength::Shorten,
            sample_packing: false,
            chat_template: None,
            apply_chat_template: None,
            unsupported_system: UnsupportedSystem::Raise,
            special_tokens: Vec::new(),
            eot_tokens: Vec::new(),
            train_on_inputs: false,
            val_set_size: 0.0,
            micro_batch_size: 8,
            gradient_accumulation_steps: 1,
            num_epochs: 3.0,
            max_steps: None,
            learning_rate: AdapterRecipe::Lora(LoraRecipe::default()).learning_rate(),
            lr_scheduler: Scheduler::Cosine,
            warmup: Warmup::Ratio(0.03),
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: 1.0,
            loraplus_lr_ratio: None,
            gradient_checkpointing: None,
            shuffle: true,
            seed: 42,
            logging_steps: 10,
            save_steps: None,
            save_share: None,
            saves_per_epoch: None,
            save_total_limit: None,
            evaluation: EvaluationRecipe::default(),
        }
    }
}

impl Default for LoraRecipe {
    fn default() -> Self {
        Self {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.0,
            target_modules: TargetModules::AllLinear,
            use_rslora: false,
            use_dora: false,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            modules_to_save: Vec::new(),
            init_from: None,
        }
    }
}

impl AdapterRecipe {
    /// The learning rate of a recipe that names none: factors start at zero and bear ten times what
    /// whole weights do.
    #[must_use]
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Lora(_) => 2e-4,
            Self::Full => 2e-5,
        }
    }
}

impl TrainRecipe {
    /// Optimiser steps of the run, where an epoch has `per_epoch` of them: `num_epochs` passes (a part
    /// of a step counts as one), or `max_steps` where that is less.
    #[must_use]
    pub fn total_steps(&self, per_epoch: u64) -> u64 {
        // A cast of infinity is the largest number.
        let steps = (self.num_epochs * per_epoch as f64).ceil() as u64;
        steps.min(self.max_steps.unwrap_or(u64::MAX)).max(1)
    }

    /// Steps between checkpoints of a run of `total` steps; `None` where only the end has one.
    #[must_use]
    pub fn save_interval(&self, total: u64, per_epoch: u64) -> Option<u64> {
        interval(self.save_steps, self.save_share, self.saves_per_epoch, total, per_epoch)
    }
}

impl EvaluationRecipe {
    /// Steps between evaluations of a run of `total` steps; `None` where nothing is evaluated.
    #[must_use]
    pub fn interval(&self, total: u64, per_epoch: u64) -> Option<u64> {
        let found = interval(self.eval_steps, self.eval_share, self.evals_per_epoch, total, per_epoch);
        (!self.disabled).then(|| found.unwrap_or(per_epoch.max(1)))
    }
}

/// A share is rounded up, as transformers does it.
fn interval(
    steps: Option<u64>,
    share: Option<f64>,
    per_epoch: Option<u64>,
    total: u64,
    steps_per_epoch: u64,
) -> Option<u64> {
    let of_share = || share.map(|share| (total as f64 * share).ceil() as u64);
    let of_epoch = || per_epoch.map(|times| steps_per_epoch / times.max(1));
    steps.or_else(of_share).or_else(of_epoch).map(|steps| steps.max(1))
}
