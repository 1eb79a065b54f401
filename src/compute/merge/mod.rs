//! The compute trait: merge kernels over slices of raw tensor bytes.
//!
//! A merge method is *statistics over chunks, then one map*; the calls here are those two kinds.
//! The trait knows no files, recipes or threads: the executor cuts chunks and calls. Every
//! implementation must write the same bytes: f32 arithmetic (f64 for F64 data) in the order stated
//! at each job, a fused multiply-add only where stated, one rounding to the output type, one NaN,
//! random masks from the counter generator, sums in the fixed shape of [`LANES`].
//!
//! [`cpu::Cpu`] is the SIMD implementation; [`cpu::scalar::Scalar`] is the plain one that serves as
//! its oracle.

pub(crate) mod cpu;

use crate::dtype::DType;
use crate::rng::Philox;

/// Floating-point sums: element `i` of a call is added, in f64, to lane `i % LANES` in order of
/// `i`; the lanes are then added pairwise (see [`fold_lanes`]). Sums of magnitudes first add runs of
/// [`SUM_RUN`] elements, again by lanes, in the working type.
pub(crate) const LANES: usize = 32;

/// See [`LANES`].
pub(crate) const SUM_RUN: usize = 1024;

/// Adds lanes by halves: 32 to 16 to 8 to 4 to 2 to 1.
#[must_use]
pub(crate) fn fold_lanes(mut lanes: [f64; LANES]) -> f64 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The working type: f64 when any input or the output is F64, else f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Single.
    F32,
    /// Double.
    F64,
}

/// A run of elements of one input, little-endian, unaligned.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// Raw bytes; their number is a multiple of the element size.
    pub bytes: &'a [u8],
    /// A floating dtype.
    pub dtype: DType,
}

impl<'a> Operand<'a> {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.bytes()
    }

    /// Whether there are none.
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

/// Where results go: as many elements as the operands have.
#[derive(Debug)]
pub struct Output<'a> {
    /// Raw bytes to be overwritten.
    pub bytes: &'a mut [u8],
    /// A floating dtype.
    pub dtype: DType,
}

impl Output<'_> {
    /// Elements from `start` on.
    #[must_use]
    pub fn from(&mut self, start: usize) -> Output<'_> {
        Output { bytes: &mut self.bytes[start * self.dtype.bytes()..], dtype: self.dtype }
    }
}

/// What an input is multiplied by.
#[derive(Debug, Clone, Copy)]
pub enum Coefficient<'a> {
    /// The same for all elements of the call.
    Uniform(f64),
    /// One for each element of the call.
    PerElement(&'a [f64]),
}

impl Coefficient<'_> {
    /// Those of the elements from `start` on.
    #[must_use]
    pub fn from(self, start: usize) -> Self {
        match self {
            Self::Uniform(c) => Self::Uniform(c),
            Self::PerElement(cs) => Self::PerElement(&cs[start..]),
        }
    }
}

/// Which elements of a task vector take part, and what they are multiplied by first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Selection {
    /// All of them, unchanged.
    All,
    /// None.
    Nothing,
    /// Magnitudes above a threshold, and those equal to it at flat indices before a limit.
    Magnitude {
        /// Threshold as a magnitude key (see [`magnitude_key_f32`]).
        threshold: u64,
        /// Elements equal to the threshold are kept when their flat index is below this.
        ties_before: u64,
        /// Factor for kept elements.
        rescale: f64,
    },
    /// Elements whose random draw of 32 bits is below a limit; the bits come from `stream` at [`draw_position`].
    Random {
        /// The stream.
        stream: Philox,
        /// Keeps draws below this, `0..=2^32`.
        keep_below: u64,
        /// Factor for kept elements.
        rescale: f64,
    },
}

impl Selection {
    /// The same selection with another factor.
    #[must_use]
    pub fn rescaled(self, factor: f64) -> Self {
        match self {
            Self::Magnitude { threshold, ties_before, .. } => {
                Self::Magnitude { threshold, ties_before, rescale: factor }
            }
            Self::Random { stream, keep_below, .. } => Self::Random { stream, keep_below, rescale: factor },
            other => other,
        }
    }
}

/// Where bit `plane` (0 is the highest) of the draw of a flat element index comes from: block counter, word of the
/// block and bit of the word. A plane of [`DRAW_GROUP`] neighbours lies in two words of sixteen consecutive counters, in
/// order: a limit is compared with all of their draws by two bitwise operations a plane, and planes beyond the pair
/// that tells the last of them apart are never made. A density of a half needs one pair.
#[cfg(test)]
pub(crate) fn draw_position(element: u64, plane: u32) -> (u64, usize, u32) {
    let (group, within) = (element / DRAW_GROUP, element % DRAW_GROUP);
    let counter = (group * DRAW_CALLS + u64::from(plane / 2)) * 16 + within % 512 / 32;
    let word = (plane % 2) as usize * 2 + (within / 512) as usize;
    (counter, word, (within % 32) as u32)
}

/// Elements that share sixteen blocks of the generator; calls with random selections start at a
/// multiple of it.
pub(crate) const DRAW_GROUP: u64 = 1024;

/// Times sixteen blocks, two planes each, that a group may need.
pub(crate) const DRAW_CALLS: u64 = 16;

/// A float's magnitude as an integer that orders the same way (sign bit cleared); NaN is above all.
#[cfg(test)]
pub(crate) fn magnitude_key_f32(value: f32) -> u64 {
    u64::from(value.to_bits() & 0x7fff_ffff)
}

/// `out = (c0*x0 + c1*x1 + ...) / divisor`: fused multiply-adds in input order starting from zero,
/// then the division, then one rounding to the output type.
#[derive(Debug)]
pub struct WeightedSum<'a> {
    /// The inputs.
    pub inputs: &'a [Operand<'a>],
    /// One for each input, rounded to the working type.
    pub coefficients: &'a [Coefficient<'a>],
    /// Divides the sum; `None` leaves it.
    pub divisor: Option<f64>,
    /// Working type.
    pub precision: Precision,
}

/// `out = b + scale * mix`, where `mix` combines `u_i = w_i * (r_i * selected(x_i - b))`.
///
/// Without consensus `mix = sum u_i`, divided by `divisor` if there is one. With consensus the sign
/// of `sum u_i` is elected (zero elects plus), only `u_i` of that sign are added, and with
/// `normalize` the result is divided by the sum of their `w_i` (zero counts as one).
/// Every operation rounds to the working type; sums run in input order. An element that is NaN in
/// the base or in any input that is not [`Selection::Nothing`] comes out NaN.
#[derive(Debug)]
pub struct TaskVectors<'a> {
    /// The base model.
    pub base: Operand<'a>,
    /// The fine-tuned models.
    pub inputs: &'a [Operand<'a>],
    /// One for each input.
    pub selections: &'a [Selection],
    /// For each random selection, optionally, what [`Backend::magnitude_sums`] drew before for these
    /// elements: the same bytes come out faster. Empty for none at all.
    pub masks: &'a [Option<&'a [u64]>],
    /// One for each input, rounded to the working type.
    pub coefficients: &'a [Coefficient<'a>],
    /// Elect a sign per element.
    pub consensus: bool,
    /// Divide by the weights that took part (only with consensus).
    pub normalize: bool,
    /// Divides the sum (only without consensus).
    pub divisor: Option<f64>,
    /// lambda.
    pub scale: f64,
    /// Flat index of the call's first element; a multiple of [`DRAW_GROUP`] when a selection is
    /// random.
    pub first_element: u64,
    /// Working type.
    pub precision: Precision,
}

/// One task vector, or one model when there is no base.
#[derive(Debug, Clone, Copy)]
pub struct Delta<'a> {
    /// Subtracted, if there.
    pub base: Option<Operand<'a>>,
    /// The model.
    pub tuned: Operand<'a>,
    /// Working type of the subtraction.
    pub precision: Precision,
}

impl Delta<'_> {
    /// Elements from `start` on.
    #[must_use]
    pub fn from(self, start: usize) -> Self {
        let length = self.tuned.len();
        Self { base: self.base.map(|base| base.slice(start, length)), tuned: self.tuned.slice(start, length), ..self }
    }
}

/// An inclusive range of magnitude keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bracket {
    /// Lowest key inside.
    pub low: u64,
    /// Highest key inside.
    pub high: u64,
}

/// A digit of a magnitude key: `bits` bits above `shift`, for keys whose higher bits are `prefix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    /// Bits below the digit.
    pub shift: u32,
    /// Width of the digit.
    pub bits: u32,
    /// What all bits above the digit must be.
    pub prefix: u64,
}

/// Merge kernels over slices.
pub trait Backend: Sync {
    /// A name for reports.
    fn name(&self) -> &'static str;

    /// `out = x * factor`, rounded once to the working type and once to the output type. A factor
    /// of 1 converts exactly, signs of zeros included.
    fn scale(&self, input: Operand<'_>, factor: f64, precision: Precision, output: Output<'_>);

    /// See [`WeightedSum`].
    fn weighted_sum(&self, job: &WeightedSum<'_>, output: Output<'_>);

    /// See [`TaskVectors`].
    fn task_vectors(&self, job: &TaskVectors<'_>, output: Output<'_>);

    /// Dot products of all pairs `(i, j)`, `i <= j`, in that order, of the given vectors, added to
    /// `sums` (f64 products of working-type elements).
    fn products(&self, vectors: &[Delta<'_>], sums: &mut [f64]);

    /// Like [`Backend::products`] but per column: element `e` of the call belongs to column `e`;
    /// `sums` holds all pairs of a column next to each other and has room for every element.
    fn column_products(&self, vectors: &[Delta<'_>], sums: &mut [f64]);

    /// Counts keys above the bracket and appends those inside it in any order, as offsets from its low
    /// end (brackets are narrower than 2^32).
    fn magnitude_bracket(&self, delta: Delta<'_>, bracket: Bracket, inside: &mut Vec<u32>) -> u64;

    /// Counts the values of a digit.
    fn magnitude_histogram(&self, delta: Delta<'_>, digit: Digit, counts: &mut [u64]);

    /// Positions in the call of elements whose key equals `key`, in order, at most `limit`.
    fn magnitude_positions(&self, delta: Delta<'_>, key: u64, limit: usize) -> Vec<usize>;

    /// Numbers of elements whose key is above `key`, and equal to it.
    fn magnitude_counts(&self, delta: Delta<'_>, key: u64) -> (u64, u64);

    /// Appends the keys of the first `run` of every `stride` elements, in any order (f32 keys, which fit
    /// 32 bits).
    fn magnitude_sample(&self, delta: Delta<'_>, run: usize, stride: usize, keys: &mut Vec<u32>);

    /// Sums of magnitudes: of all elements, and of the selected ones (before any rescaling).
    /// `first_element` is as in [`TaskVectors`]. With a random selection and room in `mask` (a bit for
    /// each element: `i % 64` of word `i / 64`), sets the bits of elements that were drawn and no others.
    fn magnitude_sums(
        &self,
        delta: Delta<'_>,
        selection: Selection,
        first_element: u64,
        mask: Option<&mut [u64]>,
    ) -> (f64, f64);

    /// Number of infinite and NaN elements.
    fn non_finite(&self, values: Operand<'_>) -> u64;

    /// Statistics for looking at models: see [`DeltaStatistics`].
    fn delta_statistics(&self, base: Operand<'_>, tuned: &[Operand<'_>]) -> DeltaStatistics;
}

/// What one pass over a base and its fine-tuned models tells.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeltaStatistics {
    /// Sum of squares of the base.
    pub base_square: f64,
    /// Products of all pairs of task vectors `(i, j)`, `i <= j`.
    pub products: Vec<f64>,
    /// Per model: elements equal to the base's.
    pub zeros: Vec<u64>,
    /// Per model: largest magnitude of its task vector.
    pub largest: Vec<f64>,
    /// Elements where two task vectors have opposite signs.
    pub conflicts: u64,
    /// Elements where at least two task vectors are not zero.
    pub contested: u64,
}

impl DeltaStatistics {
    /// Adds another part of the same tensor.
    pub fn add(&mut self, other: &Self) {
        let grow = |mine: &mut Vec<f64>, n: usize| mine.resize(mine.len().max(n), 0.0);
        grow(&mut self.products, other.products.len());
        grow(&mut self.largest, other.largest.len());
        self.zeros.resize(self.zeros.len().max(other.zeros.len()), 0);
        self.base_square += other.base_square;
        self.products.iter_mut().zip(&other.products).for_each(|(a, b)| *a += b);
        self.zeros.iter_mut().zip(&other.zeros).for_each(|(a, b)| *a += b);
        self.largest.iter_mut().zip(&other.largest).for_each(|(a, b)| *a = a.max(*b));
        self.conflicts += other.conflicts;
        self.contested += other.contested;
    }
}
