//! Generation settings: `generation_kwargs`, each key honoured or refused.
//!
//! The harness hands these keys to transformers' `generate`. What billon's greedy and temperature
//! sampling cannot follow would give other texts than the file asks for, so it is an error; values
//! that change nothing (`num_beams: 1`, `top_p` of greedy text) are fine.

use serde_json::{Map, Value};

use crate::suggest::advice;

/// Generation settings.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationArguments {
    /// The text ends before the first of these; the end-of-sequence text counts without being named.
    pub until: Vec<String>,
    /// Most new tokens.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Whether tokens are drawn.
    pub do_sample: bool,
    /// `generation_kwargs` as the results' samples show them.
    pub raw: Map<String, Value>,
}

/// Names of the most new tokens, in order of priority.
const MAX_TOKENS: &[&str] = &["max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"];

impl GenerationArguments {
    /// Reads `generation_kwargs` that `faults` found nothing wrong with, by the harness's rules: 256 new
    /// tokens unless said otherwise, and greedy unless a temperature above 0 stands without
    /// `do_sample: false`.
    #[must_use]
    pub fn from_kwargs(raw: &Map<String, Value>) -> Self {
        let until = match raw.get("until") {
            Some(Value::Array(list)) => list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
            Some(Value::String(text)) => vec![text.clone()],
            _ => Vec::new(),
        };
        let max_tokens = MAX_TOKENS.iter().find_map(|key| raw.get(*key).and_then(number)).map_or(256, |n| n as usize);
        let temperature = raw.get("temperature").and_then(number).unwrap_or(0.0);
        let do_sample = raw.get("do_sample").and_then(Value::as_bool);
        let temperature = if do_sample == Some(false) { 0.0 } else { temperature };
        let do_sample = do_sample.unwrap_or(temperature > 0.0);
        Self { until, max_tokens, temperature, do_sample, raw: raw.clone() }
    }

    /// Greedy text for the generation protocols of a classification task: no stop string, and few
    /// tokens (PIXIU's 10 unless the task says more).
    #[must_use]
    pub fn for_labels(max_tokens: usize) -> Self {
        let raw = [
            ("until", Value::Array(Vec::new())),
            ("do_sample", Value::Bool(false)),
            ("temperature", Value::from(0.0)),
            ("max_gen_toks", Value::from(max_tokens)),
        ];
        Self::from_kwargs(&raw.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

/// Something wrong with a key of `generation_kwargs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub key: String,
    pub message: String,
    pub help: String,
}

/// Keys that are followed.
pub(super) const KNOWN: &[&str] =
    &["until", "max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens", "do_sample", "temperature"];

/// Keys of transformers that only sampling looks at.
const SAMPLING: &[&str] = &["top_p", "top_k", "typical_p", "min_p", "epsilon_cutoff", "eta_cutoff"];

/// Other keys of transformers, with the values that stand for not using them.
const NEUTRAL: &[(&str, &[f64])] = &[
    ("num_beams", &[1.0]),
    ("num_beam_groups", &[1.0]),
    ("num_return_sequences", &[1.0]),
    ("repetition_penalty", &[1.0]),
    ("encoder_repetition_penalty", &[1.0]),
    ("length_penalty", &[1.0]),
    ("diversity_penalty", &[0.0]),
    ("no_repeat_ngram_size", &[0.0]),
    ("min_length", &[0.0]),
    ("min_new_tokens", &[0.0]),
    ("penalty_alpha", &[0.0]),
    ("guidance_scale", &[1.0]),
    ("presence_penalty", &[0.0]),
    ("frequency_penalty", &[0.0]),
    ("early_stopping", &[0.0]),
    ("use_cache", &[0.0, 1.0]),
];

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        _ => None,
    }
}

/// Everything in `generation_kwargs` that is misspelt, of the wrong type, or cannot be followed.
pub(super) fn faults(raw: &Map<String, Value>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |key: &str, message: String, help: &str| {
        faults.push(Fault { key: key.to_owned(), message, help: help.to_owned() });
    };
    let temperature = raw.get("temperature").filter(|value| !value.is_null());
    let degrees = temperature.and_then(|value| number(value).filter(|_| !value.is_boolean()));
    let do_sample = raw.get("do_sample").and_then(Value::as_bool);
    // As `from_kwargs` decides it.
    let samples = do_sample.unwrap_or(degrees.is_some_and(|degrees| degrees > 0.0));
    for (key, value) in raw.iter().filter(|(_, value)| !value.is_null()) {
        let key = key.as_str();
        match key {
            "until" => {
                let texts = match value {
                    Value::Array(list) => list.iter().all(Value::is_string),
                    other => other.is_string(),
                };
                if !texts {
                    let help = "put a stop that is a number or a word like `no` in quotes";
                    fault(key, "`until` must be a text or a list of texts".to_owned(), help);
                }
            }
            "temperature" => {
                if degrees.is_none_or(|degrees| !degrees.is_finite() || degrees < 0.0) {
                    fault(key, format!("`temperature` must be a number, 0 or more, not {value}"), "");
                }
            }
            "do_sample" => match value.as_bool() {
                None => fault(key, format!("`do_sample` must be true or false, not {value}"), ""),
                Some(true) if degrees.is_none_or(|degrees| degrees == 0.0) => {
                    let help = "set a temperature, or `do_sample: false` for greedy text";
                    fault(key, "`do_sample: true` needs a `temperature` above 0".to_owned(), help);
                }
                Some(_) => {}
            },
            _ if KNOWN.contains(&key) => {
                let whole = value.as_f64().filter(|n| n.fract() == 0.0 && (1.0..=MOST_TOKENS).contains(n));
                if whole.is_none() {
                    fault(key, format!("`{key}` must be a whole number from 1 to {MOST_TOKENS}, not {value}"), "");
                }
            }
            _ if SAMPLING.contains(&key) => {
                let neutral = match key {
                    "top_p" | "typical_p" => 1.0,
                    _ => 0.0,
                };
                if samples && number(value) != Some(neutral) {
                    let help = "only `temperature` is supported; greedy text (`do_sample: false`) needs none of them";
                    fault(key, format!("`{key}` is not supported"), help);
                }
            }
            _ => match NEUTRAL.iter().find(|(name, _)| *name == key) {
                Some((_, neutral)) if number(value).is_some_and(|n| neutral.contains(&n)) => {}
                Some(_) => {
                    let help = "billon writes one text, greedy or at a temperature; remove the key";
                    fault(key, format!("`{key}` is not supported with this value"), help);
                }
                None => {
                    let help = match key {
                        "stop" | "stop_strings" | "stop_sequences" => "did you mean `until`?".to_owned(),
                        _ => advice(key, KNOWN),
                    };
                    fault(key, format!("unknown key of `generation_kwargs` `{key}`"), &help);
                }
            },
        }
    }
    faults
}

/// Most new tokens that can be asked for: more than any model reads.
const MOST_TOKENS: f64 = 16_777_216.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn generation_kwargs_that_are_not_followed_are_refused() {
        let keys = |value: Value| faults(value.as_object().unwrap()).into_iter().map(|f| f.key).collect::<Vec<_>>();
        for (kwargs, wrong) in [
            (json!({"num_beams": 4}), "num_beams"),
            (json!({"repetition_penalty": 1.3}), "repetition_penalty"),
            (json!({"min_new_tokens": 6}), "min_new_tokens"),
            (json!({"max_gen_tokz": 5}), "max_gen_tokz"),
            (json!({"stop": ["x"]}), "stop"),
            (json!({"max_gen_toks": -5}), "max_gen_toks"),
            (json!({"max_gen_toks": 0}), "max_gen_toks"),
            (json!({"max_gen_toks": 1.5}), "max_gen_toks"),
            (json!({"max_gen_toks": "many"}), "max_gen_toks"),
            (json!({"until": [5]}), "until"),
            (json!({"until": {"a": 1}}), "until"),
            (json!({"do_sample": true}), "do_sample"),
            (json!({"do_sample": true, "temperature": 0.0}), "do_sample"),
            (json!({"do_sample": "yes"}), "do_sample"),
            (json!({"temperature": -1}), "temperature"),
            (json!({"temperature": "nan"}), "temperature"),
            (json!({"temperature": 0.7, "top_p": 0.9}), "top_p"),
            (json!({"temperature": 0.7, "top_k": 5}), "top_k"),
        ] {
            assert_eq!(keys(kwargs.clone()), [wrong], "{kwargs}");
        }
        for kwargs in [
            json!({"until": ["\n", ""], "max_gen_toks": 6, "do_sample": false, "temperature": 0.0, "top_p": 0.95}),
            json!({"num_beams": 1, "repetition_penalty": 1.0, "use_cache": true, "until": null}),
            json!({"temperature": 0.7, "top_p": 1.0, "top_k": 0, "do_sample": true}),
        ] {
            assert_eq!(keys(kwargs.clone()), Vec::<String>::new(), "{kwargs}");
        }
        let fault = &faults(json!({"max_gen_tokz": 5}).as_object().unwrap())[0];
        assert_eq!(fault.help, "did you mean `max_gen_toks`?");
    }

    /// As `normalize_gen_kwargs` of lm-eval 0.4.13.
    #[test]
    fn generation_arguments_follow_the_harness() {
        let read = |value: Value| GenerationArguments::from_kwargs(value.as_object().unwrap());
        let plain = read(json!({"until": "\n", "max_tokens": 5, "max_new_tokens": 7, "temperature": 0.5}));
        assert_eq!((plain.until.as_slice(), plain.max_tokens), (&["\n".to_owned()][..], 7));
        assert_eq!((plain.temperature, plain.do_sample), (0.5, true));
        let greedy = read(json!({"temperature": 0.7, "do_sample": false}));
        assert_eq!((greedy.temperature, greedy.do_sample, greedy.max_tokens), (0.0, false, 256));
        assert!(greedy.until.is_empty());
    }
}
