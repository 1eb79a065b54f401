//! Flags that say how prompts are written: the same for `eval` and `tasks show`, so that a prompt can be
//! looked at with the very flags that it is evaluated with.

use clap::{ArgAction, Args, ValueEnum};

use crate::error::Result;
use crate::task::{Documents, PromptSettings, Sampler};
use crate::tokenizer::{ChatTemplate, Tokenizer};

/// Options of writing prompts.
#[derive(Debug, Args)]
pub(super) struct PromptArgs {
    /// Examples in each prompt (default: the task's own number).
    #[arg(long, short = 'f', alias = "num_fewshot", value_name = "K")]
    num_fewshot: Option<usize>,
    /// Seed of the few-shot sampler.
    #[arg(long, value_name = "SEED", default_value_t = 1234)]
    fewshot_seed: u64,
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
    /// With a chat template, examples are turns of the conversation.
    #[arg(
        long,
        alias = "fewshot_as_multiturn",
        value_name = "BOOL",
        default_value_t = true,
        action = ArgAction::Set,
        overrides_with = "no_fewshot_as_multiturn"
    )]
    fewshot_as_multiturn: bool,
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
    /// Whether a chat template was asked for.
    pub(super) fn wants_template(&self) -> bool {
        self.apply_chat_template.is_some()
    }

    /// The chat template that was asked for.
    pub(super) fn template(&self, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
        match &self.apply_chat_template {
            Some(name) => Ok(Some(tokenizer.chat_template(Some(name.as_str()).filter(|name| !name.is_empty()))?)),
            None => Ok(None),
        }
    }

    /// The settings for these documents.
    pub(super) fn settings<'a>(&'a self, documents: Documents, chat: Option<&'a ChatTemplate>) -> PromptSettings<'a> {
        PromptSettings {
            num_fewshot: self.num_fewshot,
            fewshot_seed: self.fewshot_seed,
            sampler: self.fewshot_sampler.map(Into::into),
            documents,
            chat,
            system_instruction: self.system_instruction.as_deref(),
            fewshot_as_multiturn: self.fewshot_as_multiturn(),
            generation_kwargs: None,
        }
    }

    pub(super) fn fewshot_as_multiturn(&self) -> bool {
        self.fewshot_as_multiturn && !self.no_fewshot_as_multiturn
    }

    pub(super) fn fewshot_seed(&self) -> u64 {
        self.fewshot_seed
    }

    pub(super) fn system_instruction(&self) -> Option<&str> {
        self.system_instruction.as_deref()
    }
}
