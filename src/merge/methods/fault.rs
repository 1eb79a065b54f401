//! Merge methods that break their contract: defects of billon, never of its inputs.
//!
//! A method is asked for statistics and a map, tensor by tensor. Whatever does not fit the tensor (a
//! parameter that the method does not declare, a base that is not there, a coefficient too few) ends
//! the run here, before a byte of it is written.

use super::{Coefficients, Map, Measured, TensorParameters};
use crate::compute::merge::Selection;
use crate::error::{Diagnose, ErrorKind};

/// What is wrong with a method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum MethodFault {
    #[error("it reads parameter `{name}` as {kind}, which it does not declare")]
    Undeclared { name: String, kind: &'static str },
    #[error("it reads parameter `{name}`, which has no value here")]
    NoValue { name: String },
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
    /// What is to be done about it.
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

impl Map {
    /// Whether the map fits the tensor: a base where it reads one, a coefficient and a selection for every input.
    ///
    /// # Errors
    /// The [`MethodFault`].
    pub(crate) fn check(&self, tensor: &TensorParameters, measured: &Measured) -> Result<(), MethodFault> {
        let count = |what, expected, found| {
            if expected == found { Ok(()) } else { Err(MethodFault::Count { what, expected, found }) }
        };
        if tensor.inputs.is_empty() {
            return Err(MethodFault::Count { what: "maps", expected: 0, found: 1 });
        }
        match self {
            Self::Copy | Self::Scale { .. } => Ok(()),
            Self::WeightedSum { coefficients, .. } => coefficients.check(tensor, tensor.inputs.len()),
            Self::TaskVectors { coefficients, selections, .. } => {
                if tensor.base.is_none_or(|base| base >= tensor.inputs.len()) {
                    return Err(MethodFault::NoBase);
                }
                let tuned = tensor.tuned().count();
                coefficients.check(tensor, tuned)?;
                count("selections", tuned, selections.len())?;
                let random = selections.iter().any(|selection| matches!(selection, Selection::Random { .. }));
                if random && !matches!(coefficients, Coefficients::Uniform(_)) {
                    return Err(MethodFault::RandomPerElement);
                }
                let masks = measured.masks(0).len();
                if masks == 0 { Ok(()) } else { count("masks", tuned, masks) }
            }
        }
    }
}

impl Coefficients {
    fn check(&self, tensor: &TensorParameters, inputs: usize) -> Result<(), MethodFault> {
        let fault = |what, expected, found| Err(MethodFault::Count { what, expected, found });
        match self {
            Self::PerRow(_) | Self::PerColumn(_) if tensor.elements() == 0 => Ok(()),
            Self::Uniform(values) if values.len() != inputs => fault("coefficients", inputs, values.len()),
            Self::PerRow(rows) => {
                let length = tensor.shape.last().copied().unwrap_or(1).max(1);
                let expected = (tensor.elements() / length) as usize;
                if rows.len() != expected {
                    return fault("rows of coefficients", expected, rows.len());
                }
                match rows.iter().find(|row| row.len() != inputs) {
                    Some(row) => fault("coefficients in a row", inputs, row.len()),
                    None => Ok(()),
                }
            }
            Self::PerColumn(columns) => {
                if columns.len() != inputs {
                    return fault("columns of coefficients", inputs, columns.len());
                }
                let expected = tensor.shape.iter().skip(1).product::<u64>() as usize;
                match columns.iter().find(|column| column.len() != expected) {
                    Some(column) => fault("coefficients in a column", expected, column.len()),
                    None => Ok(()),
                }
            }
            Self::Uniform(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ParameterScope, ParameterSpec};
    use super::*;
    use crate::compute::merge::ComputeType;
    use crate::recipe::setting::Value;

    const SPECS: &[ParameterSpec] = &[ParameterSpec::number("lambda", ParameterScope::Shared, 1.0)];

    fn tensor(base: Option<usize>) -> TensorParameters {
        TensorParameters {
            shape: vec![4, 2],
            specs: SPECS,
            shared: vec![("lambda", Value::Number(0.5))],
            inputs: vec![Vec::new(); 3],
            base,
            stream_keys: vec![0; 3],
            precision: ComputeType::F32,
        }
    }

    fn task_vectors(coefficients: usize, selections: usize) -> Map {
        Map::TaskVectors {
            coefficients: Coefficients::Uniform(vec![1.0; coefficients]),
            selections: vec![Selection::All; selections],
            consensus: false,
            normalize: false,
            divisor: None,
            scale: 1.0,
        }
    }

    #[test]
    fn a_misspelt_parameter_is_a_fault_and_no_zero() {
        let tensor = tensor(Some(0));
        assert_eq!(tensor.number("lambda"), Ok(0.5));
        let undeclared = |name: &str, kind| MethodFault::Undeclared { name: name.to_owned(), kind };
        assert_eq!(tensor.number("lamda"), Err(undeclared("lamda", "a number")));
        assert_eq!(tensor.switch("lambda"), Err(undeclared("lambda", "a switch")));
        assert_eq!(tensor.word("lambda"), Err(undeclared("lambda", "a word")));
        assert_eq!(tensor.input_number(0, "weigth"), Err(undeclared("weigth", "a number")));
        let error = undeclared("lamda", "a number").at("trial", "a.weight");
        assert_eq!(error.kind(), ErrorKind::Internal);
        let text = error.to_string();
        assert!(text.contains("`trial`") && text.contains("`a.weight`") && text.contains("`lamda`"), "{text}");
    }

    #[test]
    fn a_map_of_task_vectors_without_a_base_is_a_fault_and_no_stale_chunk() {
        let nothing = Measured::Nothing;
        assert_eq!(task_vectors(3, 3).check(&tensor(None), &nothing), Err(MethodFault::NoBase));
        assert_eq!(task_vectors(2, 2).check(&tensor(Some(0)), &nothing), Ok(()));
        for (coefficients, selections) in [(3, 2), (2, 3), (1, 2), (2, 1)] {
            let fault = task_vectors(coefficients, selections).check(&tensor(Some(0)), &nothing);
            assert!(matches!(fault, Err(MethodFault::Count { .. })), "{coefficients} {selections}");
        }
    }

    #[test]
    fn coefficients_cover_every_row_column_and_input() {
        let sum = |coefficients| Map::WeightedSum { coefficients, divisor: None };
        let check = |coefficients| sum(coefficients).check(&tensor(None), &Measured::Nothing);
        assert!(check(Coefficients::Uniform(vec![1.0; 3])).is_ok());
        assert!(check(Coefficients::Uniform(vec![1.0; 2])).is_err());
        assert!(check(Coefficients::PerRow(vec![vec![1.0; 3]; 4])).is_ok());
        assert!(check(Coefficients::PerRow(vec![vec![1.0; 3]; 3])).is_err());
        assert!(check(Coefficients::PerRow(vec![vec![1.0; 2]; 4])).is_err());
        assert!(check(Coefficients::PerColumn(vec![vec![1.0; 2]; 3])).is_ok());
        assert!(check(Coefficients::PerColumn(vec![vec![1.0; 4]; 3])).is_err());
    }

    #[test]
    fn what_was_not_measured_cannot_be_read() {
        assert!(matches!(Measured::Nothing.selections(), Err(MethodFault::NotMeasured { .. })));
        assert!(matches!(Measured::Nothing.pair(0), Err(MethodFault::NotMeasured { .. })));
        let one = Measured::Products { pairs: 3, sums: vec![1.0, 2.0, 3.0] };
        assert_eq!(one.pair(0), Ok([1.0, 2.0, 3.0]));
        assert!(matches!(one.pair(1), Err(MethodFault::NotMeasured { .. })));
    }
}
