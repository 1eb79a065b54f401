//! A minijinja environment that behaves as Jinja2 does in Python.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::python::regex::{PythonRegex, Template};
use crate::python::repr;
use crate::python::repr::JsonLayout;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};

use super::bounded;
use super::template::FUEL;

/// An environment without templates: Python's printing and methods, `tojson` as `json.dumps`, no
/// escaping. White space and undefined values are the caller's choice.
#[must_use]
pub(crate) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|out, _, value| out.write_str(&repr::text(value)?).map_err(Error::from));
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", |value: &Value| repr::text(value));
    environment.add_filter("pprint", |value: &Value| repr::repr(value));
    environment.set_fuel(Some(FUEL));
    environment.add_filter("indent", bounded::indent);
    environment.add_filter("batch", bounded::batch);
    environment.add_filter("slice", bounded::slice);
    environment.add_filter("format", bounded::format);
    environment.add_filter("join", bounded::join);
    environment.add_filter("replace", bounded::replace);
    // The engine's own; an extension that neither transformers nor the harness switches on.
    environment.remove_global("debug");
    environment
}

/// Python's methods: those of the contributed set, and the few it lacks.
fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match (name, value.kind(), arguments) {
        ("index", ValueKind::Seq, [wanted]) => {
            let place = value.try_iter()?.position(|item| item == *wanted);
            match place {
                Some(place) => Ok(Value::from(place)),
                None => Err(invalid(format!("{} is not in the list", repr::repr(wanted)?))),
            }
        }
        ("index", ValueKind::String, [wanted]) => {
            let (Some(text), Some(wanted)) = (value.as_str(), wanted.as_str()) else {
                return Err(invalid("`index` of a string takes a string".to_owned()));
            };
            let place = text.find(wanted).map(|at| text.get(..at).map_or(0, |head| head.chars().count()));
            place.map(Value::from).ok_or_else(|| invalid("substring not found".to_owned()))
        }
        ("removeprefix", ValueKind::String, [affix]) => {
            Ok(strip_affix(value, affix, |text, affix| text.strip_prefix(affix)))
        }
        ("removesuffix", ValueKind::String, [affix]) => {
            Ok(strip_affix(value, affix, |text, affix| text.strip_suffix(affix)))
        }
        _ => {
            if let Some(text) = value.as_str() {
                bounded::check_method(text, name, arguments)?;
            }
            minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
        }
    }
}

fn strip_affix(value: &Value, affix: &Value, strip: for<'a> fn(&'a str, &str) -> Option<&'a str>) -> Value {
    let (text, affix) = (value.as_str().unwrap_or(""), affix.as_str().unwrap_or(""));
    Value::from(strip(text, affix).unwrap_or(text))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// `json.dumps`, with the arguments that chat templates pass; nothing is escaped for HTML.
fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<Value> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let layout = JsonLayout {
        indent: indent.filter(|i| !i.is_none()).map(|i| match i.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(i.as_usize().unwrap_or(0).min(64)),
        }),
        separators: match separators.as_deref() {
            Some([item, key]) => Some((item.clone(), key.clone())),
            _ => None,
        },
        ensure_ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    repr::json_dumps(value, &layout).map(Value::from)
}

const MOST_PATTERNS: usize = 256;

static PATTERNS: Mutex<BTreeMap<String, PythonRegex>> = Mutex::new(BTreeMap::new());

/// The harness's `regex_replace` filter: `re.sub(pattern, repl, value, count)`.
///
/// # Errors
/// Patterns that Python's `re` refuses, and a search that takes too many steps.
pub(crate) fn regex_replace(
    value: String,
    pattern: String,
    replacement: String,
    count: Option<usize>,
    options: Kwargs,
) -> Result<String, Error> {
    let count = match count {
        Some(count) => count,
        None => options.get::<Option<usize>>("count")?.unwrap_or(0),
    };
    options.assert_all_used()?;
    let known = PATTERNS.lock().ok().and_then(|patterns| patterns.get(&pattern).cloned());
    let regex = match known {
        Some(regex) => regex,
        None => {
            let regex = PythonRegex::new(&pattern)
                .map_err(|e| invalid(format!("regex_replace: pattern `{pattern}` cannot be used: {e}")))?;
            // A template may make patterns of its data; as many as task files have are worth keeping.
            if let Ok(mut patterns) = PATTERNS.lock()
                && patterns.len() < MOST_PATTERNS
            {
                patterns.insert(pattern, regex.clone());
            }
            regex
        }
    };
    let template = Template::new(&regex, &replacement)
        .map_err(|e| invalid(format!("regex_replace: replacement `{replacement}` cannot be used: {e}")))?;
    let replaced = regex.replace(&value, count, |found| template.expand(found));
    replaced.map_err(|e| invalid(format!("regex_replace: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn templates_print_and_call_as_in_python() {
        let mut environment = environment();
        environment.add_filter("regex_replace", regex_replace);
        for (template, expected) in [
            ("{{ x }}|{{ none }}|{{ y }}", "['a', True]|None|"),
            ("{{ [3, 4].index(4) }}{{ 'élan'.index('an') }}", "12"),
            ("{{ 'a-b'.split('-') }}{{ ' a '.strip() }}", "['a', 'b']a"),
            ("{{ {'b': 1, 'a': '<é>'} | tojson }}", r#"{"b": 1, "a": "<é>"}"#),
            ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
            ("{{ 'aXbX' | regex_replace('([A-Z])', '<\\\\1$>') }}", "a<X$>b<X$>"),
            ("{{ 'aaa' | regex_replace('a', 'b', count=1) }}", "baa"),
            ("{{ 1.0 }} {{ 7 // 2 }} {{ 'x' * 3 }}", "1.0 3 xxx"),
        ] {
            assert_eq!(
                environment.render_str(template, context! { x => vec![Value::from("a"), Value::from(true)] }).unwrap(),
                expected,
                "{template}"
            );
        }
        assert!(environment.render_str("{{ [1].index(2) }}", ()).is_err());
        assert_eq!(environment.render_str("{{ 'ab' | regex_replace('(?=b)', '-') }}", ()).unwrap(), "a-b");
        assert!(environment.render_str("{{ 'a' | regex_replace('a)', '') }}", ()).is_err());
    }
}
