//! Question and answer of a document: `doc_to_text`, `doc_to_target`, `doc_to_choice`.

use serde_json::Value;

use super::config::{Field, TaskConfig};
use super::data::Task;
use super::error::{TaskError, several};
use super::row::Doc;
use crate::python::literal;
use crate::python::repr::{json_text, value_of};

/// Characters of a message about a document.
const LONGEST_MESSAGE: usize = 600;

/// A document as its templates see it.
pub(super) struct Document<'a> {
    task: &'a Task,
    /// Place among the evaluated documents, for messages; that of the pool for examples.
    id: usize,
    doc: &'a Doc,
    value: minijinja::Value,
}

impl<'a> Document<'a> {
    pub(super) fn new(task: &'a Task, id: usize, doc: &'a Doc) -> Self {
        Self { task, id, doc, value: value_of(&Value::Object(doc.clone())) }
    }

    fn config(&self) -> &TaskConfig {
        self.task.config()
    }

    pub(super) fn fault(&self, key: &'static str, message: String, hint: Option<String>) -> TaskError {
        // A message may quote the document, which may be of any length.
        let message = match message.char_indices().nth(LONGEST_MESSAGE) {
            Some((end, _)) => format!("{}…", &message[..end]),
            None => message,
        };
        TaskError::Document { task: self.config().name.clone(), document: self.id, key, message, hint }
    }

    fn column(&self, name: &str) -> Option<Value> {
        // The columns are those of the evaluated split, also for examples.
        let known = self.task.evaluation.columns.iter().any(|column| column == name);
        known.then(|| self.doc.get(name).cloned().unwrap_or(Value::Null))
    }

    fn render(&self, key: &'static str, text: &str) -> Result<String, TaskError> {
        self.task.templates.render(text, &self.value).map_err(|(message, missing)| {
            let columns = several(&self.doc.keys().cloned().collect::<Vec<_>>());
            let hint = (!missing.is_empty())
                .then(|| format!("the document has no `{}`; it has: {columns}", missing.join("`, `")));
            self.fault(key, message, hint)
        })
    }

    /// A plain text key: a column's value or a rendered template.
    pub(super) fn text_key(&self, key: &'static str, text: Option<&str>) -> Result<Option<String>, TaskError> {
        match text {
            None | Some("") => Ok(None),
            Some(text) => match self.doc.get(text) {
                Some(value) => Ok(Some(json_text(value))),
                None => self.render(key, text).map(Some),
            },
        }
    }

    /// `doc_to_text`: a text, or the number of a choice.
    pub(super) fn text(&self, field: Option<&Field>) -> Result<Value, TaskError> {
        let key = "doc_to_text";
        match field.unwrap_or(&self.config().doc_to_text) {
            Field::Integer(number) => Ok(Value::from(*number)),
            Field::List(_) => Err(self.fault(key, "must be a string, not a list".to_owned(), None)),
            Field::Template(text) => match self.column(text) {
                Some(value) => Ok(value),
                None => self.render(key, text).map(|text| self.digits(text)),
            },
        }
    }

    /// `doc_to_target`: a text, the number of a choice, or a list of either.
    pub(super) fn target(&self, field: Option<&Field>) -> Result<Value, TaskError> {
        let key = "doc_to_target";
        match field.unwrap_or(&self.config().doc_to_target) {
            Field::Integer(number) => Ok(Value::from(*number)),
            Field::List(items) => Ok(Value::Array(items.clone())),
            Field::Template(text) => match self.column(text) {
                Some(value) => Ok(value),
                None => {
                    let text = self.render(key, text)?;
                    if text.len() >= 2 && text.starts_with('[') && text.ends_with(']') {
                        return Ok(literal::parse(&text).unwrap_or(Value::String(text)));
                    }
                    Ok(self.digits(text))
                }
            },
        }
    }

    /// Digits count as a number where there are choices.
    fn digits(&self, text: String) -> Value {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<i64>() {
            Ok(number) if digits && self.config().doc_to_choice.is_some() => Value::from(number),
            _ => Value::String(text),
        }
    }

    /// `doc_to_choice`: the choices' texts, none when the task has no such key.
    pub(super) fn choices(&self, field: Option<&Field>) -> Result<Option<Vec<String>>, TaskError> {
        let key = "doc_to_choice";
        let Some(field) = field.or(self.config().doc_to_choice.as_ref()) else { return Ok(None) };
        let value = match field {
            Field::Integer(_) => return Err(self.fault(key, "a number is no list of choices".to_owned(), None)),
            Field::List(items) => Value::Array(items.clone()),
            Field::Template(text) => match self.column(text) {
                Some(value) => value,
                None => {
                    let text = self.render(key, text)?;
                    literal::parse(&text).map_err(|e| self.fault(key, format!("no list of choices: {e}"), None))?
                }
            },
        };
        match value {
            Value::Array(items) if !items.is_empty() => Ok(Some(items.iter().map(json_text).collect())),
            _ => Err(self.fault(key, "there are no choices".to_owned(), None)),
        }
    }

    pub(super) fn json(&self) -> Value {
        Value::Object(self.doc.clone())
    }
}

/// An answer as text: a number names a choice, of a list the first counts.
pub(super) fn answer_text(answer: &Value, choices: Option<&[String]>) -> Option<String> {
    match answer {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => answer_text(items.first()?, choices),
        Value::Number(_) | Value::Bool(_) => choices?.get(index(answer)?).cloned(),
        _ => None,
    }
}

/// A number from 0; booleans are numbers in Python.
pub(super) fn index(value: &Value) -> Option<usize> {
    match value {
        Value::Bool(truth) => Some(usize::from(*truth)),
        other => other.as_u64().map(|n| n as usize),
    }
}

/// The places of the right choices. What is out of range or not among them is left out.
pub(super) fn gold(answer: &Value, choices: &[String]) -> Vec<usize> {
    match answer {
        Value::Array(items) => {
            let mut places: Vec<usize> = Vec::new();
            for place in items.iter().flat_map(|item| gold(item, choices)) {
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            places
        }
        Value::String(text) => choices.iter().position(|choice| choice == text).into_iter().collect(),
        other => index(other).filter(|place| *place < choices.len()).into_iter().collect(),
    }
}
