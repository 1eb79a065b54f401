//! Flags that say how prompts are written: the same for `eval`, `tasks show` and `run`, so that a prompt can be looked at
//! with the very flags that it is evaluated with. Over an experiment, they replace what its file says. `train` has none:
//! how a run asks is part of its recipe, which is compared when a run is resumed.

use clap::{Args, ValueEnum};

use crate::task::{PromptOptions, Sampler};

/// Options of writing prompts.
#[derive(Debug, Args)]
pub(super) struct PromptArgs {
    /// Examples in each prompt (default: the task's own number).
    #[arg(long, short = 'f', alias = "num_fewshot", value_name = "K")]
    num_fewshot: Option<usize>,
    /// Seed of the few-shot sampler [default: 1234].
    #[arg(long, value_name = "SEED")]
    fewshot_seed: Option<u64>,
    /// How examples are picked instead of the task's way.
    #[arg(long, alias = "sampler", value_enum)]
    fewshot_sampler: Option<SamplerName>,
    /// Render prompts with the model's chat template, or with that of a name.
    #[arg(
        long,
        alias = "apply_chat_template",
        value_name = "NAME",
        num_args = 0..=1,
        default_missing_value = "",
        require_equals = true
    )]
    apply_chat_template: Option<String>,
    /// Text before the task's description.
    #[arg(long, alias = "system_instruction", value_name = "TEXT")]
    system_instruction: Option<String>,
    /// With a chat template, examples are turns of the conversation [default: true].
    #[arg(long, alias = "fewshot_as_multiturn", value_name = "BOOL", overrides_with = "no_fewshot_as_multiturn")]
    fewshot_as_multiturn: Option<bool>,
    /// The same as `--fewshot-as-multiturn false`.
    #[arg(long, hide = true, overrides_with = "fewshot_as_multiturn")]
    no_fewshot_as_multiturn: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum SamplerName {
    Default,
    FirstN,
    Balanced,
}

impl From<SamplerName> for Sampler {
    fn from(name: SamplerName) -> Self {
        match name {
            SamplerName::Default => Self::Default,
            SamplerName::FirstN => Self::FirstN,
            SamplerName::Balanced => Self::Balanced,
        }
    }
}

impl PromptArgs {
    /// What was asked for, and the defaults of the rest.
    pub(super) fn options(&self) -> PromptOptions {
        let mut options = PromptOptions::default();
        self.apply(&mut options);
        options
    }

    /// Puts what was asked for in the place of what a file says.
    pub(super) fn apply(&self, options: &mut PromptOptions) {
        options.num_fewshot = self.num_fewshot.or(options.num_fewshot);
        options.fewshot_seed = self.fewshot_seed.unwrap_or(options.fewshot_seed);
        options.sampler = self.fewshot_sampler.map(Into::into).or(options.sampler);
        if let Some(template) = &self.apply_chat_template {
            options.chat_template = Some(template.clone());
        }
        if let Some(text) = &self.system_instruction {
            options.system_instruction = Some(text.clone());
        }
        let multiturn = if self.no_fewshot_as_multiturn { Some(false) } else { self.fewshot_as_multiturn };
        options.fewshot_as_multiturn = multiturn.unwrap_or(options.fewshot_as_multiturn);
    }
}
