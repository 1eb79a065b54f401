//! Results in memory that is written once: zeroing it first costs up to a twentieth of a product.

use std::mem::MaybeUninit;

/// A vector of `len` elements, all of which `write` writes.
///
/// # Safety
/// `write` must write every element of what it is given.
pub(super) unsafe fn fresh(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    write(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is there and the caller vouches that it was written.
    unsafe { values.set_len(len) };
    values
}

/// Written memory, to be written again.
#[inline(always)]
pub(super) fn again(values: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: the layout is the same, and kernels write nothing but numbers.
    unsafe { &mut *(std::ptr::from_mut(values) as *mut [MaybeUninit<f32>]) }
}
