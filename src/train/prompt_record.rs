//! `billon_prompts.json`: the prompt style of a run, beside its result, so that an evaluation with another one warns.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::data::Asked;
use crate::error::Result;
use crate::storage::publish::publish_file;
use crate::tokenizer::ChatTemplate;

/// Name of the record in an adapter's or a model's folder.
pub(crate) const FILE: &str = "billon_prompts.json";

const VERSION: u32 = 1;

/// Contents of `billon_prompts.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PromptRecord {
    version: u32,
    /// Rows that the chat template rendered.
    through_chat_template: usize,
    /// Prompts in plain text.
    plain: usize,
    /// The chat template, where the tokenizer has one.
    chat_template: Option<TemplateRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TemplateRecord {
    /// Template name, for tokenizers with several.
    name: Option<String>,
    sha256: String,
}

/// In what an evaluation asks otherwise than training did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference {
    /// All rows went through the chat template, and none is applied.
    TemplateMissing,
    /// All prompts were plain, and a chat template is applied.
    TemplateAdded,
    /// Another chat template is applied.
    OtherTemplate,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TemplateMissing => "was trained through the chat template and is asked without one",
            Self::TemplateAdded => "was trained on plain prompts and is asked through a chat template",
            Self::OtherTemplate => "was trained through another chat template than it is asked through",
        })
    }
}

impl PromptRecord {
    pub(crate) fn new(asked: &Asked) -> Self {
        let template =
            |(name, sha256): &(Option<String>, String)| TemplateRecord { name: name.clone(), sha256: sha256.clone() };
        Self {
            version: VERSION,
            through_chat_template: asked.through_template,
            plain: asked.plain,
            chat_template: asked.template.as_ref().map(template),
        }
    }

    /// Writes the record into the folder of a result.
    ///
    /// # Errors
    /// I/O errors.
    pub(crate) fn publish(&self, out: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).expect("numbers and texts are JSON");
        text.push(b'\n');
        publish_file(&out.join(FILE), &text)?;
        Ok(())
    }

    /// The record of a folder, or of the run that a checkpoint is one of; none where there is none, or one that
    /// another version wrote.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let run = folder.parent().filter(|_| name.starts_with("checkpoint-"));
        let mut texts = [Some(folder), run]
            .into_iter()
            .flatten()
            .map(|folder| crate::storage::input::read(&folder.join(FILE), crate::storage::input::SETTINGS_BYTES));
        let text = texts.find_map(std::result::Result::ok)?;
        serde_json::from_slice(&text).ok().filter(|record: &Self| record.version == VERSION)
    }

    /// In what asking through a template, or through none, differs from how the rows were asked. Rows of both
    /// kinds make either way one that was trained.
    pub(crate) fn difference(&self, asked_through: Option<&ChatTemplate>) -> Option<Difference> {
        match (asked_through, &self.chat_template) {
            (None, _) if self.through_chat_template > 0 && self.plain == 0 => Some(Difference::TemplateMissing),
            (Some(_), _) if self.through_chat_template == 0 && self.plain > 0 => Some(Difference::TemplateAdded),
            (Some(now), Some(then)) if self.through_chat_template > 0 && now.sha256() != then.sha256 => {
                Some(Difference::OtherTemplate)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::SpecialTokens;

    #[test]
    fn only_a_prompt_style_that_no_row_has_is_a_difference() {
        let template =
            |text: &str| ChatTemplate::new(text.to_owned(), &SpecialTokens::default(), "test".to_owned()).unwrap();
        let (then, now) = (template("a"), template("b"));
        for (through_template, plain, asked, expected) in [
            (3, 0, None, Some(Difference::TemplateMissing)),
            (3, 1, None, None),
            (0, 3, None, None),
            (0, 3, Some(&then), Some(Difference::TemplateAdded)),
            (3, 0, Some(&then), None),
            (3, 1, Some(&now), Some(Difference::OtherTemplate)),
            // Texts that ask nothing.
            (0, 0, Some(&then), None),
        ] {
            let template = Some((None, then.sha256()));
            let record = PromptRecord::new(&Asked { through_template, plain, template, ..Asked::default() });
            assert_eq!(record.difference(asked), expected, "{through_template} {plain}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(PromptRecord::read(folder.path()), None);
        let record = PromptRecord::new(&Asked { plain: 2, ..Asked::default() });
        record.publish(folder.path()).unwrap();
        assert_eq!(PromptRecord::read(&folder.path().join("checkpoint-7")), Some(record.clone()));
        assert_eq!(PromptRecord::read(folder.path()), Some(record));
    }
}
