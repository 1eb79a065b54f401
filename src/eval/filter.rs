//! Filters: from raw responses to the text that is scored, with the harness's functions.
//!
//! A pipeline starts with all responses of a document and usually ends with `take_first`. Patterns
//! are Python's; what `re` refuses is refused when the pipeline is built, so before a model has run.

use regex::Regex;
use serde_json::{Map, Value};

use crate::error::{Diagnose, ErrorKind};
use crate::python::regex::{Found, PythonRegex, SearchError};
use crate::suggest::nearest;
use crate::task::spec::{FilterPipeline, FilterStep};

/// All functions, with their arguments.
const FUNCTIONS: &[(&str, &[&str])] = crate::task::spec::FILTER_FUNCTIONS;
const DEFAULT_PATTERN: &str = r"#### (\-?[0-9\.\,]+)";

/// Reasons why a pipeline cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum FilterError {
    #[error("filter `{pipeline}` uses the unknown function `{function}`")]
    Unknown { pipeline: String, function: String },
    #[error("filter `{pipeline}` uses `{function}`, which is not supported")]
    Unsupported { pipeline: String, function: String },
    #[error("function `{function}` of filter `{pipeline}` has no argument `{key}`")]
    UnknownArgument { pipeline: String, function: String, key: String, known: &'static [&'static str] },
    #[error("argument `{key}` of `{function}` in filter `{pipeline}` must be {expected}")]
    Argument { pipeline: String, function: String, key: String, expected: &'static str },
    #[error("pattern `{pattern}` of filter `{pipeline}` cannot be used: {reason}")]
    Pattern { pipeline: String, pattern: String, reason: String },
    #[error("filter `{pipeline}` cannot be applied to document {document}")]
    Search { pipeline: String, document: usize, source: SearchError },
    #[error("filter `{pipeline}` takes the first {k} responses, but document {document} has {found}")]
    TooFew { pipeline: String, k: usize, document: usize, found: usize },
    #[error("`{function}` of filter `{pipeline}` follows a step that left a single response")]
    Order { pipeline: String, function: String },
}

impl Diagnose for FilterError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unknown { function, .. } => {
                let known: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
                vec![match nearest(function, &known) {
                    Some(candidate) => format!("did you mean `{candidate}`?"),
                    None => format!("known functions: {}", known.join(", ")),
                }]
            }
            Self::UnknownArgument { key, known, .. } => vec![match nearest(key, known) {
                Some(candidate) => format!("did you mean `{candidate}`?"),
                None => format!("its arguments: {}", known.join(", ")),
            }],
            Self::TooFew { .. } => vec!["raise `repeats` of the task".to_owned()],
            Self::Order { .. } => vec!["let `take_first` come last".to_owned()],
            _ => Vec::new(),
        }
    }
}

/// Compiles a pattern.
///
/// # Errors
/// The reason in words, for patterns that Python's `re` refuses.
pub(crate) fn compile(pattern: &str) -> Result<PythonRegex, String> {
    PythonRegex::new(pattern).map_err(|error| error.to_string())
}

/// Strips as Python's `str.strip()`: white space and the four information separators.
#[must_use]
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// The responses of one document on their way through a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Responses {
    /// All of them.
    Many(Vec<Value>),
    /// The one that was chosen.
    One(Value),
}

impl Responses {
    /// Their texts; what is no text (`null` of a `map`) is left out.
    #[must_use]
    pub(crate) fn texts(&self) -> Vec<&str> {
        match self {
            Self::Many(list) => list.iter().filter_map(Value::as_str).collect(),
            Self::One(value) => value.as_str().into_iter().collect(),
        }
    }

    /// As JSON, for samples files.
    #[must_use]
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Many(list) => Value::Array(list.clone()),
            Self::One(value) => value.clone(),
        }
    }
}

/// A checked pipeline.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    name: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    TakeFirst,
    TakeFirstK(usize),
    MajorityVote,
    Regex(Extract),
    PosTags(Value),
    MultiChoice { extract: Extract, ignores: Ignores },
    RemoveWhitespace,
    Lowercase,
    Uppercase,
    Map { table: Map<String, Value>, default: Value },
}

#[derive(Debug, Clone)]
struct Extract {
    pattern: PythonRegex,
    group_select: i64,
    fallback: String,
}

#[derive(Debug, Clone)]
struct Ignores {
    regexes: Vec<PythonRegex>,
    case: bool,
    punctuation: Option<Regex>,
}

impl Pipeline {
    /// The harness's default: the first response, under the name `none`.
    #[must_use]
    pub(crate) fn first() -> Self {
        Self { name: "none".to_owned(), steps: vec![Step::TakeFirst] }
    }

    /// Checks a pipeline of a task file.
    ///
    /// # Errors
    /// Unknown or unsupported functions and arguments, and patterns that cannot be compiled.
    pub(crate) fn new(spec: &FilterPipeline) -> Result<Self, FilterError> {
        let steps = spec.steps.iter().map(|step| Reader { pipeline: &spec.name, step }.read());
        let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
        if let Some(place) = steps.iter().position(|step| matches!(step, Step::TakeFirst))
            && let Some(late) = spec.steps.get(place + 1)
        {
            return Err(FilterError::Order { pipeline: spec.name.clone(), function: late.function.clone() });
        }
        Ok(Self { name: spec.name.clone(), steps })
    }

    /// Second half of the results' keys.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it does nothing but take the first response, which is all that scored choices allow.
    #[must_use]
    pub(crate) fn is_plain(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::TakeFirst))
    }

    /// Runs the responses of a document through the steps. `choices` are the document's.
    ///
    /// # Errors
    /// [`FilterError::TooFew`] when there are fewer responses than a step wants.
    pub(crate) fn apply(
        &self,
        document: usize,
        responses: &[String],
        choices: &[String],
    ) -> Result<Responses, FilterError> {
        let searched = |source| FilterError::Search { pipeline: self.name.clone(), document, source };
        let mut values: Vec<Value> = responses.iter().cloned().map(Value::String).collect();
        for step in &self.steps {
            match step {
                Step::TakeFirst => {
                    return Ok(Responses::One(values.into_iter().next().unwrap_or(Value::Null)));
                }
                Step::TakeFirstK(k) => {
                    if values.len() < *k {
                        let found = values.len();
                        return Err(FilterError::TooFew { pipeline: self.name.clone(), k: *k, document, found });
                    }
                    values.truncate(*k);
                }
                Step::MajorityVote => values = majority(values).into_iter().collect(),
                Step::Regex(extract) => each(&mut values, |text| Ok(extract.apply(text)?.into())).map_err(searched)?,
                Step::PosTags(fallback) => each(&mut values, |text| Ok(pos_tags(text, fallback))).map_err(searched)?,
                Step::MultiChoice { extract, ignores } => {
                    let choices = ChoicePatterns::new(choices, ignores).map_err(searched)?;
                    each(&mut values, |text| Ok(choices.apply(text, extract, ignores)?.into())).map_err(searched)?;
                }
                Step::RemoveWhitespace => each(&mut values, |text| Ok(strip(text).into())).map_err(searched)?,
                Step::Lowercase => each(&mut values, |text| Ok(text.to_lowercase().into())).map_err(searched)?,
                Step::Uppercase => each(&mut values, |text| Ok(text.to_uppercase().into())).map_err(searched)?,
                Step::Map { table, default } => {
                    each(&mut values, |text| Ok(table.get(text).unwrap_or(default).clone())).map_err(searched)?;
                }
            }
        }
        Ok(Responses::Many(values))
    }
}

/// Maps each value; what is no text is empty to a pattern, as in the harness.
fn each(values: &mut [Value], f: impl Fn(&str) -> Result<Value, SearchError>) -> Result<(), SearchError> {
    for value in values {
        *value = f(value.as_str().unwrap_or(""))?;
    }
    Ok(())
}

/// The most frequent value; the first of equally frequent ones.
fn majority(values: Vec<Value>) -> Option<Value> {
    let mut counts: Vec<(Value, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(seen, _)| *seen == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let greatest = counts.iter().map(|(_, count)| *count).max()?;
    counts.into_iter().find(|(_, count)| *count == greatest).map(|(value, _)| value)
}

/// The tags of `('token', 'TAG')` pairs.
fn pos_tags(text: &str, fallback: &Value) -> Value {
    static PAIRS: std::sync::LazyLock<Option<Regex>> =
        std::sync::LazyLock::new(|| Regex::new(r"\('([^']*)', '([^']*)'\)").ok());
    let tags: Vec<Value> = PAIRS
        .iter()
        .flat_map(|pairs| pairs.captures_iter(text))
        .filter_map(|found| found.get(2).map(|tag| tag.as_str().into()))
        .collect();
    if tags.is_empty() { fallback.clone() } else { Value::Array(tags) }
}

/// One match as Python's `findall` gives it: the whole text without groups, the group's text with
/// one, else the first group that is not empty. `None`: there are groups, and all are empty.
fn matched<'t>(found: &Found<'t>) -> Option<&'t str> {
    let group = |index: usize| found.group(index).unwrap_or("");
    match found.groups() {
        1 => Some(group(0)),
        2 => Some(group(1)),
        groups => (1..groups).map(group).find(|text| !text.is_empty()),
    }
}

/// The match that a Python index selects; none where there are too few.
fn select<'t>(pattern: &PythonRegex, text: &'t str, index: i64) -> Result<Option<Found<'t>>, SearchError> {
    let mut found = pattern.find_all(text)?;
    let place = if index < 0 { index + found.len() as i64 } else { index };
    let place = usize::try_from(place).ok().filter(|place| *place < found.len());
    Ok(place.map(|place| found.swap_remove(place)))
}

impl Extract {
    /// The selected match. Where the harness would end with an index error, the fallback.
    fn apply(&self, text: &str) -> Result<String, SearchError> {
        Ok(match select(&self.pattern, text, self.group_select)? {
            Some(found) => strip(matched(&found).unwrap_or(&self.fallback)).to_owned(),
            None => self.fallback.clone(),
        })
    }

    /// The selected match of another pattern, translated; empty without one.
    fn find(&self, pattern: &PythonRegex, text: &str, translation: &[(String, String)]) -> Result<String, SearchError> {
        let Some(found) = select(pattern, text, self.group_select)? else { return Ok(String::new()) };
        let found = strip(matched(&found).unwrap_or(""));
        let translated = translation.iter().rev().find(|(from, _)| !found.is_empty() && from == found);
        Ok(translated.map_or_else(|| found.to_owned(), |(_, to)| to.clone()))
    }
}

impl Ignores {
    fn apply(&self, text: &str) -> Result<String, SearchError> {
        let mut text = text.to_owned();
        for pattern in &self.regexes {
            text = pattern.replace(&text, 0, |_| String::new())?;
        }
        if self.case {
            text = text.to_lowercase();
        }
        Ok(match &self.punctuation {
            Some(punctuation) => punctuation.replace_all(&text, "").into_owned(),
            None => text,
        })
    }
}

/// The patterns that a document's choices make: their texts, longest first, and their letters.
struct ChoicePatterns {
    texts: Option<PythonRegex>,
    by_text: Vec<(String, String)>,
    letters: Option<PythonRegex>,
    by_letter: Vec<(String, String)>,
}

impl ChoicePatterns {
    fn new(choices: &[String], ignores: &Ignores) -> Result<Self, SearchError> {
        let (mut by_text, mut by_letter, mut escaped) = (Vec::new(), Vec::new(), Vec::new());
        for (choice, letter) in choices.iter().zip('A'..) {
            let text = ignores.apply(strip(choice))?;
            escaped.push(regex::escape(&text));
            by_text.push((text, format!("({letter})")));
            by_letter.push((letter.to_string(), format!("({letter})")));
        }
        // Longest first, so that a choice that begins another one does not hide it. The sort is
        // stable, and lengths count characters, both as in Python.
        escaped.sort_by_key(|text| std::cmp::Reverse(text.chars().count()));
        let letters: Vec<String> = by_letter.iter().map(|(letter, _)| regex::escape(letter)).collect();
        Ok(Self {
            texts: PythonRegex::new(&escaped.join("|")).ok(),
            by_text,
            letters: PythonRegex::new(&format!(r":[\s]*({})", letters.join("|"))).ok(),
            by_letter,
        })
    }

    fn apply(&self, text: &str, extract: &Extract, ignores: &Ignores) -> Result<String, SearchError> {
        let mut found = extract.find(&extract.pattern, text, &[])?;
        if let Some(texts) = self.texts.as_ref().filter(|_| found.is_empty()) {
            found = extract.find(texts, &ignores.apply(text)?, &self.by_text)?;
        }
        if let Some(letters) = self.letters.as_ref().filter(|_| found.is_empty()) {
            found = extract.find(letters, text, &self.by_letter)?;
        }
        Ok(if found.is_empty() { extract.fallback.clone() } else { found })
    }
}

/// Reads one step.
struct Reader<'a> {
    pipeline: &'a str,
    step: &'a FilterStep,
}

impl Reader<'_> {
    fn read(&self) -> Result<Step, FilterError> {
        let function = self.step.function.as_str();
        if ["format_span", "custom", "decontaminate"].contains(&function) {
            return Err(FilterError::Unsupported { pipeline: self.pipeline.into(), function: function.into() });
        }
        let Some(&(_, known)) = FUNCTIONS.iter().find(|(name, _)| *name == function) else {
            return Err(FilterError::Unknown { pipeline: self.pipeline.into(), function: function.into() });
        };
        if let Some(key) = self.step.arguments.keys().find(|key| !known.contains(&key.as_str())) {
            let key = key.clone();
            return Err(FilterError::UnknownArgument {
                pipeline: self.pipeline.into(),
                function: function.into(),
                key,
                known,
            });
        }
        Ok(match function {
            "take_first_k" => Step::TakeFirstK(
                self.value("k")
                    .and_then(Value::as_u64)
                    .and_then(|k| usize::try_from(k).ok())
                    .ok_or_else(|| self.wrong("k", "a whole number"))?,
            ),
            "majority_vote" => Step::MajorityVote,
            "regex" => Step::Regex(self.extract()?),
            "regex_pos" => {
                Step::PosTags(self.value("fallback").cloned().unwrap_or_else(|| serde_json::json!(["invalid"])))
            }
            "multi_choice_regex" => Step::MultiChoice { extract: self.extract()?, ignores: self.ignores()? },
            "remove_whitespace" => Step::RemoveWhitespace,
            "lowercase" => Step::Lowercase,
            "uppercase" => Step::Uppercase,
            "map" => Step::Map {
                table: match self.value("mapping_dict") {
                    None => Map::new(),
                    Some(Value::Object(table)) => table.clone(),
                    Some(_) => return Err(self.wrong("mapping_dict", "a mapping")),
                },
                default: self.value("default_value").cloned().unwrap_or(Value::Null),
            },
            _ => Step::TakeFirst,
        })
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.step.arguments.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, expected: &'static str) -> FilterError {
        FilterError::Argument {
            pipeline: self.pipeline.into(),
            function: self.step.function.clone(),
            key: key.into(),
            expected,
        }
    }

    fn text(&self, key: &str, default: &str) -> Result<String, FilterError> {
        match self.value(key) {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, FilterError> {
        match self.value(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    fn pattern(&self, text: &str) -> Result<PythonRegex, FilterError> {
        compile(text).map_err(|reason| FilterError::Pattern {
            pipeline: self.pipeline.into(),
            pattern: text.to_owned(),
            reason,
        })
    }

    fn extract(&self) -> Result<Extract, FilterError> {
        let group_select = match self.value("group_select") {
            None => 0,
            Some(value) => value.as_i64().ok_or_else(|| self.wrong("group_select", "a whole number"))?,
        };
        Ok(Extract {
            pattern: self.pattern(&self.text("regex_pattern", DEFAULT_PATTERN)?)?,
            group_select,
            fallback: self.text("fallback", "[invalid]")?,
        })
    }

    fn ignores(&self) -> Result<Ignores, FilterError> {
        let regexes = match self.value("regexes_to_ignore") {
            None => Vec::new(),
            Some(Value::Array(list)) => list
                .iter()
                .map(|item| {
                    self.pattern(item.as_str().ok_or_else(|| self.wrong("regexes_to_ignore", "a list of patterns"))?)
                })
                .collect::<Result<_, _>>()?,
            Some(_) => return Err(self.wrong("regexes_to_ignore", "a list of patterns")),
        };
        // Python has no such class; the harness lists the characters.
        let punctuation = self.flag("ignore_punctuation")?.then(|| Regex::new(r"\p{P}").ok()).flatten();
        Ok(Ignores { regexes, case: self.flag("ignore_case")?, punctuation })
    }
}
