//! Runs a plan: chunks in file order, any number of threads, a bounded window of mapped input.
//!
//! Consecutive tensors form a batch of at most [`WINDOW_BYTES`] of input. A batch is first measured
//! (as many rounds as its statistics need), then mapped and written. Pages that were measured stay resident until the
//! batch is written; a tensor larger than the window, or one without statistics, gives them back chunk by chunk (the
//! former reads them again from the page cache). Workers take chunks from a counter, so chunks start in order; results
//! do not depend on which worker takes which.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};

use super::chunk::{CHUNK_ELEMENTS, chunks, parts};
use super::map_part::map_part;
use super::method::{Map, Measured, Sparsify, Statistics};
use super::plan::{JobInput, MergePlan, TensorJob};
use super::statistics::{self, ChunkInputs, Measurement};
use super::trim::{WholeModelSearch, WholeModelThresholds};
use crate::backend::{Backend, DRAW_GROUP, Operand, Output};
use crate::checkpoint::hash::sha256_while_written;
use crate::checkpoint::layout::OutputTensor;
use crate::checkpoint::writer::{OutputFile, StagingDir, WriteError};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::event::{Event, Progress};
use crate::threads::{pool, spawn_scoped};

/// Input bytes that may be resident at once, apart from one chunk per thread.
pub const WINDOW_BYTES: u64 = 160 << 20;

/// What a run found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Execution {
    /// SHA-256 of every shard, in order; empty when not asked for.
    pub shard_hashes: Vec<String>,
    /// Output tensors with infinities or NaN, and how many.
    pub non_finite: Vec<(String, u64)>,
}

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct ExecuteOptions {
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Hash the shards while they are written.
    pub hash: bool,
}

/// Writes all shards of a plan into a staging directory and syncs them.
///
/// # Errors
/// Write errors, or [`crate::error::Cancelled`].
pub fn execute(
    plan: &MergePlan,
    backend: &dyn Backend,
    staging: &StagingDir,
    options: ExecuteOptions,
    progress: Progress<'_>,
) -> Result<Execution> {
    let pool = pool(options.threads, "merge")?;
    let mut files = Vec::new();
    for shard in &plan.layout.shards {
        let file = staging.create_file(&shard.file_name, shard.bytes)?;
        file.write_at(0, &shard.header)?;
        files.push(file);
    }
    let sink = Shards { plan, files: &files };
    let executor = Executor { plan, backend, pool: &pool, sink: &sink, progress };
    std::thread::scope(|scope| {
        let hasher = options.hash.then(|| {
            let hash = || -> Result<Vec<String>, WriteError> {
                let mut hashes = Vec::new();
                for file in &files {
                    hashes.extend(sha256_while_written(file)?);
                }
                Ok(hashes)
            };
            // Without a thread for it, the same after the last byte.
            spawn_scoped(scope, hash).map_or(Hashing::After(hash), Hashing::Beside)
        });
        // A failed early sync is reported by the last one, and done by it where there is no thread.
        let _ = spawn_scoped(scope, || files.iter().try_for_each(OutputFile::sync_while_written));
        let mut result = {
            let _wake = WakeFollowers(&files);
            executor.run()
        };
        if result.is_ok() {
            progress.event(Event::Syncing);
            result = result.and_then(|r| files.iter().try_for_each(OutputFile::sync).map(|()| r).map_err(Error::from));
        }
        let hashes = match hasher {
            Some(Hashing::Beside(thread)) => match thread.join() {
                Ok(hashes) => hashes,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Some(Hashing::After(hash)) if result.is_ok() => hash(),
            Some(Hashing::After(_)) | None => Ok(Vec::new()),
        };
        let non_finite = result?;
        Ok(Execution { shard_hashes: hashes?, non_finite })
    })
}

/// Hashing of the output: on a thread that follows what is written, or when all is written.
enum Hashing<'scope, F> {
    Beside(std::thread::ScopedJoinHandle<'scope, Result<Vec<String>, WriteError>>),
    After(F),
}

/// When the map pass is over, one way or the other (a panic included), nobody may wait for bytes
/// that will not come. Files that are complete by then are not touched by it.
struct WakeFollowers<'a>(&'a [OutputFile]);

impl Drop for WakeFollowers<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(OutputFile::abandon);
    }
}

/// Computes the bytes of some output tensors without writing them anywhere.
///
/// # Errors
/// [`crate::error::Cancelled`].
pub fn compute_tensors(
    plan: &MergePlan,
    backend: &dyn Backend,
    outputs: &[usize],
    threads: usize,
    progress: Progress<'_>,
    mut take: impl FnMut(usize, Vec<u8>),
) -> Result<()> {
    let pool = pool(threads, "merge")?;
    let executor = Executor { plan, backend, pool: &pool, sink: &Shards { plan, files: &[] }, progress };
    let mut adapted = Vec::new();
    let thresholds = executor.whole_model_thresholds()?;
    for job in plan.jobs.iter().filter(|job| outputs.contains(&job.output)) {
        let measured = executor.measure(&[job], &thresholds)?;
        let map = map_of(plan, job, &measured[0]);
        let output = &plan.outputs[job.output];
        let width = output.dtype.bytes();
        let mut bytes = vec![0; usize::try_from(output.bytes()).unwrap_or(0)];
        for (index, range) in chunks(bytes.len() as u64 / width as u64).enumerate() {
            progress.cancel.check()?;
            let inputs = executor.inputs(job, index, &range, &mut adapted);
            for part in parts(&range) {
                let piece = &mut bytes[part.start as usize * width..part.end as usize * width];
                let into = Output { bytes: piece, dtype: output.dtype };
                map_part(backend, &job.parameters.shape, &map, &measured[0], &inputs, &part, into);
            }
            executor.release(job, &range);
        }
        take(job.output, bytes);
    }
    Ok(())
}

struct Executor<'a> {
    plan: &'a MergePlan,
    backend: &'a dyn Backend,
    pool: &'a rayon::ThreadPool,
    sink: &'a dyn Sink,
    progress: Progress<'a>,
}

/// Where finished chunks go.
trait Sink: Sync {
    /// Takes the bytes of an output tensor from `start` on.
    fn put(&self, output: usize, start: u64, bytes: &[u8]) -> Result<()>;
}

/// Into output files.
struct Shards<'a> {
    plan: &'a MergePlan,
    files: &'a [OutputFile],
}

impl Sink for Shards<'_> {
    fn put(&self, output: usize, start: u64, bytes: &[u8]) -> Result<()> {
        let (shard, offset) = self.plan.layout.places[output];
        Ok(self.files[shard].write_at(offset + start, bytes)?)
    }
}

/// Into memory, one buffer for each output tensor.
struct Buffers(Vec<Mutex<Vec<u8>>>);

impl Sink for Buffers {
    fn put(&self, output: usize, start: u64, bytes: &[u8]) -> Result<()> {
        let mut buffer = self.0[output].lock().unwrap_or_else(PoisonError::into_inner);
        buffer[start as usize..start as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// Runs a plan into memory: the bytes of every output tensor, in the order of
/// [`MergePlan::outputs`], the same as [`execute`] writes.
///
/// # Errors
/// [`crate::error::Cancelled`].
pub fn execute_in_memory(
    plan: &MergePlan,
    backend: &dyn Backend,
    threads: usize,
    progress: Progress<'_>,
) -> Result<(Vec<Vec<u8>>, Execution)> {
    let pool = pool(threads, "merge")?;
    let empty = |output: &OutputTensor| Mutex::new(vec![0; usize::try_from(output.bytes()).unwrap_or(0)]);
    let sink = Buffers(plan.outputs.iter().map(empty).collect());
    let non_finite = Executor { plan, backend, pool: &pool, sink: &sink, progress }.run()?;
    let buffers = sink.0.into_iter().map(|buffer| buffer.into_inner().unwrap_or_else(PoisonError::into_inner));
    Ok((buffers.collect(), Execution { shard_hashes: Vec::new(), non_finite }))
}

/// What a worker keeps from chunk to chunk.
#[derive(Default)]
struct Scratch {
    /// The part of a chunk that is computed.
    output: Vec<u8>,
    /// Chunks of inputs with adapters added, by input.
    adapted: Vec<Vec<u8>>,
}

/// One chunk of one job of a batch.
struct Piece {
    /// Position of the job in the batch.
    job: usize,
    /// Index of the chunk in its tensor.
    index: usize,
    range: Range<u64>,
}

impl Executor<'_> {
    /// Runs everything; returns tensors with non-finite elements.
    fn run(&self) -> Result<Vec<(String, u64)>> {
        let thresholds = self.whole_model_thresholds()?;
        let mut non_finite = Vec::new();
        let mut rest: &[TensorJob] = &self.plan.jobs;
        while !rest.is_empty() {
            let mut bytes = 0;
            let count = rest.iter().take_while(|job| {
                bytes += job.bytes_read();
                bytes <= WINDOW_BYTES
            });
            let (batch, later) = rest.split_at(count.count().max(1));
            rest = later;
            let batch: Vec<&TensorJob> = batch.iter().collect();
            let measured = self.measure(&batch, &thresholds)?;
            self.write(&batch, &measured, &mut non_finite)?;
            for input in batch.iter().flat_map(|job| &job.inputs) {
                if let Some(source) = self.plan.models[input.model].source() {
                    source.release_all(&input.tensor);
                }
            }
        }
        Ok(non_finite)
    }

    /// Runs `work` for every piece, pieces starting in order, and stops at the first error.
    fn each(&self, pieces: &[Piece], work: impl Fn(&Piece, &mut Scratch) -> Result<()> + Sync) -> Result<()> {
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        self.pool.broadcast(|_| {
            let mut scratch = Scratch::default();
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = self.progress.cancel.check().map_err(Error::from).and_then(|()| work(piece, &mut scratch));
                if let Err(error) = result {
                    next.store(pieces.len(), Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// All statistics of a batch.
    fn measure(&self, batch: &[&TensorJob], thresholds: &WholeModelThresholds) -> Result<Vec<Measured>> {
        let mut running: Vec<std::result::Result<Box<dyn Measurement>, Measured>> =
            batch.iter().map(|job| self.begin(job, thresholds)).collect();
        let mut active: Vec<usize> = (0..batch.len()).filter(|&i| running[i].is_ok()).collect();
        while !active.is_empty() {
            let pieces: Vec<Piece> = active.iter().flat_map(|&i| pieces(i, batch[i])).collect();
            self.each(&pieces, |piece, scratch| {
                let job = batch[piece.job];
                if let Ok(measurement) = &running[piece.job] {
                    let inputs = self.inputs(job, piece.index, &piece.range, &mut scratch.adapted);
                    measurement.visit(self.backend, &inputs);
                }
                if job.bytes_read() > WINDOW_BYTES {
                    self.release(job, &piece.range);
                }
                Ok(())
            })?;
            // Selecting a threshold among collected keys takes a while: all tensors at once.
            let again: Vec<bool> = self.pool.install(|| {
                let close = |(i, r): (usize, &mut std::result::Result<Box<dyn Measurement>, Measured>)| {
                    active.contains(&i) && r.as_mut().is_ok_and(|measurement| measurement.next_round())
                };
                running.par_iter_mut().enumerate().map(close).collect()
            });
            active.retain(|&i| again[i]);
        }
        Ok(running.into_iter().map(|r| r.map_or_else(|known| known, |mut m| m.finish())).collect())
    }

    fn begin(
        &self,
        job: &TensorJob,
        thresholds: &WholeModelThresholds,
    ) -> std::result::Result<Box<dyn Measurement>, Measured> {
        if job.verbatim {
            return Err(Measured::Nothing);
        }
        let tuned: Vec<usize> = job.parameters.tuned().collect();
        let models: Vec<usize> = job.inputs.iter().map(|i| i.model).collect();
        let wanted = self.plan.method.statistics(&job.parameters);
        statistics::begin(&wanted, &job.parameters.shape, &tuned, job.parameters.precision, thresholds, &models)
    }

    /// The map pass of a batch.
    fn write(&self, batch: &[&TensorJob], measured: &[Measured], non_finite: &mut Vec<(String, u64)>) -> Result<()> {
        let maps: Vec<Map> = batch.iter().zip(measured).map(|(job, m)| map_of(self.plan, job, m)).collect();
        let pieces: Vec<Piece> = batch.iter().enumerate().flat_map(|(i, job)| pieces(i, job)).collect();
        let left: Vec<AtomicUsize> =
            batch.iter().map(|job| AtomicUsize::new(chunks(job.parameters.elements()).count())).collect();
        let broken: Vec<AtomicU64> = batch.iter().map(|_| AtomicU64::new(0)).collect();
        self.each(&pieces, |piece, scratch| {
            let Scratch { output: buffer, adapted } = scratch;
            let job = batch[piece.job];
            let output = &self.plan.outputs[job.output];
            let width = output.dtype.bytes() as u64;
            let inputs = self.inputs(job, piece.index, &piece.range, adapted);
            for part in parts(&piece.range) {
                let bytes = usize::try_from((part.end - part.start) * width).unwrap_or(0);
                buffer.resize(buffer.len().max(bytes), 0);
                let buffer = &mut buffer[..bytes];
                let (map, measured) = (&maps[piece.job], &measured[piece.job]);
                let into = Output { bytes: buffer, dtype: output.dtype };
                map_part(self.backend, &job.parameters.shape, map, measured, &inputs, &part, into);
                if output.dtype.is_float() {
                    let count = self.backend.non_finite(Operand { bytes: buffer, dtype: output.dtype });
                    broken[piece.job].fetch_add(count, Ordering::Relaxed);
                }
                self.sink.put(job.output, part.start * width, buffer)?;
            }
            // What the statistics left resident goes with the batch, in a few calls: each one interrupts all threads.
            if matches!(measured[piece.job], Measured::Nothing) || job.bytes_read() > WINDOW_BYTES {
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
        for (job, count) in batch.iter().zip(broken) {
            let count = count.into_inner();
            if count > 0 {
                non_finite.push((self.plan.outputs[job.output].name.clone(), count));
            }
        }
        Ok(())
    }

    /// Thresholds of task vectors that are trimmed as a whole.
    fn whole_model_thresholds(&self) -> Result<WholeModelThresholds> {
        let mut wanted: Vec<(usize, f64)> = Vec::new();
        let mut searched: Vec<&TensorJob> = Vec::new();
        for job in self.plan.jobs.iter().filter(|job| !job.verbatim) {
            if let Statistics::Sparsify { rules, .. } = self.plan.method.statistics(&job.parameters) {
                for (rule, input) in rules.iter().zip(job.parameters.tuned()) {
                    if let Sparsify::LargestOfModel { density } = rule {
                        let key = (job.inputs[input].model, *density);
                        if !wanted.contains(&key) {
                            wanted.push(key);
                        }
                        if searched.last().is_none_or(|last| last.output != job.output) {
                            searched.push(job);
                        }
                    }
                }
            }
        }
        let mut thresholds = WholeModelThresholds::default();
        let Some(first) = searched.first() else { return Ok(thresholds) };
        let mut searches: Vec<Option<WholeModelSearch>> = wanted
            .iter()
            .map(|(model, density)| {
                let elements = searched.iter().filter(|j| j.inputs.iter().any(|i| i.model == *model));
                let elements = elements.map(|j| j.parameters.elements()).sum();
                Some(WholeModelSearch::new(*density, elements, first.parameters.precision))
            })
            .collect();
        while searches.iter().any(Option::is_some) {
            let pieces: Vec<Piece> = searched.iter().enumerate().flat_map(|(i, job)| pieces(i, job)).collect();
            self.each(&pieces, |piece, scratch| {
                let job = searched[piece.job];
                let chunk = self.inputs(job, piece.index, &piece.range, &mut scratch.adapted);
                for ((model, _), search) in wanted.iter().zip(&searches) {
                    let input = job.inputs.iter().position(|i| i.model == *model);
                    if let (Some(input), Some(search)) = (input, search) {
                        search.visit(self.backend, chunk.delta(input));
                    }
                }
                self.release(job, &piece.range);
                Ok(())
            })?;
            for ((model, density), search) in wanted.iter().zip(&mut searches) {
                if let Some(key) = search.as_mut().and_then(WholeModelSearch::next_round) {
                    thresholds.insert(*model, *density, key);
                    *search = None;
                }
            }
        }
        Ok(thresholds)
    }

    /// A chunk of every input. Where an adapter changes one, its sum with the base is formed in
    /// `adapted` and stands for it, as f32.
    fn inputs<'s>(
        &'s self,
        job: &TensorJob,
        index: usize,
        range: &Range<u64>,
        adapted: &'s mut Vec<Vec<u8>>,
    ) -> ChunkInputs<'s> {
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
                return Operand { bytes: adapted, dtype: DType::F32 };
            }
            let bytes = byte_range(input, range);
            let bytes = model.bytes(&input.tensor).get(bytes.start as usize..bytes.end as usize);
            Operand { bytes: bytes.unwrap_or_default(), dtype: input.tensor.dtype }
        };
        ChunkInputs {
            index,
            range: range.clone(),
            operands: job.inputs.iter().zip(adapted.iter()).map(operand).collect(),
            base: job.parameters.base,
            precision: job.parameters.precision,
        }
    }

    /// Gives the pages of a chunk back.
    fn release(&self, job: &TensorJob, range: &Range<u64>) {
        for input in &job.inputs {
            if let Some(source) = self.plan.models[input.model].source() {
                source.release(&input.tensor, byte_range(input, range));
            }
        }
    }
}

fn map_of(plan: &MergePlan, job: &TensorJob, measured: &Measured) -> Map {
    if job.verbatim { Map::Copy } else { plan.method.map(&job.parameters, measured) }
}

fn pieces(job: usize, tensor: &TensorJob) -> impl Iterator<Item = Piece> + use<> {
    let elements = tensor.parameters.elements();
    debug_assert!(CHUNK_ELEMENTS.is_multiple_of(DRAW_GROUP));
    chunks(elements).enumerate().map(move |(index, range)| Piece { job, index, range })
}

/// Where the elements of a range are in the input's tensor.
fn byte_range(input: &JobInput, range: &Range<u64>) -> Range<u64> {
    let width = input.tensor.dtype.bytes() as u64;
    range.start * width..range.end * width
}

fn range_bytes(input: &JobInput, range: &Range<u64>) -> u64 {
    (range.end - range.start) * input.tensor.dtype.bytes() as u64
}
