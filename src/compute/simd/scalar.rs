//! Sixteen lanes in plain Rust, for every platform: the definition that the other levels are tested against.

use super::tile::{Element, Operands, Tile};
use super::vector::{Group, LANES, Simd, Task};
use crate::dtype::{bf16_to_f32, f16_to_f32};

/// Token of plain Rust; `f32::mul_add` rounds once everywhere, in hardware or in software.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar;

#[inline(always)]
fn lanes(f: impl Fn(usize) -> f32) -> Group {
    let mut group = [0.0; LANES];
    for (lane, value) in group.iter_mut().enumerate() {
        *value = f(lane);
    }
    group
}

impl Simd for Scalar {
    type V = Group;
    const MR: usize = 4;

    #[inline(always)]
    fn vectorize<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }

    unsafe fn tile<E: Element>(self, rows: usize, operands: Operands<E>) {
        // SAFETY: the caller upholds the contract of `Operands`.
        unsafe {
            match rows {
                1 => Tile::<E, 1, 1>::new(operands).run(self),
                2 => Tile::<E, 2, 1>::new(operands).run(self),
                3 => Tile::<E, 3, 1>::new(operands).run(self),
                _ => Tile::<E, 4, 1>::new(operands).run(self),
            }
        }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Group {
        [value; LANES]
    }
    #[inline(always)]
    fn load(self, from: &Group) -> Group {
        *from
    }
    #[inline(always)]
    fn store(self, v: Group, to: &mut Group) {
        *to = v;
    }
    #[inline(always)]
    fn widen_bf16(self, from: &[u16; LANES]) -> Group {
        lanes(|i| bf16_to_f32(from[i]))
    }
    #[inline(always)]
    fn widen_f16(self, from: &[u16; LANES]) -> Group {
        lanes(|i| f16_to_f32(from[i]))
    }
    #[inline(always)]
    fn add(self, a: Group, b: Group) -> Group {
        lanes(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Group, b: Group) -> Group {
        lanes(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Group, b: Group) -> Group {
        lanes(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Group, b: Group) -> Group {
        lanes(|i| a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: Group, b: Group, c: Group) -> Group {
        lanes(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: Group, b: Group) -> Group {
        lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: Group, b: Group) -> Group {
        lanes(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn select_less(self, a: Group, b: Group, x: Group, y: Group) -> Group {
        lanes(|i| if a[i] < b[i] { x[i] } else { y[i] })
    }
    #[inline(always)]
    fn scale_by_power(self, v: Group, power: Group) -> Group {
        // Two factors, since 2^power itself may be outside the range; the first product is exact.
        let factor = |power: i32| f32::from_bits(((power + 127) as u32) << 23);
        lanes(|i| {
            let power = power[i] as i32;
            let first = power >> 1;
            v[i] * factor(first) * factor(power - first)
        })
    }
    #[inline(always)]
    fn prefetch<T>(self, _: *const T) {}
}
