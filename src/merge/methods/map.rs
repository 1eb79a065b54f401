//! The elementwise pass that writes a tensor, and its check against the tensor's inputs.

use super::{BaseInput, MethodFault, ReductionResult, TensorParameters};
use crate::compute::merge::Selection;

/// Coefficients of the inputs of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Coefficients {
    /// One per input.
    Uniform(Vec<f64>),
    /// `[row][input]`, rows along the last axis.
    PerRow(Vec<Vec<f64>>),
    /// `[input][column]`, columns along the first axis.
    PerColumn(Vec<Vec<f64>>),
}

/// The elementwise pass that writes a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Map {
    /// Input 0, bytes as they are when the dtype allows.
    Copy,
    /// Input 0 times a factor.
    Scale {
        /// The factor.
        factor: f64,
    },
    /// See [`crate::compute::merge::WeightedSum`]; coefficients for all inputs.
    WeightedSum {
        /// One per input.
        coefficients: Coefficients,
        /// Divides the sum.
        divisor: Option<f64>,
    },
    /// See [`crate::compute::merge::TaskVectors`]; coefficients for the inputs that are not the base.
    TaskVectors {
        /// Subtracted from every input, and added to the result.
        base: BaseInput,
        /// One per non-base input.
        coefficients: Coefficients,
        /// One per non-base input.
        selections: Vec<Selection>,
        /// Elect signs.
        consensus: bool,
        /// Divide by the weights that took part.
        normalize: bool,
        /// Divides the sum (without consensus).
        divisor: Option<f64>,
        /// lambda.
        scale: f64,
    },
}

impl Map {
    /// Whether the map fits the tensor: the base that it has, a coefficient and a selection for every input.
    ///
    /// # Errors
    /// The [`MethodFault`].
    pub(crate) fn check(&self, tensor: &TensorParameters, reduced: &ReductionResult) -> Result<(), MethodFault> {
        let count = |what, expected, found| {
            if expected == found { Ok(()) } else { Err(MethodFault::Count { what, expected, found }) }
        };
        if tensor.inputs.is_empty() {
            return Err(MethodFault::Count { what: "maps", expected: 0, found: 1 });
        }
        match self {
            Self::Copy | Self::Scale { .. } => Ok(()),
            Self::WeightedSum { coefficients, .. } => coefficients.check(tensor, tensor.inputs.len()),
            Self::TaskVectors { base, coefficients, selections, .. } => {
                if tensor.base() != Some(*base) {
                    return Err(MethodFault::NoBase);
                }
                let tuned = tensor.tuned().count();
                coefficients.check(tensor, tuned)?;
                count("selections", tuned, selections.len())?;
                let random = selections.iter().any(|selection| matches!(selection, Selection::Random { .. }));
                if random && !matches!(coefficients, Coefficients::Uniform(_)) {
                    return Err(MethodFault::RandomPerElement);
                }
                let masks = reduced.masks(0).len();
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
                // A scalar is one row of one element.
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
    use super::super::{MethodInput, Role};
    use super::*;
    use crate::compute::merge::ComputeType;

    fn tensor(base: Option<usize>) -> TensorParameters {
        let role = |i| if base == Some(i) { Role::Base } else { Role::Tuned };
        let inputs = (0..3).map(|i| MethodInput { role: role(i), values: Vec::new(), stream_key: 0 }).collect();
        TensorParameters { shape: vec![4, 2], shared: Vec::new(), inputs, precision: ComputeType::F32 }
    }

    fn task_vectors(base: BaseInput, coefficients: usize, selections: usize) -> Map {
        Map::TaskVectors {
            base,
            coefficients: Coefficients::Uniform(vec![1.0; coefficients]),
            selections: vec![Selection::All; selections],
            consensus: false,
            normalize: false,
            divisor: None,
            scale: 1.0,
        }
    }

    #[test]
    fn a_map_of_task_vectors_without_a_base_is_a_fault_and_no_stale_chunk() {
        let (with_base, nothing) = (tensor(Some(0)), ReductionResult::Nothing);
        let base = with_base.required_base().unwrap();
        assert_eq!(tensor(None).required_base(), Err(MethodFault::NoBase));
        assert_eq!(task_vectors(base, 3, 3).check(&tensor(None), &nothing), Err(MethodFault::NoBase));
        assert_eq!(task_vectors(base, 2, 2).check(&with_base, &nothing), Ok(()));
        for (coefficients, selections) in [(3, 2), (2, 3), (1, 2), (2, 1)] {
            let fault = task_vectors(base, coefficients, selections).check(&with_base, &nothing);
            assert!(matches!(fault, Err(MethodFault::Count { .. })), "{coefficients} {selections}");
        }
    }

    #[test]
    fn coefficients_cover_every_row_column_and_input() {
        let sum = |coefficients| Map::WeightedSum { coefficients, divisor: None };
        let check = |coefficients| sum(coefficients).check(&tensor(None), &ReductionResult::Nothing);
        assert!(check(Coefficients::Uniform(vec![1.0; 3])).is_ok());
        assert!(check(Coefficients::Uniform(vec![1.0; 2])).is_err());
        assert!(check(Coefficients::PerRow(vec![vec![1.0; 3]; 4])).is_ok());
        assert!(check(Coefficients::PerRow(vec![vec![1.0; 3]; 3])).is_err());
        assert!(check(Coefficients::PerRow(vec![vec![1.0; 2]; 4])).is_err());
        assert!(check(Coefficients::PerColumn(vec![vec![1.0; 2]; 3])).is_ok());
        assert!(check(Coefficients::PerColumn(vec![vec![1.0; 4]; 3])).is_err());
    }
}
