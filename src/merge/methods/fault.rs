//! Merge methods that break their contract: defects of billon, never of its inputs.
//!
//! A method is asked for a reduction and a map, tensor by tensor. Whatever does not fit the tensor (a base that is not
//! there, a coefficient too few, a chunk that was not written) ends the run, and nothing is published. A misspelt
//! parameter does not compile: methods read them as fields, see [`params`](super::params).

use crate::error::{Diagnose, ErrorKind};

/// A defect of a method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum MethodFault {
    #[error("it reads parameter `{name}`, which has no value here")]
    NoValue { name: &'static str },
    #[error("it needs a base model, and there is none here")]
    NoBase,
    #[error("it has {found} {what}, and there are {expected} inputs to them")]
    Count { what: &'static str, expected: usize, found: usize },
    #[error("it reads {wanted}, which it did not ask to be measured")]
    NotMeasured { wanted: &'static str },
    #[error("random selections need the same coefficient for all elements")]
    RandomPerElement,
    #[error("no threshold was found for a selection over the whole model")]
    NoThreshold,
    #[error("a part of it was given {found} of {expected} bytes of input")]
    NoData { expected: usize, found: usize },
    #[error("{written} of {expected} {what} were written")]
    Unwritten { what: &'static str, expected: u64, written: u64 },
}

impl MethodFault {
    /// Names method and tensor.
    #[must_use]
    pub(crate) fn at(self, method: &str, tensor: &str) -> MethodError {
        MethodError { method: method.to_owned(), tensor: tensor.to_owned(), fault: self }
    }
}

/// A broken method, with the tensor where it showed.
#[derive(Debug, thiserror::Error)]
#[error("merge method `{method}` is broken: at tensor `{tensor}` {fault}")]
pub(crate) struct MethodError {
    method: String,
    tensor: String,
    fault: MethodFault,
}

impl MethodError {
    /// Advice to the user.
    pub(crate) const HINT: &str = "this is a defect of billon: please report it with the recipe; nothing was published";
}

impl Diagnose for MethodError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }

    fn hints(&self) -> Vec<String> {
        vec![Self::HINT.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_method_and_tensor_and_exits_with_1() {
        let error = MethodFault::NoValue { name: "lambda" }.at("trial", "a.weight");
        assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::Internal, 1));
        let text = error.to_string();
        assert!(text.contains("`trial`") && text.contains("`a.weight`") && text.contains("`lambda`"), "{text}");
    }
}
