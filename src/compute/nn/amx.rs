//! Macro-kernel of bf16 weights in tile registers (Intel AMX, `TDPBF16PS`), as accurate as f32.
//!
//! A tile instruction multiplies bf16 values exactly and adds them in f32. The rows are split into three bf16 parts
//! ([`super::bf16x3`]) that represent them to the last bit; the weights are bf16 already.
//!
//! Sums run over 32 values of k at a time, smallest parts first. The bits of a row depend on it alone, but differ from
//! those of [`super::fma_loop`]. f32 weights could be split as well, at six products in place of three; where the CPU
//! throttles tiles to a quarter of their speed, as shared machines were measured to do for seconds, that is slower
//! than FMA loops, while three products are not.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _MM_HINT_T1, _mm_prefetch};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use super::bf16x3::{PAIR, STEP, TILE, pack_panel, split_rows, tiles_of};
use super::gemm_kernel::{Bf16Tile, Edge, GemmTask, MacroKernel, PackedRows, Panel, Rows};
use crate::compute::simd::{Avx512, Element, PANEL, Start};

/// Token of tile registers: the CPU has them and the operating system lets this process use them.
#[derive(Clone, Copy)]
pub(crate) struct Amx(Avx512);

impl Amx {
    /// Returns the token where there are such registers.
    pub(crate) fn detect() -> Option<Self> {
        static DETECTED: OnceLock<Option<Amx>> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let avx512 = Avx512::detect()?;
            (has_tiles() && permitted()).then_some(Self(avx512))
        })
    }

    /// Runs a product of bf16 weights.
    pub(super) fn run(self, product: impl GemmTask) {
        let _tiles = Configured::new(self);
        // SAFETY: `Amx` holds an `Avx512`, which is only constructed after the CPU feature check.
        unsafe { enabled(self, product) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn enabled(amx: Amx, product: impl GemmTask) {
    product.run_with(amx);
}

/// Reads AMX-TILE and AMX-BF16, bits 24 and 22 of EDX in CPUID leaf 7.
fn has_tiles() -> bool {
    // SAFETY: every x86-64 CPU has the instruction; it reads no memory.
    #[allow(unused_unsafe, reason = "older compilers take the function for unsafe")]
    let cpuid = |leaf: u32| unsafe { __cpuid_count(leaf, 0) };
    cpuid(0).eax >= 7 && cpuid(7).edx & (1 << 24 | 1 << 22) == 1 << 24 | 1 << 22
}

/// Asks Linux to save this process's tile registers, without which their use is a fault.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: the system call reads and writes no memory of this process; older kernels return an error.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// `LDTILECFG` operand: all eight registers are sixteen rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Configures this thread's tile registers, and releases them on drop, so that context switches need not save them.
struct Configured;

impl Configured {
    fn new(_: Amx) -> Self {
        let mut shape =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        shape.row_bytes[..8].fill(64);
        shape.rows[..8].fill(TILE as u8);
        // SAFETY: the CPU has the instruction and 64 bytes are there to read. No compiled code uses these registers.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shape, options(nostack, readonly)) };
        Self
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: the value was constructed with an `Amx`, whose CPU has the instruction.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Multiplies two tiles of rows by two of columns.
macro_rules! by_two {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6\ntdpbf16ps tmm1, tmm4, tmm7\ntdpbf16ps tmm2, tmm5, tmm6\ntdpbf16ps tmm3, tmm5, tmm7\n"
    };
}

/// Multiplies one tile of rows by two of columns.
macro_rules! by_one {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6\ntdpbf16ps tmm1, tmm4, tmm7\n"
    };
}

/// Loads a part of both tiles of rows, or of one.
macro_rules! rows {
    ($first:literal, $second:literal) => {
        concat!("tileloadd tmm4, [{a} + {s}*1 + ", $first, "]\ntileloadd tmm5, [{a} + {s}*1 + ", $second, "]\n")
    };
    ($first:literal) => {
        concat!("tileloadd tmm4, [{a} + {s}*1 + ", $first, "]\n")
    };
}

/// Prefetches two cache lines.
macro_rules! ahead {
    ($first:literal, $second:literal) => {
        concat!("prefetcht1 [{p} + ", $first, "]\nprefetcht1 [{p} + ", $second, "]\n")
    };
}

/// Loads or zeroes the sums, runs all steps, stores the sums. The literals after `$job` are what a second tile of rows
/// adds to the zeroing, the loads and the stores; the instructions of a step follow.
macro_rules! tiles {
    ($job:ident, $zero:literal, $load:literal, $store:literal, $($step:expr),+) => {
        asm!(
            "test {zero:e}, {zero:e}",
            "jz 3f",
            "tilezero tmm0", "tilezero tmm1", $zero,
            "jmp 2f",
            "3:",
            "tileloadd tmm0, [{c} + {cs}*1]", "tileloadd tmm1, [{c} + {cs}*1 + 64]", $load,
            "2:",
            "tileloadd tmm6, [{b} + {s}*1]", "tileloadd tmm7, [{b} + {s}*1 + 1024]",
            $($step,)+
            "add {a}, 6144",
            "add {b}, 2048",
            "add {p}, 256",
            "dec {k}",
            "jnz 2b",
            "tilestored [{c} + {cs}*1], tmm0", "tilestored [{c} + {cs}*1 + 64], tmm1", $store,
            a = inout(reg) $job.left => _,
            b = inout(reg) $job.right => _,
            k = inout(reg) $job.steps => _,
            p = inout(reg) $job.ahead => _,
            c = in(reg) $job.result,
            c2 = in(reg) $job.result.wrapping_add(TILE * $job.result_stride),
            cs = in(reg) $job.result_stride * size_of::<f32>(),
            s = in(reg) 64_usize,
            zero = in(reg) u32::from(matches!($job.start, Start::Zero)),
            options(nostack)
        )
    };
}

/// One or two tiles of rows times a panel.
struct Job {
    /// `steps` times the parts of two tiles.
    left: *const Bf16Tile,
    /// `steps` times the two halves of the panel.
    right: *const Bf16Tile,
    steps: usize,
    /// Memory to prefetch, [`AHEAD_BYTES`] a step; any address is allowed.
    ahead: *const i8,
    start: Start,
    /// 16 or 32 rows of 32 sums.
    result: *mut f32,
    result_stride: usize,
}

impl Job {
    /// # Safety
    /// The registers must be configured, `steps` above 0, all memory valid as the fields say, and the result aliased by
    /// nothing; where `start` is zero it may be uninitialised.
    #[inline(always)]
    unsafe fn run(self, both: bool) {
        let job = self;
        // SAFETY: the caller upholds the contract above; tile registers are configured for 16 rows of 64 bytes.
        unsafe {
            if both {
                tiles!(
                    job,
                    "tilezero tmm2\ntilezero tmm3",
                    "tileloadd tmm2, [{c2} + {cs}*1]\ntileloadd tmm3, [{c2} + {cs}*1 + 64]",
                    "tilestored [{c2} + {cs}*1], tmm2\ntilestored [{c2} + {cs}*1 + 64], tmm3",
                    rows!("2048", "5120"),
                    by_two!(),
                    ahead!("0", "64"),
                    rows!("1024", "4096"),
                    by_two!(),
                    ahead!("128", "192"),
                    rows!("0", "3072"),
                    by_two!()
                );
            } else {
                tiles!(
                    job,
                    "",
                    "",
                    "# {c2}",
                    rows!("2048"),
                    by_one!(),
                    ahead!("0", "64"),
                    rows!("1024"),
                    by_one!(),
                    ahead!("128", "192"),
                    rows!("0"),
                    by_one!()
                );
            }
        }
    }
}

/// Bytes that a step prefetches: with eight pairs of row tiles, as much as it reads of the panel.
const AHEAD_BYTES: usize = 256;

impl MacroKernel for Amx {
    type Simd = Avx512;
    /// The fewer blocks, the less often the weight is packed; the parts are 960 KiB of the second-level cache.
    const MC_FORWARD: usize = 512;
    const MC_BACKWARD: usize = 512;
    const KC: usize = 320;
    const K_ALIGN: usize = STEP;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn pack_rows(self, packed: &mut PackedRows, rows: Rows<'_>) {
        // SAFETY: `Amx` holds an `Avx512`, which is only constructed after the CPU feature check.
        unsafe { split_rows(rows, &mut packed.parts, &mut packed.non_finite) };
    }

    #[inline(always)]
    fn multiply<E: Element>(self, packed: &mut PackedRows, panel: Panel<'_, E>, out: &mut [MaybeUninit<f32>]) {
        let Panel { lines, next, height, start, n, column } = panel;
        let PackedRows { parts, panel: right, .. } = packed;
        // SAFETY: `Amx` holds an `Avx512`, which is only constructed after the CPU feature check.
        unsafe { pack_panel(self.0, lines, right) };
        let steps = lines.len().div_ceil(STEP);
        let pairs = height.div_ceil(PAIR * TILE);
        let width = PANEL.min(n - column);
        let bytes = size_of_val(next);
        assert!(tiles_of(pairs, steps, 0) <= parts.len() && steps * PAIR <= right.len());
        assert!(steps > 0 && height * n <= out.len());
        for pair in 0..pairs {
            let first = pair * PAIR * TILE;
            let rows = (height - first).min(PAIR * TILE);
            // A share of the next panel is prefetched during this pair's steps; what the steps do not cover, before them.
            let ahead = next.as_ptr().cast::<i8>().wrapping_add(bytes * pair / pairs);
            for offset in (steps * AHEAD_BYTES..bytes / pairs).step_by(64) {
                // SAFETY: a prefetch changes no memory and faults on no address.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(offset)) };
            }
            let both = rows > TILE;
            let job = |result: *mut f32, result_stride: usize| Job {
                left: parts[tiles_of(pair, steps, 0)..].as_ptr(),
                right: right.as_ptr(),
                steps,
                ahead,
                start,
                result,
                result_stride,
            };
            if width == PANEL && (rows == PAIR * TILE || rows == TILE) {
                let result = out[first * n + column..].as_mut_ptr().cast();
                // SAFETY: the assertions above cover the parts of all steps, and the panel's columns in each row of the
                // result, which is borrowed mutably.
                unsafe { job(result, n).run(both) };
            } else {
                let at = first * n + column;
                let mut edge = Edge::<{ PAIR * TILE }>::load(&out[at..], n, rows, width);
                // SAFETY: as above; the copy has whole rows of 32 for both tiles.
                unsafe { job(edge.as_mut_ptr(), PANEL).run(both) };
                edge.store(&mut out[at..], n, rows, width);
            }
        }
    }
}
