//! The templates of a task: Jinja2 as the harness sets it up.

use std::collections::BTreeSet;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, UndefinedBehavior, Value};

use super::config::{Field, TaskConfig};
use super::error::TaskError;
use crate::python::jinja;
use crate::python::jinja::guard::Subject;

/// Compiled templates by their text.
#[derive(Debug)]
pub(super) struct Templates {
    environment: Environment<'static>,
    subject: Subject,
}

/// Undefined variables are errors, a final line break stays, `regex_replace` is there.
fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = jinja::environment();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build()?);
    environment.add_filter("regex_replace", jinja::regex_replace);
    Ok(environment)
}

/// Whether a text is a template.
///
/// # Errors
/// Faults of it.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut environment = environment().map_err(|e| e.to_string())?;
    let subject = Subject::new("a template");
    jinja::add(&mut environment, "check".to_owned(), text.to_owned(), &subject).map_err(|e| message(&e))
}

/// Describes a fault, with the line where there are several.
fn message(error: &Error) -> String {
    let reason = jinja::reason(error);
    error.line().map_or_else(|| reason.clone(), |line| format!("{reason} (line {line} of the template)"))
}

impl Templates {
    /// Compiles all templates of a task.
    pub(super) fn compile(config: &TaskConfig) -> Result<Self, TaskError> {
        let fault = |error: &Error| TaskError::Settings {
            task: config.name.clone(),
            message: format!("a template is not valid: {}", message(error)),
        };
        let subject = Subject::new(&format!("a template of task `{}`", config.name));
        let mut templates = Self { environment: environment().map_err(|e| fault(&e))?, subject };
        let shots = &config.fewshot;
        let fields = [
            Some(&config.doc_to_text),
            Some(&config.doc_to_target),
            config.doc_to_choice.as_ref(),
            shots.doc_to_text.as_ref(),
            shots.doc_to_target.as_ref(),
            shots.doc_to_choice.as_ref(),
        ];
        let mut texts: BTreeSet<&str> = BTreeSet::from([config.description.as_str()]);
        texts.extend(config.gen_prefix.as_deref());
        texts.extend(shots.gen_prefix.as_deref());
        texts.extend(fields.into_iter().flatten().filter_map(|field| match field {
            Field::Template(text) => Some(text.as_str()),
            _ => None,
        }));
        for text in texts {
            let (name, source) = (text.to_owned(), text.to_owned());
            jinja::add(&mut templates.environment, name, source, &templates.subject).map_err(|e| fault(&e))?;
        }
        Ok(templates)
    }

    /// A template filled in with a document.
    ///
    /// # Errors
    /// Message, and the names that the document lacks.
    pub(super) fn render(&self, text: &str, doc: &Value) -> Result<String, (String, Vec<String>)> {
        jinja::render(&self.environment, text, doc.clone(), &self.subject).map_err(|error| {
            let missing = |name: &String| doc.get_attr(name).is_ok_and(|value| value.is_undefined());
            let known: BTreeSet<String> = self.environment.globals().map(|(name, _)| name.to_owned()).collect();
            let names = jinja::undeclared(&self.environment, text, &self.subject);
            let names = names.into_iter().filter(missing).filter(|n| !known.contains(n)).collect();
            (message(&error), names)
        })
    }
}
