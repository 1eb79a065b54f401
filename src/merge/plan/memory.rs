//! An upper bound on the resident memory of a merge, from what the executor keeps at once.
//!
//! Batch by batch, as the executor forms them: mapped input, what statistics collect, and the buffers of every thread.
//! The constants are measured; `tests/it/plan_memory.rs` holds the bound against the peak of real runs.

use super::{MergePlan, TensorJob};
use crate::merge::adapted::ModelAdapter;
use crate::merge::chunk::{CHUNK_ELEMENTS, PART_ELEMENTS};
use crate::merge::executor::{WINDOW_BYTES, next_batch};
use crate::merge::method::{Axis, Sparsify, Statistics};
use crate::merge::statistics::{keeps_masks, mask_bytes};
use crate::merge::trim::collect_limit;

/// The program itself with its heap, before any tensor is looked at.
const PROGRAM: u64 = 24 << 20;

/// Of a thread: its stack and the allocator's pages for it.
const THREAD: u64 = 4 << 20;

/// What the page cache may map around a chunk of an input beyond the chunk.
const FOLIO: u64 = 2 << 20;

/// One histogram of a digit of 16 bits.
const HISTOGRAM: u64 = 8 << 16;

impl MergePlan {
    /// A bound on resident memory with `threads` threads.
    #[must_use]
    pub fn peak_memory(&self, threads: usize) -> u64 {
        let threads = threads as u64;
        let mut largest = 0;
        let mut rest: &[TensorJob] = &self.jobs;
        while !rest.is_empty() {
            let (batch, later) = next_batch(rest);
            rest = later;
            largest = largest.max(self.batch(batch, threads));
        }
        let adapters: u64 = self.models.iter().filter_map(|m| m.adapter.as_ref()).map(ModelAdapter::bytes).sum();
        // Names, shapes and places: of every model, of the plan, and of the lock's text.
        let names: u64 = self.models.iter().map(|m| m.tensors.len() as u64 * 512).sum();
        let plan: u64 = self.jobs.iter().map(|job| 2048 + 768 * job.inputs.len() as u64).sum();
        PROGRAM + THREAD * threads + largest + 2 * adapters + names + plan
    }

    fn batch(&self, batch: &[TensorJob], threads: u64) -> u64 {
        let kept: u64 = batch.iter().filter(|job| stays_resident(job)).map(TensorJob::bytes_read).sum();
        let collected: u64 = batch.iter().map(collected).sum();
        let thread = batch.iter().map(|job| self.thread(job)).max().unwrap_or(0);
        // Thresholds are selected from copies, one on each thread.
        let copies = batch.iter().map(|job| collected_of_one(job) * tuned_that_collect(job).min(threads)).max();
        kept + collected + threads * thread + copies.unwrap_or(0) * threads.min(2) + self.whole_model(batch, threads)
    }

    /// What one thread holds of a job: a chunk of every input that is given back after it, sums with adapters, the
    /// part that is computed, and keys on their way into a collection.
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
        bytes + match &job.statistics {
            Statistics::None => 0,
            Statistics::Products(products) => match products.axis {
                Axis::Whole => 0,
                Axis::Rows => 48 * rows(job).min(CHUNK_ELEMENTS),
                Axis::Columns => 48 * columns(job),
            },
            Statistics::Sparsify { rules, .. } if rules.iter().any(|r| matches!(r, Sparsify::Largest { .. })) => {
                elements * 4 + HISTOGRAM
            }
            Statistics::Sparsify { .. } => elements / 8 * job.inputs.len() as u64,
        }
    }

    /// Histograms of the search over whole task vectors.
    fn whole_model(&self, batch: &[TensorJob], threads: u64) -> u64 {
        let whole = |job: &TensorJob| match &job.statistics {
            Statistics::Sparsify { rules, .. } => {
                rules.iter().filter(|rule| matches!(rule, Sparsify::LargestOfModel { .. })).count() as u64
            }
            _ => 0,
        };
        match batch.iter().map(whole).max() {
            None | Some(0) => 0,
            Some(searches) => HISTOGRAM * (searches * 2 + threads) + self.residue(batch),
        }
    }

    /// What may stay mapped around chunks that were given back, until the batch is.
    fn residue(&self, batch: &[TensorJob]) -> u64 {
        let read: u64 = batch.iter().map(TensorJob::bytes_read).sum();
        read.min(WINDOW_BYTES)
    }
}

/// Whether the job's inputs stay mapped from the statistics to the map.
fn stays_resident(job: &TensorJob) -> bool {
    job.statistics.needs_data() && job.bytes_read() <= WINDOW_BYTES
}

fn rows(job: &TensorJob) -> u64 {
    job.parameters.elements() / job.parameters.shape.last().copied().unwrap_or(1).max(1)
}

fn columns(job: &TensorJob) -> u64 {
    job.parameters.shape.iter().skip(1).product()
}

fn tuned_that_collect(job: &TensorJob) -> u64 {
    match &job.statistics {
        Statistics::Sparsify { rules, .. } => {
            rules.iter().filter(|rule| matches!(rule, Sparsify::Largest { .. })).count() as u64
        }
        _ => 0,
    }
}

/// Keys that the search for one threshold of a tensor may collect.
fn collected_of_one(job: &TensorJob) -> u64 {
    let elements = job.parameters.elements();
    collect_limit(elements).min(elements) * 4
}

/// What statistics hold of a tensor until its map.
fn collected(job: &TensorJob) -> u64 {
    let elements = job.parameters.elements();
    match &job.statistics {
        Statistics::None => 0,
        Statistics::Products(products) => match products.axis {
            Axis::Whole => 0,
            Axis::Rows => 128 * rows(job),
            Axis::Columns => 64 * columns(job),
        },
        Statistics::Sparsify { rules, rescale } => {
            let random = rules.iter().filter(|rule| matches!(rule, Sparsify::Random { .. })).count();
            let masks = *rescale && random > 0 && keeps_masks(elements, rules.len());
            let masks = if masks { mask_bytes(elements, random) } else { 0 };
            collected_of_one(job) * tuned_that_collect(job) + masks
        }
    }
}
