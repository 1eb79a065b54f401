//! Filters and methods that could make huge texts of small ones, with their size computed first.

use minijinja::value::{Kwargs, Rest, StringInput, ValueOrKwargs};
use minijinja::{Error, State, Value, filters};

use super::template::fits;

/// Least size of an element of a list.
const ELEMENT: usize = 24;

pub(super) fn indent(
    value: StringInput<'_>,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let wide = match width {
        Some(width) => width,
        None => options.get::<Option<usize>>("width")?.unwrap_or(4),
    };
    let lines = value.as_str().split('\n').count();
    fits(lines.saturating_mul(wide).saturating_add(value.as_str().len()))?;
    filters::indent(value, width, first, blank, options)
}

pub(super) fn batch(state: &State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    // Only a filled last batch has more elements than the value.
    if fill.is_some() {
        fits(count.saturating_mul(ELEMENT))?;
    }
    filters::batch(state, value, count, fill)
}

pub(super) fn slice(state: &State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    fits(count.saturating_mul(ELEMENT))?;
    filters::slice(state, value, count, fill)
}

pub(super) fn format(state: &mut State, text: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let spec = text.as_str().unwrap_or("");
    let mut widths = printf_widths(spec);
    if spec.contains('*') {
        let values = arguments.iter().map(|argument| argument.clone().into_value());
        widths = widths.saturating_add(integers(values));
    }
    fits(widths)?;
    filters::format(state, text, arguments)
}

pub(super) fn join(
    state: &mut State,
    value: &Value,
    joiner: Option<StringInput<'_>>,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<Value, Error> {
    joined_fits(value, joiner.as_ref().map_or("", |joiner| joiner.as_str()))?;
    filters::join(state, value, joiner, attribute, options)
}

pub(super) fn replace(
    state: &mut State,
    value: StringInput<'_>,
    from: StringInput<'_>,
    to: StringInput<'_>,
) -> Result<Value, Error> {
    replaced_fits(value.as_str(), from.as_str(), to.as_str())?;
    filters::replace(state, value, from, to)
}

/// Whether a method call of a string makes no huge text.
pub(super) fn check_method(text: &str, name: &str, arguments: &[Value]) -> Result<(), Error> {
    match (name, arguments) {
        ("join", [values]) => joined_fits(values, text),
        ("replace", [from, to, ..]) => match (from.as_str(), to.as_str()) {
            (Some(from), Some(to)) => replaced_fits(text, from, to),
            _ => Ok(()),
        },
        ("format", values) => {
            let mut widths = braces_widths(text);
            if text.contains(":{") || text.matches('{').count() > text.matches('}').count() || text.contains("{}}") {
                widths = widths.saturating_add(integers(values.iter().cloned()));
            }
            fits(widths)
        }
        _ => Ok(()),
    }
}

fn joined_fits(values: &Value, joiner: &str) -> Result<(), Error> {
    let Some(count) = values.len() else { return Ok(()) };
    let mut bytes = joiner.len().saturating_mul(count);
    if values.as_str().is_none() {
        for value in values.try_iter()? {
            bytes = bytes.saturating_add(value.as_str().map_or(0, str::len));
        }
    }
    fits(bytes)
}

fn replaced_fits(text: &str, from: &str, to: &str) -> Result<(), Error> {
    let longer = to.len().saturating_sub(from.len());
    fits(if longer == 0 { 0 } else { text.matches(from).count().saturating_mul(longer).saturating_add(text.len()) })
}

/// Integers among the arguments, any of which may be a width.
fn integers(values: impl Iterator<Item = Value>) -> usize {
    values.filter_map(|value| value.as_usize()).fold(0, usize::saturating_add)
}

/// Widths and precisions of `%...` conversions.
fn printf_widths(text: &str) -> usize {
    let mut widths: usize = 0;
    for piece in text.split('%').skip(1) {
        // `%(name)5d`: the name has no width.
        let piece = piece.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(piece, |(_, rest)| rest);
        let end = piece.find(|c: char| c.is_alphabetic()).unwrap_or(piece.len());
        widths = widths.saturating_add(numbers(&piece[..end]));
    }
    widths
}

/// Widths and precisions of `{:...}` fields.
fn braces_widths(text: &str) -> usize {
    let fields = text.split('{').skip(1).filter_map(|field| field.split('}').next()?.split_once(':'));
    fields.map(|(_, spec)| numbers(spec)).fold(0, usize::saturating_add)
}

fn numbers(text: &str) -> usize {
    let runs = text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
    runs.map(|run| run.parse().unwrap_or(usize::MAX)).fold(0, usize::saturating_add)
}
