//! The portable loop bodies as tasks: one copy a SIMD level, vectorised by the compiler.
//!
//! No body contains a fused operation that is not written as one, so that every copy computes the same bits.

use std::marker::PhantomData;

use super::float::Float;
use super::{maps, reductions};
use crate::compute::merge::{
    Bracket, ComputeType, Delta, DeltaSummary, Digit, Operand, Output, Selection, TaskVectors, WeightedSum,
};
use crate::compute::simd::{Level, Simd, Task};

/// Defines functions that run a body, generic over the compute type, at a level. F64 checkpoints are rare: one vector
/// copy is worth its build time, two are not.
macro_rules! portable {
    (@result) => { () };
    (@result $result:ty) => { $result };
    ($life:lifetime; $($module:ident::$name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        pub(crate) fn $name<$life>(level: Level, compute: ComputeType, $($arg: $type),*) $(-> $result)? {
            struct Body<$life, F> {
                $($arg: $type,)*
                float: PhantomData<&$life F>,
            }
            impl<F: Float> Task for Body<'_, F> {
                type Output = portable!(@result $($result)?);

                #[inline(always)]
                fn run<S: Simd>(self, _: S) -> Self::Output {
                    $module::$name::<F>($(self.$arg),*)
                }
            }
            match compute {
                ComputeType::F32 => level.run(Body::<f32> { $($arg,)* float: PhantomData }),
                ComputeType::F64 => level.run_up_to_avx2(Body::<f64> { $($arg,)* float: PhantomData }),
            }
        }
    )*};
}

portable! {
    'a;
    maps::scale(input: Operand<'a>, factor: f64, output: Output<'a>);
    maps::weighted_sum(job: &'a WeightedSum<'a>, output: Output<'a>);
    maps::task_vectors(job: &'a TaskVectors<'a>, output: Output<'a>);
    reductions::products(vectors: &'a [Delta<'a>], sums: &'a mut [f64]);
    reductions::column_products(vectors: &'a [Delta<'a>], sums: &'a mut [f64]);
    reductions::magnitude_bracket(delta: Delta<'a>, bracket: Bracket, inside: &'a mut Vec<u32>) -> u64;
    reductions::magnitude_histogram(delta: Delta<'a>, digit: Digit, counts: &'a mut [u64]);
    reductions::magnitude_positions(delta: Delta<'a>, key: u64, limit: usize) -> Vec<usize>;
    reductions::magnitude_counts(delta: Delta<'a>, key: u64) -> (u64, u64);
    reductions::magnitude_sample(delta: Delta<'a>, run: usize, stride: usize, keys: &'a mut Vec<u32>);
    reductions::magnitude_sums(delta: Delta<'a>, selection: Selection, first: u64, mask: Option<&'a mut [u64]>) -> (f64, f64);
    reductions::delta_summary(base: Operand<'a>, tuned: &'a [Operand<'a>]) -> DeltaSummary;
}

/// Counts infinities and NaN, whatever the compute type.
pub(crate) fn non_finite(level: Level, values: Operand<'_>) -> u64 {
    struct Body<'a>(Operand<'a>);
    impl Task for Body<'_> {
        type Output = u64;

        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> u64 {
            reductions::non_finite(self.0)
        }
    }
    level.run(Body(values))
}
