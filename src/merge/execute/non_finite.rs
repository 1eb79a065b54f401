//! Infinities and NaN in an output: those that an input has at the same place, and those that the merge made.
//!
//! A merge passes on what its inputs hold, with a warning. An element that is finite in every input and not in the
//! output is an overflow, of the arithmetic or of the output's dtype, or a coefficient that is no number: such an output
//! is not published unless that is asked for.

use crate::compute::merge::Operand;
use crate::dtype::DType;
use crate::error::{Diagnose, ErrorKind};

/// Elements of an output tensor that are infinite or NaN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NonFinite {
    pub tensor: String,
    /// Number of elements.
    pub count: u64,
    /// Those where no input is infinite or NaN.
    pub made: u64,
}

impl NonFinite {
    /// Warning about a tensor whose inputs are to blame, or whose overflow was allowed.
    #[must_use]
    pub(crate) fn warning(&self, what: &str) -> String {
        let Self { tensor, count, made } = self;
        let whose = match made {
            0 => ", as its inputs have there".to_owned(),
            made => format!("; no input has one at {made} of these places"),
        };
        format!("tensor `{tensor}` of the {what} has {count} infinite or NaN elements{whose}")
    }
}

/// The merge made infinities or NaN.
#[derive(Debug, thiserror::Error)]
#[error("{}", describe(made))]
pub(crate) struct NonFiniteError {
    /// The tensors, in file order.
    pub made: Vec<NonFinite>,
}

/// Tensors named in the message.
const NAMED: usize = 5;

fn describe(made: &[NonFinite]) -> String {
    let named: Vec<String> =
        made.iter().take(NAMED).map(|n| format!("`{}` at {} elements", n.tensor, n.made)).collect();
    let rest = made.len().saturating_sub(NAMED);
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more tensors") };
    format!("the merge makes infinities or NaN where no input has any: {}{more}", named.join(", "))
}

impl Diagnose for NonFiniteError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Mismatch
    }

    fn hints(&self) -> Vec<String> {
        vec![
            "lower the weights, `lambda` or `scale`, or choose a wider `out_dtype`; --allow-non-finite publishes the \
             result all the same"
                .to_owned(),
        ]
    }
}

/// Whether element `index` of raw bytes is infinite or NaN.
fn is_non_finite(operand: Operand<'_>, index: usize) -> bool {
    let width = operand.dtype.bytes();
    let bytes = &operand.bytes[index * width..(index + 1) * width];
    // The exponent, all of whose bits are set, lies in the two highest bytes of every float.
    let high = u16::from_le_bytes([bytes[width - 2], bytes[width - 1]]);
    let exponent = match operand.dtype {
        DType::F64 => 0x7ff0,
        DType::F32 | DType::BF16 => 0x7f80,
        DType::F16 => 0x7c00,
        _ => return false,
    };
    high & exponent == exponent
}

/// Elements of `output` that are infinite or NaN where none of `inputs` is.
#[must_use]
pub(crate) fn count_made(output: Operand<'_>, inputs: &[Operand<'_>]) -> u64 {
    let made = |i: &usize| is_non_finite(output, *i) && !inputs.iter().any(|input| is_non_finite(*input, *i));
    (0..output.len()).filter(made).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_elements_that_no_input_has_are_counted() {
        let f32s = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let output = f32s(&[nan, inf, -inf, 1.0, nan]);
        let (a, b) = (f32s(&[nan, f32::MAX, 0.0, inf, 1.0]), f32s(&[1.0, 1.0, -inf, 1.0, 1e-40]));
        let operand = |bytes| Operand { bytes, dtype: DType::F32 };
        assert_eq!(count_made(operand(&output), &[operand(&a), operand(&b)]), 2);
        let halves = |bits: &[u16]| bits.iter().flat_map(|b| b.to_le_bytes()).collect::<Vec<u8>>();
        for (dtype, bits, expected) in [
            (DType::F16, [0x7bff_u16, 0x7c00, 0xfe00], 2),
            (DType::BF16, [0x7f7f, 0x7f80, 0xffc0], 2),
            (DType::BF16, [0x7c00, 0x7bff, 0x0000], 0),
        ] {
            let (output, zeros) = (halves(&bits), halves(&[0; 3]));
            let input = Operand { bytes: &zeros, dtype };
            assert_eq!(count_made(Operand { bytes: &output, dtype }, &[input]), expected);
        }
        let wide: Vec<u8> = [f64::MAX, f64::NEG_INFINITY].iter().flat_map(|v| v.to_le_bytes()).collect();
        let (wide, ones) = (Operand { bytes: &wide, dtype: DType::F64 }, f32s(&[1.0, 1.0]));
        assert_eq!(count_made(wide, &[operand(&ones)]), 1);
    }
}
