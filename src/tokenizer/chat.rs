//! Chat templates, rendered as transformers does.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::error::TokenizerError;
use super::special_tokens::SpecialTokens;
use crate::python::jinja::guard::Subject;
use crate::python::repr::{is_space, value_of};
use crate::storage::hash::sha256_bytes;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Text of the message.
    pub content: String,
}

impl Message {
    /// A turn.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A conversation as a template rendered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// The prompt.
    pub text: String,
    /// The template refused the system message, which was left out.
    pub system_dropped: bool,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    special: Vec<(String, String)>,
    arguments: Map<String, serde_json::Value>,
    origin: String,
    subject: Subject,
}

const NAME: &str = "chat_template";

/// Marks the end of the message to continue; the blank at its end tells whether the template trims.
const CONTINUE: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

static GENERATION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").ok());

impl ChatTemplate {
    /// Compiles a template; `origin` is its file, for messages.
    ///
    /// # Errors
    /// [`TokenizerError::ChatSyntax`] with the line.
    pub fn new(source: String, special: &SpecialTokens, origin: String) -> Result<Self, TokenizerError> {
        let mut environment = crate::python::jinja::environment();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let fault = |error: &Error| TokenizerError::ChatSyntax { origin: origin.clone(), message: describe(error) };
        environment.set_syntax(syntax.map_err(|e| fault(&e))?);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| {
            jiff::fmt::strtime::format(&format, &crate::clock::now())
                .map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))
        });
        // `{% generation %}` marks what an assistant wrote, for training masks; here it is a scope.
        let compiled = match &*GENERATION {
            Some(tag) => tag.replace_all(&source, "{%$1 ${2}with $3%}").into_owned(),
            None => source.clone(),
        };
        let subject = Subject::new(&format!("the chat template {origin}"));
        crate::python::jinja::add(&mut environment, NAME.to_owned(), compiled, &subject).map_err(|e| fault(&e))?;
        let special = special.iter().map(|(role, text)| (role.to_owned(), text.to_owned())).collect();
        Ok(Self { environment, source, special, arguments: Map::new(), origin, subject })
    }

    /// Further variables for the template, such as `enable_thinking`.
    #[must_use]
    pub fn with_arguments(mut self, arguments: Map<String, serde_json::Value>) -> Self {
        self.arguments = arguments;
        self
    }

    /// The template's text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// SHA-256 of the template's text.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256_bytes(self.source.as_bytes())
    }

    /// The prompt of a conversation. With `add_generation_prompt` the assistant's turn is opened;
    /// with `continue_final_message` the text ends with the last message, its turn left open.
    ///
    /// # Errors
    /// [`TokenizerError::ChatRefused`] when the template raises, for example because it knows no
    /// system role; [`TokenizerError::ChatNotContinuable`].
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> Result<String, TokenizerError> {
        let mut messages = messages.to_vec();
        let not_continuable = || TokenizerError::ChatNotContinuable { origin: self.origin.clone() };
        let mut continued = None;
        if continue_final_message {
            let last = messages.last_mut().ok_or_else(not_continuable)?;
            continued = Some(last.content.trim_matches(is_space).to_owned());
            last.content.push_str(CONTINUE);
        }
        let list: Vec<Value> = messages
            .iter()
            .map(|m| Value::from_pairs([("role", m.role.as_str()), ("content", m.content.as_str())]))
            .collect();
        let rendered = self.rendered(list, &Map::new(), add_generation_prompt)?;
        let Some(message) = continued else { return Ok(rendered) };
        let tag = CONTINUE.trim_end();
        let place = rendered.rfind(tag).filter(|_| rendered.contains(&message)).ok_or_else(not_continuable)?;
        let (head, tail) = rendered.split_at(place);
        // A template that trims took the tag's blank along, and blanks before the tag are its own.
        let kept = if tail.starts_with(CONTINUE) { head } else { head.trim_end_matches(is_space) };
        Ok(kept.to_owned())
    }

    /// The text of messages with all their keys (`tool_calls`, `reasoning_content`), as transformers'
    /// `apply_chat_template` hands them to the template; `variables`, such as `tools`, stand beside them.
    ///
    /// # Errors
    /// [`TokenizerError::ChatRefused`] as in [`render`](Self::render).
    pub fn render_messages(
        &self,
        messages: &[Map<String, serde_json::Value>],
        variables: &Map<String, serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, TokenizerError> {
        let value = |message: &Map<String, serde_json::Value>| {
            Value::from_pairs(message.iter().map(|(key, value)| (key.as_str(), value_of(value))))
        };
        self.rendered(messages.iter().map(value).collect(), variables, add_generation_prompt)
    }

    fn rendered(
        &self,
        messages: Vec<Value>,
        further: &Map<String, serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, TokenizerError> {
        let mut variables: Vec<(String, Value)> =
            self.special.iter().map(|(role, text)| (role.clone(), Value::from(text.as_str()))).collect();
        for name in ["tools", "documents"] {
            variables.push((name.to_owned(), Value::from(())));
        }
        let given = self.arguments.iter().chain(further);
        variables.extend(given.map(|(name, value)| (name.clone(), value_of(value))));
        variables.push(("messages".to_owned(), Value::from(messages)));
        variables.push(("add_generation_prompt".to_owned(), Value::from(add_generation_prompt)));
        crate::python::jinja::render(&self.environment, NAME, Value::from_pairs(variables), &self.subject)
            .map_err(|e| TokenizerError::ChatRefused { origin: self.origin.clone(), message: describe(&e) })
    }

    /// [`render`](Self::render), and once more without the system message when the template refuses.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_or_without_system(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> Result<RenderedChat, TokenizerError> {
        match self.render(messages, add_generation_prompt, continue_final_message) {
            Ok(text) => Ok(RenderedChat { text, system_dropped: false }),
            Err(TokenizerError::ChatRefused { .. }) if messages.iter().any(|m| m.role == "system") => {
                let others: Vec<Message> = messages.iter().filter(|m| m.role != "system").cloned().collect();
                let text = self.render(&others, add_generation_prompt, continue_final_message)?;
                Ok(RenderedChat { text, system_dropped: true })
            }
            Err(error) => Err(error),
        }
    }
}

/// Describes a failure, with the line of the template.
fn describe(error: &Error) -> String {
    let what = crate::python::jinja::reason(error);
    error.line().map_or_else(|| what.clone(), |line| format!("{what} (line {line} of the template)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn template(source: &str) -> ChatTemplate {
        let special = SpecialTokens::new(BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]));
        ChatTemplate::new(source.to_owned(), &special, "test".to_owned()).unwrap()
    }

    #[test]
    fn a_refused_system_message_is_left_out() {
        let source = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}\
            {% for m in messages %}{{ m.content }};{% endfor %}";
        let chat = template(source);
        let messages = [Message::new("system", "S"), Message::new("user", "U")];
        let error = chat.render(&messages, true, false).unwrap_err();
        assert!(error.to_string().contains("no system role (line 1"), "{error}");
        let rendered = chat.render_or_without_system(&messages, true, false).unwrap();
        assert_eq!((rendered.text.as_str(), rendered.system_dropped), ("U;", true));
        assert!(matches!(
            ChatTemplate::new("{% if".into(), &SpecialTokens::default(), "t".into()),
            Err(TokenizerError::ChatSyntax { .. })
        ));
    }

    #[test]
    fn the_final_message_is_continued() {
        let messages = [Message::new("user", "U"), Message::new("assistant", "The answer is ")];
        let plain = template("{{ bos_token }}{% for m in messages %}[{{ m.content }}]\n{% endfor %}");
        assert_eq!(plain.render(&messages, false, true).unwrap(), "<s>[U]\n[The answer is ");
        let trimming = template("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}");
        assert_eq!(trimming.render(&messages, false, true).unwrap(), "[U][The answer is");
        let hiding = template("{{ messages[0].content }}");
        assert!(matches!(hiding.render(&messages, false, true), Err(TokenizerError::ChatNotContinuable { .. })));
    }

    #[test]
    fn generation_tags_are_tolerated() {
        let source =
            "{% for m in messages %}\n  {%- generation -%}\n {{ m.content }}\n{% endgeneration %}\n{% endfor %}x";
        let chat = template(source);
        assert_eq!(chat.render(&[Message::new("user", "U")], false, false).unwrap(), "U\nx");
    }
}
