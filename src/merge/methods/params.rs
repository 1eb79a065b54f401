//! Typed parameters of methods.
//!
//! `params!` declares a method's parameters once: a struct whose fields the method reads, and the [`ParameterSpec`]s
//! by which recipes are read, checked and completed. A method that misspells a parameter names a field that is not
//! there, and does not compile; so does a default of another kind than its parameter.
//!
//! ```text
//! params! {
//!     /// Parameters of `ties`.
//!     struct TiesParameters {
//!         /// Factor of the model's task vector.
//!         weight: PerModel<f64>,
//!         /// Share of elements that are kept.
//!         density: PerModel<Share> = 1.0,
//!         /// Known in recipes and without effect.
//!         accepted int8_mask: bool = false,
//!     }
//! }
//! ```
//!
//! A field's type says the kind and whom the parameter belongs to: [`PerModel`] for every model but the base,
//! [`PerInput`] for every input, anything else for the tensor. A field without a default is required, unless its value
//! is an `Option`.

use std::ops::Deref;

use super::{MethodFault, MethodInput, TensorParameters, Values};
use crate::recipe::setting::{ParameterKind, Value};

/// Owner of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParameterScope {
    /// One value per output tensor.
    Shared,
    /// One value per input.
    Input,
    /// One value per input that is not the base model.
    NonBaseInput,
}

/// Value of a parameter that a recipe leaves out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ParameterDefault {
    /// The recipe must say.
    Required,
    /// No value.
    Absent,
    /// This value.
    Value(Value),
}

/// One parameter of a method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ParameterSpec {
    /// mergekit's key.
    pub name: &'static str,
    /// One line for users.
    pub doc: &'static str,
    /// Its type and range.
    pub kind: ParameterKind,
    /// Its owner.
    pub scope: ParameterScope,
    /// Value when a recipe leaves it out.
    pub default: ParameterDefault,
}

impl ParameterSpec {
    /// The spec of a field of type `F`. Evaluated while compiling, where a default of another kind is an error.
    pub(crate) const fn of<F: ParameterField>(name: &'static str, doc: &'static str, default: Option<Value>) -> Self {
        let default = match default {
            Some(value) => {
                assert!(is_of_kind(F::KIND, value), "a default must be of its parameter's kind and in its range");
                ParameterDefault::Value(value)
            }
            None if F::OPTIONAL => ParameterDefault::Absent,
            None => ParameterDefault::Required,
        };
        Self { name, doc, kind: F::KIND, scope: F::SCOPE, default }
    }
}

const fn is_of_kind(kind: ParameterKind, value: Value) -> bool {
    match (kind, value) {
        (ParameterKind::Number, Value::Number(number)) => number.is_finite(),
        (ParameterKind::Share, Value::Number(number)) => number >= 0.0 && number <= 1.0,
        (ParameterKind::Boolean, Value::Boolean(_)) | (ParameterKind::Choice(_), Value::Word(_)) => true,
        _ => false,
    }
}

/// One value of a parameter.
pub(crate) trait ParameterValue: Sized {
    /// Type and range in recipes.
    const KIND: ParameterKind;
    /// Whether recipes may leave it out without a default.
    const OPTIONAL: bool = false;

    /// The typed value; `None` when it is not of this kind.
    fn of(value: Option<Value>) -> Option<Self>;
}

impl ParameterValue for f64 {
    const KIND: ParameterKind = ParameterKind::Number;

    fn of(value: Option<Value>) -> Option<Self> {
        match value {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }
}

impl ParameterValue for bool {
    const KIND: ParameterKind = ParameterKind::Boolean;

    fn of(value: Option<Value>) -> Option<Self> {
        match value {
            Some(Value::Boolean(value)) => Some(value),
            _ => None,
        }
    }
}

/// A share of a whole, from 0 to 1; the recipe reader holds the range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(f64);

impl Share {
    /// The number.
    #[must_use]
    pub(crate) fn get(self) -> f64 {
        self.0
    }
}

impl ParameterValue for Share {
    const KIND: ParameterKind = ParameterKind::Share;

    fn of(value: Option<Value>) -> Option<Self> {
        f64::of(value).map(Self)
    }
}

impl<T: ParameterValue> ParameterValue for Option<T> {
    const KIND: ParameterKind = T::KIND;
    const OPTIONAL: bool = true;

    fn of(value: Option<Value>) -> Option<Self> {
        match value {
            None => Some(None),
            value => T::of(value).map(Some),
        }
    }
}

/// A field of a method's parameters: a value, or one for each of several inputs.
pub(crate) trait ParameterField: Sized {
    /// Type and range of each value.
    const KIND: ParameterKind;
    /// Whether recipes may leave it out without a default.
    const OPTIONAL: bool;
    /// Owner.
    const SCOPE: ParameterScope;

    /// Reads the field of a tensor.
    ///
    /// # Errors
    /// [`MethodFault::NoValue`].
    fn read(tensor: &TensorParameters, name: &'static str) -> Result<Self, MethodFault>;
}

impl<T: ParameterValue> ParameterField for T {
    const KIND: ParameterKind = T::KIND;
    const OPTIONAL: bool = T::OPTIONAL;
    const SCOPE: ParameterScope = ParameterScope::Shared;

    fn read(tensor: &TensorParameters, name: &'static str) -> Result<Self, MethodFault> {
        value(&tensor.shared, name)
    }
}

/// A value of every input that is not the base, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PerModel<T>(pub Vec<T>);

impl<T> Deref for PerModel<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: ParameterValue> ParameterField for PerModel<T> {
    const KIND: ParameterKind = T::KIND;
    const OPTIONAL: bool = T::OPTIONAL;
    const SCOPE: ParameterScope = ParameterScope::NonBaseInput;

    fn read(tensor: &TensorParameters, name: &'static str) -> Result<Self, MethodFault> {
        tensor.tuned().map(|index| value(&tensor.inputs[index].values, name)).collect::<Result<_, _>>().map(Self)
    }
}

/// A value of every input, a base model included.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PerInput<T>(pub Vec<T>);

impl<T> Deref for PerInput<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: ParameterValue> ParameterField for PerInput<T> {
    const KIND: ParameterKind = T::KIND;
    const OPTIONAL: bool = T::OPTIONAL;
    const SCOPE: ParameterScope = ParameterScope::Input;

    fn read(tensor: &TensorParameters, name: &'static str) -> Result<Self, MethodFault> {
        let read = |input: &MethodInput| value(&input.values, name);
        tensor.inputs.iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

fn value<T: ParameterValue>(values: &Values, name: &'static str) -> Result<T, MethodFault> {
    let found = values.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    T::of(found).ok_or(MethodFault::NoValue { name })
}

/// All parameters of a method.
pub(crate) trait MethodParameters: Sized {
    /// The declarations, in the order of the fields.
    const SPECS: &'static [ParameterSpec];

    /// Reads the parameters of a tensor.
    ///
    /// # Errors
    /// [`MethodFault::NoValue`], which the planner has refused before for every recipe.
    fn read(tensor: &TensorParameters) -> Result<Self, MethodFault>;
}

/// Declares the parameters of a method, or the words of one parameter: see the [module](self).
macro_rules! params {
    ($(#[doc = $doc:literal])* struct $name:ident { $($body:tt)* }) => {
        params! { @field [$(#[doc = $doc])* struct $name] [] [] [] $($body)* }
    };
    ($(#[doc = $doc:literal])* enum $name:ident { $($(#[doc = $word_doc:literal])* $word:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[doc = $word_doc])* $word,)+ }

        impl $name {
            const fn word(self) -> &'static str {
                match self { $(Self::$word => $text,)+ }
            }
        }

        impl $crate::merge::methods::params::ParameterValue for $name {
            const KIND: $crate::recipe::setting::ParameterKind =
                $crate::recipe::setting::ParameterKind::Choice(&[$($text),+]);

            fn of(value: Option<$crate::recipe::setting::Value>) -> Option<Self> {
                match value {
                    $(Some($crate::recipe::setting::Value::Word($text)) => Some(Self::$word),)+
                    _ => None,
                }
            }
        }
    };
    (@field [$(#[doc = $doc:literal])* struct $name:ident] [$($fields:tt)*] [$($read:ident,)*] [$($specs:tt)*]) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) struct $name { $($fields)* }

        impl $crate::merge::methods::MethodParameters for $name {
            const SPECS: &'static [$crate::merge::methods::ParameterSpec] = &[$($specs)*];

            fn read(
                tensor: &$crate::merge::methods::TensorParameters,
            ) -> Result<Self, $crate::merge::methods::MethodFault> {
                Ok(Self {
                    $($read: $crate::merge::methods::params::ParameterField::read(tensor, stringify!($read))?,)*
                })
            }
        }
    };
    (
        @field $head:tt $fields:tt $reads:tt [$($specs:tt)*]
        $(#[doc = $doc:literal])+ accepted $key:ident: $type:ty = $default:tt, $($rest:tt)*
    ) => {
        params! {
            @field $head $fields $reads
            [$($specs)* params!(@spec $key, $type, concat!($($doc),+), Some(params!(@default $type, $default))),]
            $($rest)*
        }
    };
    (
        @field $head:tt [$($fields:tt)*] [$($reads:tt)*] [$($specs:tt)*]
        $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:tt, $($rest:tt)*
    ) => {
        params! {
            @field $head
            [$($fields)* $(#[doc = $doc])+ pub(crate) $key: $type,]
            [$($reads)* $key,]
            [$($specs)* params!(@spec $key, $type, concat!($($doc),+), Some(params!(@default $type, $default))),]
            $($rest)*
        }
    };
    (
        @field $head:tt [$($fields:tt)*] [$($reads:tt)*] [$($specs:tt)*]
        $(#[doc = $doc:literal])+ $key:ident: $type:ty, $($rest:tt)*
    ) => {
        params! {
            @field $head
            [$($fields)* $(#[doc = $doc])+ pub(crate) $key: $type,]
            [$($reads)* $key,]
            [$($specs)* params!(@spec $key, $type, concat!($($doc),+), None),]
            $($rest)*
        }
    };
    (@spec $key:ident, $type:ty, $doc:expr, $default:expr) => {
        $crate::merge::methods::ParameterSpec::of::<$type>(stringify!($key), $doc.trim_ascii(), $default)
    };
    (@default $type:ty, true) => { $crate::recipe::setting::Value::Boolean(true) };
    (@default $type:ty, false) => { $crate::recipe::setting::Value::Boolean(false) };
    (@default $type:ty, $number:literal) => { $crate::recipe::setting::Value::Number($number) };
    (@default $type:ty, $word:ident) => { $crate::recipe::setting::Value::Word(<$type>::$word.word()) };
}

pub(crate) use params;

#[cfg(test)]
mod tests {
    use super::super::{REGISTRY, Role};
    use super::*;
    use crate::compute::merge::ComputeType;

    params! {
        /// Words.
        enum Mode {
            /// First.
            Slow = "slow",
            /// Second.
            Fast = "fast",
        }
    }

    params! {
        /// One of every kind.
        struct Trial {
            /// Factor of the model.
            weight: PerModel<f64>,
            /// Factor of everything,
            /// the base included.
            scale: PerInput<Option<f64>>,
            /// Share that is kept.
            density: Share = 0.5,
            /// Without effect.
            accepted int8_mask: bool = false,
            /// Divides by the sum.
            normalize: bool = true,
            /// Speed.
            mode: Mode = Fast,
        }
    }

    fn tensor() -> TensorParameters {
        let number = |name, value| vec![(name, Value::Number(value))];
        let input = |role, values| MethodInput { role, values, stream_key: 0 };
        TensorParameters {
            shape: vec![2],
            shared: vec![
                ("density", Value::Number(0.25)),
                ("int8_mask", Value::Boolean(false)),
                ("normalize", Value::Boolean(false)),
                ("mode", Value::Word("slow")),
            ],
            inputs: vec![input(Role::Base, number("scale", 2.0)), input(Role::Tuned, number("weight", 3.0))],
            precision: ComputeType::F32,
        }
    }

    #[test]
    fn one_declaration_gives_specs_and_fields() {
        let find = |name| *Trial::SPECS.iter().find(|spec| spec.name == name).unwrap();
        let names: Vec<&str> = Trial::SPECS.iter().map(|spec| spec.name).collect();
        assert_eq!(names, ["weight", "scale", "density", "int8_mask", "normalize", "mode"]);
        assert_eq!(
            (find("weight").scope, find("weight").default),
            (ParameterScope::NonBaseInput, ParameterDefault::Required)
        );
        assert_eq!((find("scale").scope, find("scale").default), (ParameterScope::Input, ParameterDefault::Absent));
        assert_eq!(find("scale").doc, "Factor of everything, the base included.");
        let value = |value| ParameterDefault::Value(value);
        assert_eq!((find("density").kind, find("density").default), (ParameterKind::Share, value(Value::Number(0.5))));
        assert_eq!(find("mode").kind, ParameterKind::Choice(&["slow", "fast"]));
        assert_eq!(find("mode").default, value(Value::Word("fast")));

        let read = Trial::read(&tensor()).unwrap();
        assert_eq!((&*read.weight, &*read.scale), (&[3.0][..], &[Some(2.0), None][..]));
        assert_eq!((read.density.get(), read.normalize, read.mode), (0.25, false, Mode::Slow));
    }

    #[test]
    fn a_value_that_is_missing_or_of_another_kind_is_a_fault_and_no_zero() {
        let mut missing = tensor();
        missing.inputs[1].values.clear();
        assert_eq!(Trial::read(&missing), Err(MethodFault::NoValue { name: "weight" }));
        let mut other = tensor();
        other.shared[0].1 = Value::Boolean(true);
        assert_eq!(Trial::read(&other), Err(MethodFault::NoValue { name: "density" }));
    }

    #[test]
    fn every_parameter_has_a_line_for_users_and_one_name() {
        for method in REGISTRY {
            let specs = method.parameters();
            for (index, spec) in specs.iter().enumerate() {
                assert!(spec.doc.ends_with('.'), "{} of {}", spec.name, method.name());
                assert!(specs[..index].iter().all(|earlier| earlier.name != spec.name), "{}", spec.name);
            }
        }
    }
}
