//! Kernels that write into uninitialised memory: zeroing results first costs up to 5 % of a product.

use std::mem::MaybeUninit;

/// Returns a vector of `len` elements that `write` fills.
///
/// # Safety
/// `write` must write every element of its argument.
pub(super) unsafe fn vec_written_by(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    write(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and the caller guarantees that all elements were written.
    unsafe { values.set_len(len) };
    values
}

/// Views initialised memory as memory to be overwritten.
#[inline(always)]
pub(super) fn as_uninit(values: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: the layouts are the same, and kernels never write uninitialised values.
    unsafe { &mut *(std::ptr::from_mut(values) as *mut [MaybeUninit<f32>]) }
}
