//! Parameter values: scalars, gradients over layers, and conditionals by tensor name.
//!
//! The rules are mergekit's. A list of scalars is a gradient, interpolated at a tensor's position
//! `t` in 0..=1; a list of `{filter, value}` takes the first whose filter is a substring of the
//! tensor's name; an absent filter or `*` matches everything.

use serde_json::{Map, Number, Value as Json};

use crate::yaml::{self, Diagnostics, Field, Fields, Kind, Node, Range, Span, Spanned};

/// The type a method expects of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// A finite number.
    Number,
    /// A number from 0 to 1.
    Share,
    /// True or false.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
}

impl ParameterKind {
    fn expected(self) -> String {
        match self {
            Self::Number => Range::ANY.words().to_owned(),
            Self::Share => Range::SHARE.words().to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }

    fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::Number | Self::Share => yaml::number(text).filter(|n| n.is_finite()).map(Value::Number),
            Self::Boolean => yaml::boolean(text).map(Value::Boolean),
            Self::Choice(words) => words.iter().find(|w| **w == text).map(|w| Value::Word(w)),
        }
    }
}

/// A parameter's value for one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number, in double precision.
    Number(f64),
    /// A switch.
    Boolean(bool),
    /// A word of a [`ParameterKind::Choice`].
    Word(&'static str),
}

/// One value, or several to be interpolated over the layers.
#[derive(Debug, Clone, PartialEq)]
enum Curve {
    Constant(Spanned<String>),
    Gradient(Vec<Spanned<String>>),
}

impl Curve {
    fn scalars(&self) -> &[Spanned<String>] {
        match self {
            Self::Constant(scalar) => std::slice::from_ref(scalar),
            Self::Gradient(scalars) => scalars,
        }
    }

    /// The value at position `t`; `None` for an empty list or a scalar of the wrong type (which
    /// [`Setting::check`] reports).
    fn evaluate(&self, kind: ParameterKind, t: f64) -> Option<Value> {
        let values: Option<Vec<Value>> = self.scalars().iter().map(|s| kind.read(&s.value)).collect();
        let values = values.filter(|v| !v.is_empty())?;
        let s = t * (values.len() - 1) as f64;
        let i = (s.floor() as usize).min(values.len() - 1);
        let j = (i + 1).min(values.len() - 1);
        let fraction = s - i as f64;
        match (values[i], values[j]) {
            (Value::Number(a), Value::Number(b)) => Some(Value::Number((1.0 - fraction) * a + fraction * b)),
            (discrete, _) => Some(discrete),
        }
    }
}

/// A value with the substring that a tensor's name must contain.
#[derive(Debug, Clone, PartialEq)]
struct Condition {
    filter: Option<Spanned<String>>,
    curve: Curve,
}

/// All a recipe says about one parameter in one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    conditions: Vec<Condition>,
}

impl Setting {
    /// Reads a setting; faults are noted.
    #[doc(hidden)]
    pub fn parse(node: &Node, diagnostics: &mut Diagnostics) -> Self {
        let conditions = match &node.kind {
            Kind::Sequence(items) if items.iter().any(|i| matches!(i.kind, Kind::Mapping(_))) => items
                .iter()
                .filter_map(|item| match &item.kind {
                    Kind::Mapping(_) => condition(Fields::within(item), diagnostics),
                    _ => {
                        diagnostics.error_help(
                            item.span,
                            "a list may not mix plain values and conditions",
                            "write the plain value last, as `- value: ...`",
                        );
                        None
                    }
                })
                .collect(),
            Kind::Mapping(_) => condition(Fields::within(node), diagnostics).into_iter().collect(),
            _ => curve(node, diagnostics).map(|curve| Condition { filter: None, curve }).into_iter().collect(),
        };
        Self { conditions }
    }

    /// A value that changes over the layers: interpolated between these, which are evenly spaced.
    #[must_use]
    pub fn gradient(values: impl IntoIterator<Item = f64>) -> Self {
        let scalars = values.into_iter().map(|value| made(number_text(value))).collect();
        Self { conditions: vec![Condition { filter: None, curve: Curve::Gradient(scalars) }] }
    }

    /// A value for the tensors whose names contain `filter`; the others have none, see [`Setting::otherwise`].
    #[must_use]
    pub fn when(filter: &str, value: impl Into<Self>) -> Self {
        let conditions = value.into().conditions.into_iter();
        let filtered = |condition: Condition| Condition { filter: Some(made(filter.to_owned())), ..condition };
        Self { conditions: conditions.map(filtered).collect() }
    }

    /// What holds for tensors that nothing before has a value for.
    #[must_use]
    pub fn otherwise(mut self, value: impl Into<Self>) -> Self {
        self.conditions.extend(value.into().conditions);
        self
    }

    /// The setting as a tree.
    #[must_use]
    pub(super) fn to_value(&self) -> Json {
        let curve = |curve: &Curve| match curve {
            Curve::Constant(scalar) => scalar_value(&scalar.value),
            Curve::Gradient(scalars) => scalars.iter().map(|scalar| scalar_value(&scalar.value)).collect(),
        };
        let condition = |condition: &Condition| -> Json {
            let filter = condition.filter.as_ref().map(|filter| ("filter".to_owned(), filter.value.as_str().into()));
            filter.into_iter().chain([("value".to_owned(), curve(&condition.curve))]).collect::<Map<_, _>>().into()
        };
        match self.conditions.as_slice() {
            [] => Json::Null,
            [Condition { filter: None, curve: only }] => curve(only),
            [only] => condition(only),
            all => all.iter().map(condition).collect(),
        }
    }

    /// A plain value, for defaults given outside a recipe.
    #[must_use]
    pub(crate) fn constant(text: &str, span: Span) -> Self {
        let curve = Curve::Constant(Spanned { value: text.to_owned(), span });
        Self { conditions: vec![Condition { filter: None, curve }] }
    }

    /// Notes every scalar that is not of the expected type or outside its range. Values between two of a gradient lie
    /// inside when they do.
    #[doc(hidden)]
    pub fn check(&self, name: &str, kind: ParameterKind, diagnostics: &mut Diagnostics) {
        for scalar in self.conditions.iter().flat_map(|c| c.curve.scalars()) {
            let message = || format!("`{name}` expects {}, not `{}`", kind.expected(), scalar.value);
            match kind.read(&scalar.value) {
                None => diagnostics.error(scalar.span, message()),
                Some(Value::Number(number)) if kind == ParameterKind::Share && !Range::SHARE.contains(number) => {
                    match Range::SHARE.advice(number) {
                        Some(advice) => diagnostics.error_help(scalar.span, message(), advice),
                        None => diagnostics.error(scalar.span, message()),
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// The value for a tensor, and the filter that chose it; `None` when no condition applies.
    #[doc(hidden)]
    #[must_use]
    pub fn evaluate(&self, kind: ParameterKind, tensor: &str, t: f64) -> Option<(Value, Option<&Spanned<String>>)> {
        let condition = self.conditions.iter().find(|c| c.filter.as_ref().is_none_or(|f| matches(&f.value, tensor)))?;
        let value = condition.curve.evaluate(kind, t)?;
        Some((value, condition.filter.as_ref()))
    }

    /// The filters, in order.
    #[doc(hidden)]
    pub fn filters(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.conditions.iter().filter_map(|c| c.filter.as_ref())
    }
}

/// A scalar as a number or a switch where that is written the same, else as text.
fn scalar_value(text: &str) -> Json {
    match text {
        "true" => return true.into(),
        "false" => return false.into(),
        _ => {}
    }
    let whole = text.parse::<i64>().ok().map(Number::from);
    let number = whole.or_else(|| yaml::number(text).and_then(Number::from_f64));
    number.filter(|number| number.to_string() == text).map_or_else(|| text.into(), Json::Number)
}

/// A number as recipes write it. One that is not finite is refused where the parameter is checked.
fn number_text(value: f64) -> String {
    Number::from_f64(value).map_or_else(|| value.to_string(), |number| number.to_string())
}

fn made<T>(value: T) -> Spanned<T> {
    Spanned { value, span: Span::default() }
}

impl From<f64> for Setting {
    fn from(value: f64) -> Self {
        Self::constant(&number_text(value), Span::default())
    }
}

impl From<bool> for Setting {
    fn from(value: bool) -> Self {
        Self::constant(if value { "true" } else { "false" }, Span::default())
    }
}

impl From<&str> for Setting {
    fn from(word: &str) -> Self {
        Self::constant(word, Span::default())
    }
}

/// mergekit's filter rule.
#[must_use]
pub(crate) fn matches(filter: &str, tensor: &str) -> bool {
    filter == "*" || tensor.contains(filter)
}

fn curve(node: &Node, diagnostics: &mut Diagnostics) -> Option<Curve> {
    let scalar = |node: &Node, diagnostics: &mut Diagnostics| match node.text() {
        Some(text) => Some(Spanned { value: text.to_owned(), span: node.span }),
        None => {
            diagnostics.error(node.span, format!("expected a value, found {}", node.describe()));
            None
        }
    };
    match &node.kind {
        Kind::Sequence(items) => {
            Some(Curve::Gradient(items.iter().filter_map(|item| scalar(item, diagnostics)).collect()))
        }
        Kind::Null => None,
        _ => scalar(node, diagnostics).map(Curve::Constant),
    }
}

fn condition(fields: Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Condition> {
    fields.known("key", &["filter", "value"], diagnostics);
    // An empty filter matches every name, as in mergekit.
    let filter = fields.given("filter").and_then(|field| match field.scalar() {
        Some(text) => Some(Spanned { value: text.to_owned(), span: field.node.span }),
        None => {
            field.expected("a part of a tensor name", diagnostics);
            None
        }
    });
    let value = fields.get("value").and_then(|field| curve(field.node, diagnostics));
    if value.is_none() {
        diagnostics.error(fields.span(), "a condition needs a `value`");
    }
    value.map(|curve| Condition { filter, curve })
}

/// Parameters of one scope, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    entries: Vec<(Spanned<String>, Setting)>,
}

impl Parameters {
    /// Reads a `parameters:` mapping.
    pub(crate) fn parse(field: Field<'_>, diagnostics: &mut Diagnostics) -> Self {
        let fields = field.fields(diagnostics);
        let settings = fields.into_iter().flat_map(Fields::iter).map(|field| {
            let name = Spanned { value: field.name.to_owned(), span: field.key };
            (name, Setting::parse(field.node, diagnostics))
        });
        Self { entries: settings.collect() }
    }

    /// Whether no parameter is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The setting of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.entries.iter().find(|(key, _)| key.value == name).map(|(_, setting)| setting)
    }

    /// Sets a parameter, replacing what was there.
    pub fn set(&mut self, name: &str, span: Span, setting: Setting) {
        self.entries.retain(|(key, _)| key.value != name);
        self.entries.push((Spanned { value: name.to_owned(), span }, setting));
    }

    /// All parameters in order of writing.
    pub fn iter(&self) -> impl Iterator<Item = (&Spanned<String>, &Setting)> {
        self.entries.iter().map(|(key, setting)| (key, setting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::diagnostic::SourceText;
    use std::sync::Arc;

    fn setting(text: &str) -> (Setting, Diagnostics) {
        let source = Arc::new(SourceText { name: "r".into(), text: text.into() });
        let mut diagnostics = Diagnostics::new(source, false);
        let nodes = yaml::parse(text, &mut diagnostics);
        (Setting::parse(&nodes[0], &mut diagnostics), diagnostics)
    }

    fn number(setting: &Setting, tensor: &str, t: f64) -> Option<f64> {
        match setting.evaluate(ParameterKind::Number, tensor, t) {
            Some((Value::Number(n), _)) => Some(n),
            _ => None,
        }
    }

    #[test]
    fn gradients_interpolate_in_double_precision() {
        let (gradient, _) = setting("[0, 0.5, 0.3, 0.7, 1]");
        for (t, expected) in [(0.0, 0.0), (0.25, 0.5), (0.375, 0.4), (1.0, 1.0)] {
            assert!((number(&gradient, "x", t).unwrap() - expected).abs() < 1e-15);
        }
        let (switches, _) = setting("[true, false]");
        assert_eq!(switches.evaluate(ParameterKind::Boolean, "x", 0.99).unwrap().0, Value::Boolean(true));
        assert_eq!(switches.evaluate(ParameterKind::Boolean, "x", 1.0).unwrap().0, Value::Boolean(false));
        assert_eq!(number(&setting("[]").0, "x", 0.5), None);
    }

    #[test]
    fn the_first_matching_filter_wins() {
        let (list, diagnostics) = setting("- filter: attn\n  value: [0, 1]\n- {filter: '*', value: '1e-5'}\n");
        assert!(!diagnostics.has_errors());
        assert_eq!(number(&list, "self_attn.q", 0.5), Some(0.5));
        assert_eq!(number(&list, "mlp", 0.5), Some(1e-5));
        let (only, _) = setting("{filter: attn, value: 2}");
        assert_eq!(number(&only, "mlp", 0.0), None);
    }

    #[test]
    fn shares_outside_their_range_are_refused_and_percentages_guessed() {
        let told = |text: &str| {
            let (setting, mut diagnostics) = setting(text);
            setting.check("density", ParameterKind::Share, &mut diagnostics);
            diagnostics.check().map_err(|error| error.to_string())
        };
        for text in ["0", "1", "0.5", "[0, 1]", "- {filter: a, value: [0.1, 1.0]}"] {
            assert!(told(text).is_ok(), "{text}");
        }
        let fifty = told("50").unwrap_err();
        assert!(fifty.contains("`density` expects a number from 0 to 1, not `50`"), "{fifty}");
        assert!(fifty.contains("50 % is written 0.5"), "{fifty}");
        for text in ["-0.5", "1.0001", "[0.5, 2]", "- {filter: a, value: 70}\n- {value: 1}", "300"] {
            assert!(told(text).is_err(), "{text}");
        }
        assert!(!told("-0.5").unwrap_err().contains("is written"));
    }

    #[test]
    fn wrong_shapes_and_types_are_noted() {
        for text in ["- 1\n- {value: 2}", "- {filter: x}", "- {filter: [a], value: 1}", "- {fliter: a, value: 1}"] {
            assert!(setting(text).1.has_errors(), "{text}");
        }
        let (word, mut diagnostics) = setting("abc");
        word.check("weight", ParameterKind::Number, &mut diagnostics);
        assert!(diagnostics.check().unwrap_err().to_string().contains("`weight` expects a number, not `abc`"));
    }
}
