//! An upper bound on the resident memory of a merge, from what the executor keeps at once.
//!
//! Batch by batch, as the executor forms them: mapped input, what reductions collect, and the buffers of every thread.
//! The constants are measured; `tests/it/plan_memory.rs` holds the bound against the peak of real runs.

use crate::merge::execute::adapted::ModelAdapter;
use crate::merge::execute::chunk::{CHUNK_ELEMENTS, PART_ELEMENTS};
use crate::merge::execute::executor::{WINDOW_BYTES, next_batch};
use crate::merge::execute::reduction::{keeps_masks, mask_bytes};
use crate::merge::execute::trim::collect_limit;
use crate::merge::methods::{Axis, Reduction, Sparsify};
use crate::merge::plan::{MergePlan, TensorJob};

/// The program itself with its heap, before any tensor is looked at: 33 MB measured without optimisation, less with.
const PROGRAM: u64 = 40 << 20;

/// Stack of a thread, and the allocator's pages for it.
const THREAD: u64 = 2 << 20;

/// Bytes that the page cache may map around a chunk of an input beyond the chunk.
const FOLIO: u64 = 1 << 20;

/// The share of what was given back chunk by chunk that neighbours map again until the batch is over.
const RESIDUE: u64 = 4;

/// The share by which the allocator's pages exceed what is asked of it.
const ALLOCATOR: u64 = 12;

/// Memory of a thread's heap for the vectors that come and go while thresholds are searched: they are filled on one
/// thread and freed on another, and the allocator gives pages back after seconds. 15 to 22 MB a thread measured with 2
/// to 8 threads.
const SEARCH: u64 = 24 << 20;

/// One histogram of a digit of 16 bits.
const HISTOGRAM: u64 = 8 << 16;

/// Memory that a batch holds at once.
#[derive(Default)]
struct Held {
    /// Mapped inputs that stay from the reduction to the map.
    mapped: u64,
    /// Mapped again around chunks that were given back.
    residue: u64,
    /// Allocated for reductions.
    heap: u64,
    /// Bytes of each thread.
    thread: u64,
}

impl MergePlan {
    /// A bound on resident memory with `threads` threads.
    #[must_use]
    pub(crate) fn peak_memory(&self, threads: usize) -> u64 {
        let threads = threads as u64;
        let mut most = Held::default();
        let mut rest: &[TensorJob] = &self.jobs;
        while !rest.is_empty() {
            let (batch, later) = next_batch(rest);
            rest = later;
            let held = self.batch(batch, threads);
            // Memory that one batch frees stays with the allocator for seconds, so that the most of each kind counts
            // whichever batch it is of.
            most.mapped = most.mapped.max(held.mapped + held.residue);
            most.heap = most.heap.max(held.heap);
            most.thread = most.thread.max(held.thread);
        }
        let adapters: u64 = self.models.iter().filter_map(|m| m.adapter.as_ref()).map(ModelAdapter::bytes).sum();
        // Names, shapes and places: of every model, of the plan, and of the lock's text.
        let names: u64 = self.models.iter().map(|m| m.tensors.len() as u64 * 512).sum();
        let plan: u64 = self.jobs.iter().map(|job| 2048 + 768 * job.inputs.len() as u64).sum();
        let held = most.mapped + most.heap + threads * (THREAD + most.thread) + 2 * adapters + names + plan;
        PROGRAM + held + held / ALLOCATOR
    }

    fn batch(&self, batch: &[TensorJob], threads: u64) -> Held {
        let mapped = batch.iter().filter(|job| stays_resident(job)).map(TensorJob::bytes_read).sum();
        let passing: u64 = batch.iter().filter(|job| !stays_resident(job)).map(TensorJob::bytes_read).sum();
        let collected: u64 = batch.iter().map(collected).sum();
        // Thresholds are selected from copies, one on each thread.
        let of_one = batch.iter().map(collected_of_one).max().unwrap_or(0);
        let selecting: u64 = batch.iter().map(tuned_that_collect).sum();
        let copies = of_one * selecting.min(threads).min(4);
        Held {
            mapped,
            residue: passing.min(WINDOW_BYTES) / RESIDUE,
            heap: collected + copies + whole_model(batch, threads) + batch.iter().map(searching).max().unwrap_or(0),
            thread: batch.iter().map(|job| self.thread(job)).max().unwrap_or(0),
        }
    }

    /// Memory that one thread holds of a job: a chunk of every input that is given back after it, sums with adapters,
    /// and the part that is computed.
    fn thread(&self, job: &TensorJob) -> u64 {
        let elements = CHUNK_ELEMENTS.min(job.parameters.elements());
        let mut bytes = PART_ELEMENTS.min(elements) * 8;
        for input in &job.inputs {
            let chunk = elements * input.tensor.dtype.bytes() as u64;
            if !stays_resident(job) {
                bytes += chunk + FOLIO.min(input.tensor.bytes());
            }
            if self.models[input.model].adapter_of(&input.name).is_some() {
                bytes += elements * 8;
            }
        }
        bytes
            + match &job.reduction {
                Reduction::None => 0,
                Reduction::DotProducts(products) => match products.axis {
                    Axis::Whole => 0,
                    Axis::Rows => 48 * rows(job).min(CHUNK_ELEMENTS),
                    Axis::Columns => 48 * columns(job),
                },
                Reduction::Sparsify { rules, .. } if rules.iter().any(|r| matches!(r, Sparsify::Largest { .. })) => {
                    // Keys on their way into a collection, and the histogram that takes over when there are too many.
                    elements * 4 + HISTOGRAM + searching(job)
                }
                Reduction::Sparsify { .. } => elements / 8 * job.inputs.len() as u64,
            }
    }
}

/// Histograms of the search over whole task vectors.
fn whole_model(batch: &[TensorJob], threads: u64) -> u64 {
    let whole = |job: &TensorJob| match &job.reduction {
        Reduction::Sparsify { rules, .. } => {
            rules.iter().filter(|rule| matches!(rule, Sparsify::LargestOfModel { .. })).count() as u64
        }
        _ => 0,
    };
    let searches = batch.iter().map(whole).max().unwrap_or(0);
    if searches == 0 { 0 } else { HISTOGRAM * (2 * searches + threads) }
}

/// Whether the job's inputs stay mapped from the reduction to the map.
fn stays_resident(job: &TensorJob) -> bool {
    job.reduction.needs_data() && job.bytes_read() <= WINDOW_BYTES
}

fn rows(job: &TensorJob) -> u64 {
    job.parameters.elements() / job.parameters.shape.last().copied().unwrap_or(1).max(1)
}

fn columns(job: &TensorJob) -> u64 {
    job.parameters.shape.iter().skip(1).product()
}

fn tuned_that_collect(job: &TensorJob) -> u64 {
    match &job.reduction {
        Reduction::Sparsify { rules, .. } => {
            rules.iter().filter(|rule| matches!(rule, Sparsify::Largest { .. })).count() as u64
        }
        _ => 0,
    }
}

/// Memory that the allocator keeps of the vectors of a search: little for small tensors, whose keys are few.
fn searching(job: &TensorJob) -> u64 {
    SEARCH.min(job.parameters.elements() * 64 * tuned_that_collect(job))
}

/// Keys that the search for one threshold of a tensor may collect.
fn collected_of_one(job: &TensorJob) -> u64 {
    let elements = job.parameters.elements();
    collect_limit(elements).min(elements) * 4
}

/// Memory of a tensor's reduction until its map.
fn collected(job: &TensorJob) -> u64 {
    let elements = job.parameters.elements();
    match &job.reduction {
        Reduction::None => 0,
        Reduction::DotProducts(products) => match products.axis {
            Axis::Whole => 0,
            Axis::Rows => 128 * rows(job),
            Axis::Columns => 64 * columns(job),
        },
        Reduction::Sparsify { rules, rescale } => {
            let random = rules.iter().filter(|rule| matches!(rule, Sparsify::Random { .. })).count();
            let masks = *rescale && random > 0 && keeps_masks(elements, rules.len());
            let masks = if masks { mask_bytes(elements, random) } else { 0 };
            collected_of_one(job) * tuned_that_collect(job) + masks
        }
    }
}
