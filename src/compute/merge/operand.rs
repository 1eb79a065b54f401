//! Inputs and outputs of kernels: raw little-endian bytes with a dtype.

use crate::dtype::DType;

/// Type that a kernel computes in: f64 when any input or the output is F64, else f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputeType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
}

/// Elements of one input, little-endian, unaligned.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// Raw bytes; their number is a multiple of the element size.
    pub bytes: &'a [u8],
    /// A floating-point dtype.
    pub dtype: DType,
}

impl<'a> Operand<'a> {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.bytes()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements `start..end`.
    #[must_use]
    pub fn slice(&self, start: usize, end: usize) -> Operand<'a> {
        let width = self.dtype.bytes();
        Operand { bytes: &self.bytes[start * width..end * width], dtype: self.dtype }
    }
}

/// Memory for results: as many elements as the operands have.
#[derive(Debug)]
pub struct Output<'a> {
    /// Raw bytes to be overwritten.
    pub bytes: &'a mut [u8],
    /// A floating-point dtype.
    pub dtype: DType,
}

impl Output<'_> {
    /// Elements from `start` on.
    #[must_use]
    pub fn from(&mut self, start: usize) -> Output<'_> {
        Output { bytes: &mut self.bytes[start * self.dtype.bytes()..], dtype: self.dtype }
    }
}

/// Factor of an input.
#[derive(Debug, Clone, Copy)]
pub enum Coefficient<'a> {
    /// The same for all elements of the call.
    Uniform(f64),
    /// One for each element of the call.
    PerElement(&'a [f64]),
}

impl Coefficient<'_> {
    /// Coefficients of the elements from `start` on.
    #[must_use]
    pub fn from(self, start: usize) -> Self {
        match self {
            Self::Uniform(c) => Self::Uniform(c),
            Self::PerElement(cs) => Self::PerElement(&cs[start..]),
        }
    }
}
