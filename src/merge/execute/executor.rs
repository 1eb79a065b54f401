//! Runs a plan: chunks in file order, any number of threads, a bounded window of mapped input.
//!
//! Consecutive tensors form a batch of at most [`WINDOW_BYTES`] of input. A batch is first reduced
//! (as many rounds as its reductions need), then mapped and written. Pages that were reduced stay resident until the
//! batch is written; a tensor larger than the window, or one without a reduction, gives them back chunk by chunk (the
//! former reads them again from the page cache). Workers take chunks from a counter, so chunks start in order; results
//! do not depend on which worker takes which.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::adapted::ModelAdapter;
use super::chunk::{CHUNK_ELEMENTS, chunks, parts};
use super::input_digests::{InputDigests, Readings};
use super::map_part::map_part;
use super::non_finite::{NonFinite, count_made};
use super::sink::{Buffers, Shards, Sink, completed};
use super::trim::WholeModelThresholds;
use crate::compute::merge::{DRAW_GROUP, MergeKernels, Operand, Output};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::event::{Event, Progress};
use crate::merge::execute::reduction;
use crate::merge::execute::reduction::{Begun, ChunkInputs};
use crate::merge::methods::{BaseInput, Map, MethodError, MethodFault, ReductionResult};
use crate::merge::plan::{JobInput, MergePlan, TensorJob};
use crate::parallel::{Pool, Workers};
use crate::storage::hash::{Digest, HashAlgorithm};
use crate::storage::publish::StagingDir;
use crate::storage::shortened;

/// Input bytes that may be resident at once, apart from one chunk per thread.
pub(crate) const WINDOW_BYTES: u64 = 160 << 20;

/// Findings of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Execution {
    /// Digest of every shard, in order; empty when not asked for.
    pub shard_digests: Vec<Digest>,
    /// Output tensors with infinities or NaN.
    pub non_finite: Vec<NonFinite>,
}

/// Options of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExecuteOptions {
    /// Threads that compute; hashing and syncing have their own.
    pub workers: Workers,
    /// Hash the shards while they are written: BLAKE3 by the workers, SHA-256 by a thread that follows them.
    pub hash: Option<HashAlgorithm>,
}

/// Writes all shards of a plan into a staging directory and syncs them; `inputs` are hashed as they are read.
///
/// # Errors
/// Write errors, or [`crate::error::Cancelled`].
pub(crate) fn execute(
    plan: &MergePlan,
    backend: &dyn MergeKernels,
    staging: &StagingDir,
    options: ExecuteOptions,
    inputs: Option<&InputDigests>,
    progress: Progress<'_>,
) -> Result<Execution> {
    let pool = options.workers.pool("merge")?;
    let mut files = Vec::new();
    for shard in &plan.layout.shards {
        let file = staging.create_file(&shard.file_name, shard.bytes)?;
        let file = if options.hash == Some(HashAlgorithm::Blake3) { file.hashed() } else { file };
        file.write_at(0, &shard.header)?;
        files.push(file);
    }
    let sink = Shards { plan, files: &files };
    let executor = Executor { hashes: inputs, ..Executor::new(plan, backend, &pool, &sink, progress) };
    let (non_finite, shard_digests) = completed(&files, options.hash, progress, || executor.run())?;
    Ok(Execution { shard_digests, non_finite })
}

/// Computes the bytes of some output tensors without writing them anywhere.
///
/// # Errors
/// [`crate::error::Cancelled`].
#[expect(clippy::missing_panics_doc, reason = "what is expected holds by construction")]
pub(crate) fn compute_tensors(
    plan: &MergePlan,
    backend: &dyn MergeKernels,
    outputs: &[usize],
    workers: Workers,
    progress: Progress<'_>,
    mut take: impl FnMut(usize, Vec<u8>),
) -> Result<()> {
    let pool = workers.pool("merge")?;
    let sink = Shards { plan, files: &[] };
    let executor = Executor::new(plan, backend, &pool, &sink, progress);
    let mut adapted = Vec::new();
    let thresholds = executor.whole_model_thresholds()?;
    for job in plan.jobs.iter().filter(|job| outputs.contains(&job.output)) {
        let reduced = executor.reduce(&[job], &thresholds)?;
        let map = map_of(plan, job, &reduced[0])?;
        let output = &plan.outputs[job.output];
        let width = output.dtype.bytes();
        let mut bytes = vec![0; usize::try_from(output.bytes()).expect("a tensor in memory fits an address")];
        for (index, range) in chunks(bytes.len() as u64 / width as u64).enumerate() {
            executor.may_go_on()?;
            let inputs = executor.inputs(job, index, &range, &mut adapted)?;
            for part in parts(&range) {
                let piece = &mut bytes[part.start as usize * width..part.end as usize * width];
                let into = Output { bytes: piece, dtype: output.dtype };
                map_part(backend, &job.parameters.shape, &map, &reduced[0], &inputs, &part, into)
                    .map_err(|fault| broken(plan, job, fault))?;
            }
            executor.release(job, &range);
        }
        take(job.output, bytes);
    }
    plan.unchanged()?;
    Ok(())
}

pub(super) struct Executor<'a> {
    pub(super) plan: &'a MergePlan,
    pub(super) backend: &'a dyn MergeKernels,
    pool: &'a Pool,
    sink: &'a dyn Sink,
    progress: Progress<'a>,
    /// Takes the digests of what is read.
    hashes: Option<&'a InputDigests>,
    /// Whether the adapter of each model has infinities or NaN; looked at when an output has some.
    odd_adapters: OnceLock<Vec<bool>>,
}

/// Runs a plan into memory: the bytes of every output tensor, in the order of
/// [`MergePlan::outputs`], the same as [`execute`] writes.
///
/// # Errors
/// [`crate::error::Cancelled`].
pub(crate) fn execute_in_memory(
    plan: &MergePlan,
    backend: &dyn MergeKernels,
    workers: Workers,
    progress: Progress<'_>,
) -> Result<(Vec<Vec<u8>>, Execution)> {
    let pool = workers.pool("merge")?;
    let sink = Buffers::new(&plan.outputs);
    let executor = Executor::new(plan, backend, &pool, &sink, progress);
    let non_finite = executor.run()?;
    Ok((sink.into_bytes(), Execution { shard_digests: Vec::new(), non_finite }))
}

/// Buffers that a worker keeps from chunk to chunk.
#[derive(Default)]
pub(super) struct Scratch {
    /// The part of a chunk that is computed.
    output: Vec<u8>,
    /// Chunks of inputs with adapters added, by input.
    pub(super) adapted: Vec<Vec<u8>>,
}

/// One chunk of one job of a batch.
pub(super) struct Piece {
    /// Position of the job in the batch.
    pub(super) job: usize,
    /// Index of the chunk in its tensor.
    pub(super) index: usize,
    pub(super) range: Range<u64>,
}

/// The next jobs whose inputs fit the window together, at least one, and those after them.
pub(super) fn next_batch<T: std::borrow::Borrow<TensorJob>>(jobs: &[T]) -> (&[T], &[T]) {
    let mut bytes = 0;
    let count = jobs.iter().take_while(|job| {
        bytes += (*job).borrow().bytes_read();
        bytes <= WINDOW_BYTES
    });
    jobs.split_at(count.count().max(1))
}

impl<'a> Executor<'a> {
    fn new(
        plan: &'a MergePlan,
        backend: &'a dyn MergeKernels,
        pool: &'a Pool,
        sink: &'a dyn Sink,
        progress: Progress<'a>,
    ) -> Self {
        Self { plan, backend, pool, sink, progress, hashes: None, odd_adapters: OnceLock::new() }
    }
}

impl Executor<'_> {
    /// Runs everything; returns tensors with non-finite elements.
    fn run(&self) -> Result<Vec<NonFinite>> {
        let thresholds = self.whole_model_thresholds()?;
        let mut non_finite = Vec::new();
        let mut rest: &[TensorJob] = &self.plan.jobs;
        while !rest.is_empty() {
            let (batch, later) = next_batch(rest);
            rest = later;
            let batch: Vec<&TensorJob> = batch.iter().collect();
            let reduced = self.reduce(&batch, &thresholds)?;
            self.write(&batch, &reduced, &mut non_finite)?;
            self.release_all(&batch);
        }
        Ok(non_finite)
    }

    /// Gives back whatever is still mapped of a batch that nobody reads any more.
    pub(super) fn release_all(&self, batch: &[&TensorJob]) {
        for input in batch.iter().flat_map(|job| &job.inputs) {
            if let Some(source) = self.plan.models[input.model].source() {
                source.release_all(&input.tensor);
            }
        }
    }

    /// Asked before every chunk: nobody interrupted, and no input was shortened so far.
    fn may_go_on(&self) -> Result<()> {
        self.progress.cancel.check()?;
        if shortened::any() {
            self.plan.unchanged()?;
        }
        Ok(())
    }

    /// Runs `work` for every piece, pieces starting in order, and stops at the first error.
    pub(super) fn each(
        &self,
        pieces: &[Piece],
        work: impl Fn(&Piece, &mut Scratch) -> Result<()> + Sync,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        self.pool.broadcast(|| {
            let mut scratch = Scratch::default();
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = self.may_go_on().and_then(|()| work(piece, &mut scratch));
                if let Err(error) = result {
                    next.store(pieces.len(), Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// [`Executor::each`] of a batch. A tensor that is larger than the window is worked on a window at a time: faults
    /// map more than the chunk that is read, and what stays mapped would otherwise grow with the tensor.
    pub(super) fn each_window(
        &self,
        batch: &[&TensorJob],
        pieces: &[Piece],
        work: impl Fn(&Piece, &mut Scratch) -> Result<()> + Sync,
    ) -> Result<()> {
        let bytes: u64 = batch.iter().map(|job| job.bytes_read()).sum();
        if bytes <= WINDOW_BYTES {
            return self.each(pieces, work);
        }
        let at_once = (WINDOW_BYTES * pieces.len() as u64 / bytes).max(1);
        for window in pieces.chunks(at_once as usize) {
            self.each(window, &work)?;
            self.release_all(batch);
        }
        Ok(())
    }

    /// All reductions of a batch.
    fn reduce(&self, batch: &[&TensorJob], thresholds: &WholeModelThresholds) -> Result<Vec<ReductionResult>> {
        let mut running: Vec<Begun> = batch.iter().map(|job| self.begin(job, thresholds)).collect::<Result<_>>()?;
        let mut active: Vec<usize> = (0..batch.len()).filter(|&i| matches!(running[i], Begun::Running(_))).collect();
        while !active.is_empty() {
            let pieces: Vec<Piece> = active.iter().flat_map(|&i| pieces(i, batch[i])).collect();
            self.each_window(batch, &pieces, |piece, scratch| {
                let job = batch[piece.job];
                if let Begun::Running(pass) = &running[piece.job] {
                    let inputs = self.inputs(job, piece.index, &piece.range, &mut scratch.adapted)?;
                    pass.visit(self.backend, &inputs);
                }
                if job.bytes_read() > WINDOW_BYTES {
                    self.release(job, &piece.range);
                }
                Ok(())
            })?;
            // Selecting a threshold among collected keys takes a while: all tensors at once.
            let again = self.pool.map_mut(&mut running, |i, begun| match begun {
                Begun::Running(pass) => active.contains(&i) && pass.next_round(self.pool),
                Begun::Known(_) => false,
            });
            active.retain(|&i| again[i]);
        }
        let finish = |begun| match begun {
            Begun::Running(mut pass) => pass.finish(),
            Begun::Known(reduced) => reduced,
        };
        Ok(running.into_iter().map(finish).collect())
    }

    fn begin(&self, job: &TensorJob, thresholds: &WholeModelThresholds) -> Result<Begun> {
        if job.verbatim {
            return Ok(Begun::Known(ReductionResult::Nothing));
        }
        let tuned: Vec<usize> = job.parameters.tuned().collect();
        let models: Vec<usize> = job.inputs.iter().map(|i| i.model).collect();
        let (shape, precision) = (&job.parameters.shape, job.parameters.precision);
        reduction::begin(&job.reduction, shape, &tuned, precision, thresholds, &models)
            .map_err(|fault| broken(self.plan, job, fault).into())
    }

    /// The map pass of a batch.
    fn write(&self, batch: &[&TensorJob], reduced: &[ReductionResult], non_finite: &mut Vec<NonFinite>) -> Result<()> {
        let maps: Vec<Map> =
            batch.iter().zip(reduced).map(|(job, m)| map_of(self.plan, job, m)).collect::<Result<_>>()?;
        let pieces: Vec<Piece> = batch.iter().enumerate().flat_map(|(i, job)| pieces(i, job)).collect();
        let left: Vec<AtomicUsize> =
            batch.iter().map(|job| AtomicUsize::new(chunks(job.parameters.elements()).count())).collect();
        let readings = Readings::of(self.hashes, self.plan, batch);
        let odd: Vec<[AtomicU64; 2]> = batch.iter().map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect();
        self.each_window(batch, &pieces, |piece, scratch| {
            let Scratch { output: buffer, adapted } = scratch;
            let job = batch[piece.job];
            let output = &self.plan.outputs[job.output];
            let width = output.dtype.bytes() as u64;
            let inputs = self.inputs(job, piece.index, &piece.range, adapted)?;
            for part in parts(&piece.range) {
                let bytes = ((part.end - part.start) * width) as usize;
                buffer.resize(buffer.len().max(bytes), 0);
                let buffer = &mut buffer[..bytes];
                let (map, reduced) = (&maps[piece.job], &reduced[piece.job]);
                let into = Output { bytes: buffer, dtype: output.dtype };
                map_part(self.backend, &job.parameters.shape, map, reduced, &inputs, &part, into)
                    .map_err(|fault| broken(self.plan, job, fault))?;
                if output.dtype.is_float() {
                    let written = Operand { bytes: buffer, dtype: output.dtype };
                    let count = self.backend.non_finite(written);
                    if count > 0 {
                        let [counts, made] = &odd[piece.job];
                        counts.fetch_add(count, Ordering::Relaxed);
                        made.fetch_add(self.made(job, written, &inputs.piece(&part)), Ordering::Relaxed);
                    }
                }
                self.sink.put(job.output, part.start * width, buffer)?;
            }
            readings.take(piece.job, &piece.range);
            // What the reduction left resident goes with the batch, in a few calls: each one interrupts all threads.
            if !job.reduction.needs_data() || job.bytes_read() > WINDOW_BYTES {
                self.release(job, &piece.range);
            }
            let read: u64 = job.inputs.iter().map(|i| range_bytes(i, &piece.range)).sum();
            self.progress.event(Event::BytesRead(read));
            self.progress.event(Event::BytesWritten((piece.range.end - piece.range.start) * width));
            if left[piece.job].fetch_sub(1, Ordering::Relaxed) == 1 {
                self.progress.event(Event::TensorDone { name: output.name.clone() });
            }
            Ok(())
        })?;
        for (job, left) in batch.iter().zip(&left) {
            let (unwritten, expected) =
                (left.load(Ordering::Relaxed) as u64, chunks(job.parameters.elements()).count() as u64);
            if unwritten > 0 {
                let fault = MethodFault::Unwritten { what: "chunks", expected, written: expected - unwritten };
                return Err(broken(self.plan, job, fault).into());
            }
        }
        for (job, counts) in batch.iter().zip(odd) {
            let [count, made] = counts.map(AtomicU64::into_inner);
            if count > 0 {
                non_finite.push(NonFinite { tensor: self.plan.outputs[job.output].name.clone(), count, made });
            }
        }
        Ok(())
    }

    /// Elements of a part of the output that are infinite or NaN where no input is.
    fn made(&self, job: &TensorJob, written: Operand<'_>, part: &ChunkInputs<'_>) -> u64 {
        let models = &self.plan.models;
        let odd = || models.iter().map(|m| m.adapter.as_ref().is_some_and(ModelAdapter::has_non_finite)).collect();
        let mut stored = Vec::new();
        for (input, operand) in job.inputs.iter().zip(&part.operands) {
            if models[input.model].adapter_of(&input.name).is_none() {
                stored.push(*operand);
                continue;
            }
            // The sum with an adapter is ours; what counts is whether the base or the adapter has such elements.
            if self.odd_adapters.get_or_init(odd)[input.model] {
                return 0;
            }
            let bytes = byte_range(input, &part.range);
            let base = models[input.model].bytes(&input.tensor).get(bytes.start as usize..bytes.end as usize);
            stored.extend(base.map(|bytes| Operand { bytes, dtype: input.tensor.dtype }));
        }
        count_made(written, &stored)
    }

    /// A chunk of every input. Where an adapter changes one, its sum with the base is formed in
    /// `adapted` and stands for it, as f32.
    pub(super) fn inputs<'s>(
        &'s self,
        job: &TensorJob,
        index: usize,
        range: &Range<u64>,
        adapted: &'s mut Vec<Vec<u8>>,
    ) -> Result<ChunkInputs<'s>> {
        adapted.resize_with(job.inputs.len(), Vec::new);
        let models = &self.plan.models;
        let stored = |input: &JobInput| models[input.model].bytes(&input.tensor);
        for (input, out) in job.inputs.iter().zip(adapted.iter_mut()) {
            if let Some(adapter) = models[input.model].adapter_of(&input.name) {
                let base = Operand { bytes: stored(input), dtype: input.tensor.dtype };
                adapter.read(&input.name, base, range, out);
            }
        }
        let operand = |(input, adapted): (&JobInput, &'s Vec<u8>)| {
            let model = &models[input.model];
            if model.adapter_of(&input.name).is_some() {
                return Ok(Operand { bytes: adapted, dtype: DType::F32 });
            }
            let bytes = byte_range(input, range);
            let (stored, expected) = (model.bytes(&input.tensor), (bytes.end - bytes.start) as usize);
            match stored.get(bytes.start as usize..bytes.end as usize) {
                Some(bytes) => Ok(Operand { bytes, dtype: input.tensor.dtype }),
                None => Err(MethodFault::NoData { expected, found: stored.len() }),
            }
        };
        let operands: std::result::Result<Vec<_>, _> = job.inputs.iter().zip(adapted.iter()).map(operand).collect();
        Ok(ChunkInputs {
            index,
            range: range.clone(),
            operands: operands.map_err(|fault| broken(self.plan, job, fault))?,
            base: job.parameters.base().map(BaseInput::index),
            precision: job.parameters.precision,
        })
    }

    /// Gives the pages of a chunk back.
    pub(super) fn release(&self, job: &TensorJob, range: &Range<u64>) {
        for input in &job.inputs {
            if let Some(source) = self.plan.models[input.model].source() {
                source.release(&input.tensor, byte_range(input, range));
            }
        }
    }
}

/// The map of a tensor, which fits it.
fn map_of(plan: &MergePlan, job: &TensorJob, reduced: &ReductionResult) -> Result<Map> {
    if job.verbatim {
        return Ok(Map::Copy);
    }
    let map = plan.method.map(&job.parameters, reduced).map_err(|fault| broken(plan, job, fault))?;
    map.check(&job.parameters, reduced).map_err(|fault| broken(plan, job, fault))?;
    Ok(map)
}

fn broken(plan: &MergePlan, job: &TensorJob, fault: MethodFault) -> MethodError {
    fault.at(plan.method.name(), &plan.outputs[job.output].name)
}

pub(super) fn pieces(job: usize, tensor: &TensorJob) -> impl Iterator<Item = Piece> + use<> {
    let elements = tensor.parameters.elements();
    debug_assert!(CHUNK_ELEMENTS.is_multiple_of(DRAW_GROUP));
    chunks(elements).enumerate().map(move |(index, range)| Piece { job, index, range })
}

/// Byte range of the elements in the input's tensor.
fn byte_range(input: &JobInput, range: &Range<u64>) -> Range<u64> {
    let width = input.tensor.dtype.bytes() as u64;
    range.start * width..range.end * width
}

fn range_bytes(input: &JobInput, range: &Range<u64>) -> u64 {
    (range.end - range.start) * input.tensor.dtype.bytes() as u64
}
