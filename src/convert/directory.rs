//! The conversion: a plan of every output byte, then chunks of rows in any order.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Map, Value};

use super::config::{Shapes, SpecialIds, config, generation_config};
use super::dequantise::dequantise;
use super::error::ConvertError;
use super::family::{Family, Mapped, Undo, interleaved_row, map_tensors};
use super::gguf::file::row_bytes;
use super::gguf::{GgmlType, GgufFile};
use super::like;
use super::tokenizer::rebuild;
use crate::checkpoint::layout::{Layout, OutputTensor};
use crate::checkpoint::model_dir::INDEX_FILE;
use crate::dtype::{DType, f32_to_bf16, f32_to_f16};
use crate::error::Result;
use crate::event::{Event, Progress};
use crate::parallel::Workers;
use crate::storage::publish::{OutputFile, StagingDir, check_target, refuse_inputs};

/// Elements of a chunk, about; a chunk is at least one row. With its f32 and stored copies a chunk
/// costs some 20 MB a thread.
const CHUNK_ELEMENTS: u64 = 1 << 20;

/// Options of a conversion.
#[derive(Debug, Clone)]
pub struct ConvertOptions {
    /// Take config and tokenizer from this directory instead of rebuilding them.
    pub like: Option<PathBuf>,
    /// Stored element type: F32, F16 or BF16. `None` keeps what the file has: F16 or BF16 when all
    /// its matrices are that, else F32, in which quantised values are exact.
    pub dtype: Option<DType>,
    /// Most bytes of tensor data in a shard.
    pub max_shard_bytes: u64,
    /// Replace a non-empty output directory.
    pub force: bool,
    /// Threads that dequantise.
    pub workers: Workers,
}

/// Result of a conversion.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ConvertReport {
    /// The GGUF files.
    pub inputs: Vec<PathBuf>,
    /// The directory written.
    pub output: PathBuf,
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Tensors written.
    pub tensors: usize,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Element type of the written tensors.
    pub dtype: &'static str,
    /// Shards written.
    pub shards: usize,
    /// Bytes of the shards.
    pub bytes_written: u64,
    /// Number of tensors of each GGUF type.
    pub types: std::collections::BTreeMap<&'static str, usize>,
    /// Directory from which config and tokenizer are copied.
    pub like: Option<PathBuf>,
    /// Whether a tokenizer was written.
    pub tokenizer: bool,
    /// Things to know.
    pub warnings: Vec<String>,
    /// Seconds it took.
    pub seconds: f64,
}

/// Converts a GGUF model (see [`GgufFile::open`] for several paths) to a Hugging Face model
/// directory at `out`, which appears whole or not at all.
///
/// # Errors
/// [`ConvertError`] for the input, [`WriteError`](crate::storage::publish::WriteError) for the output, and a cancelled run.
pub fn convert(
    inputs: &[PathBuf],
    out: &Path,
    options: &ConvertOptions,
    progress: Progress<'_>,
) -> Result<ConvertReport> {
    let started = std::time::Instant::now();
    refuse_inputs(out, &input_paths(inputs, options.like.as_deref()))?;
    check_target(out, options.force)?;
    let file = GgufFile::open(inputs).map_err(ConvertError::from)?;
    let family = family(&file)?;
    let shapes = Shapes::read(&file, family)?;
    let mapped = map_tensors(&file, family, &shapes)?;
    let dtype = options.dtype.unwrap_or_else(|| natural_dtype(&file));
    let mut warnings = Vec::new();
    let companions = companions(&file, family, &shapes, dtype, options, &mut warnings)?;
    let outputs: Vec<OutputTensor> = mapped
        .iter()
        .map(|tensor| OutputTensor { name: tensor.name.clone(), dtype, shape: tensor.tensor.info.shape.clone() })
        .collect();
    let layout = Layout::plan(&outputs, options.max_shard_bytes);
    for warning in &warnings {
        progress.warn(warning.clone());
    }
    progress.event(Event::PlanReady {
        tensors: outputs.len(),
        bytes_read: mapped.iter().map(|tensor| tensor.tensor.info.end - tensor.tensor.info.start).sum(),
        bytes_written: outputs.iter().map(OutputTensor::bytes).sum(),
    });

    let staging = StagingDir::create(out, options.force)?;
    let mut shards = Vec::new();
    for shard in &layout.shards {
        let output = staging.create_file(&shard.file_name, shard.bytes)?;
        output.write_at(0, &shard.header)?;
        shards.push(output);
    }
    let work = Work { file: &file, mapped: &mapped, layout: &layout, shards: &shards, shapes: &shapes, dtype };
    work.run(options.workers, progress)?.into_iter().for_each(|warning| {
        progress.warn(warning.clone());
        warnings.push(warning);
    });
    progress.event(Event::Syncing);
    for shard in &shards {
        shard.sync()?;
    }
    if let Some(index) = layout.index(&outputs) {
        staging.write(INDEX_FILE, index.as_bytes())?;
    }
    for (name, bytes) in &companions {
        staging.write(name, bytes)?;
    }
    file.unchanged()?;
    staging.publish()?;
    progress.event(Event::Finished);
    let mut types = std::collections::BTreeMap::new();
    for tensor in &mapped {
        *types.entry(tensor.tensor.info.ggml_type.name()).or_insert(0) += 1;
    }
    Ok(ConvertReport {
        inputs: file.paths(),
        output: out.to_owned(),
        architecture: family.architecture(),
        tensors: mapped.len(),
        parameters: mapped.iter().map(|tensor| tensor.tensor.info.elements()).sum(),
        dtype: dtype.name(),
        shards: shards.len(),
        bytes_written: layout.bytes(),
        types,
        like: options.like.clone(),
        tokenizer: companions.iter().any(|(name, _)| name.starts_with("tokenizer.")),
        warnings,
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn family(file: &GgufFile) -> Result<Family, ConvertError> {
    let key = "general.architecture";
    let architecture = file.metadata().text(key)?.ok_or_else(|| ConvertError::from(file.metadata().missing(key)))?;
    Family::from_architecture(architecture).ok_or_else(|| ConvertError::Architecture {
        file: file.metadata().file().into(),
        architecture: architecture.to_owned(),
    })
}

/// The type that holds every matrix without loss.
fn natural_dtype(file: &GgufFile) -> DType {
    let mut types = file.tensors().iter().filter(|t| t.info.shape.len() > 1).map(|tensor| tensor.info.ggml_type);
    let first = types.next();
    match first {
        Some(GgmlType::F16) if types.all(|t| t == GgmlType::F16) => DType::F16,
        Some(GgmlType::BF16) if types.all(|t| t == GgmlType::BF16) => DType::BF16,
        _ => DType::F32,
    }
}

/// Every file besides weights and index.
fn companions(
    file: &GgufFile,
    family: Family,
    shapes: &Shapes,
    dtype: DType,
    options: &ConvertOptions,
    warnings: &mut Vec<String>,
) -> Result<like::Files, ConvertError> {
    if let Some(directory) = &options.like {
        return like::companions(directory, shapes, file.tensor("output.weight").is_none(), dtype);
    }
    let metadata = file.metadata();
    let special = SpecialIds::read(metadata, shapes.vocabulary)?;
    let config = config(file, family, shapes, &special, dtype)?;
    let length = config.get("max_position_embeddings").and_then(Value::as_u64);
    let mut files = vec![
        ("config.json".to_owned(), json_text(&Value::Object(config))),
        ("generation_config.json".to_owned(), json_text(&Value::Object(generation_config(&special)))),
    ];
    match rebuild(metadata, &special, length)? {
        None => warnings
            .push("the file has no tokenizer: put the original model's tokenizer files beside the weights".to_owned()),
        Some(tokenizer) => {
            files.push(("tokenizer.json".to_owned(), compact_text(&tokenizer.tokenizer)));
            let config: Map<String, Value> = tokenizer.config;
            files.push(("tokenizer_config.json".to_owned(), json_text(&Value::Object(config))));
        }
    }
    Ok(files)
}

fn json_text(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_string_pretty(value).expect("a JSON value has nothing that JSON lacks");
    text.push('\n');
    text.into_bytes()
}

/// Without blanks: a vocabulary of 150,000 lines helps nobody.
fn compact_text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Everything that a conversion reads; the files of a directory may be links into a cache.
fn input_paths(inputs: &[PathBuf], like: Option<&Path>) -> Vec<PathBuf> {
    let mut paths = inputs.to_vec();
    if let Some(like) = like {
        paths.push(like.to_owned());
        paths.extend(std::fs::read_dir(like).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())));
    }
    paths
}

/// State shared by the threads.
struct Work<'a> {
    file: &'a GgufFile,
    mapped: &'a [Mapped<'a>],
    layout: &'a Layout,
    shards: &'a [OutputFile],
    shapes: &'a Shapes,
    dtype: DType,
}

impl Work<'_> {
    /// Converts every chunk; returns warnings.
    fn run(&self, workers: Workers, progress: Progress<'_>) -> Result<Vec<String>> {
        let mut chunks: Vec<(usize, Range<u64>)> = Vec::new();
        let mut left: Vec<AtomicU64> = Vec::new();
        for (index, tensor) in self.mapped.iter().enumerate() {
            let (rows, columns) = (tensor.tensor.info.rows(), tensor.tensor.info.columns());
            // A vector is one row, but its elements can be permuted only as a whole.
            let step = (CHUNK_ELEMENTS / columns).max(1);
            let before = chunks.len();
            let mut row = 0;
            while row < rows {
                let end = rows.min(row + step);
                chunks.push((index, row..end));
                row = end;
            }
            left.push(AtomicU64::new((chunks.len() - before) as u64));
        }
        let overflowed: Vec<AtomicBool> = self.mapped.iter().map(|_| AtomicBool::new(false)).collect();
        let convert = |(index, rows): &(usize, Range<u64>)| -> Result<()> {
            progress.cancel.check()?;
            let (Some(tensor), Some(left), Some(flag)) =
                (self.mapped.get(*index), left.get(*index), overflowed.get(*index))
            else {
                return Ok(());
            };
            if self.chunk(*index, tensor, rows.clone(), progress)? {
                flag.store(true, Ordering::Relaxed);
            }
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.file.release(tensor.tensor);
                progress.event(Event::TensorDone { name: tensor.name.clone() });
            }
            Ok(())
        };
        workers.for_each_index(chunks.len(), |chunk| convert(&chunks[chunk]))?;
        let overflowed = self.mapped.iter().zip(&overflowed).filter(|(_, flag)| flag.load(Ordering::Relaxed));
        Ok(overflowed
            .map(|(tensor, _)| {
                format!("values of `{}` are too large for {} and became infinite", tensor.name, self.dtype)
            })
            .collect())
    }

    /// Converts some rows of a tensor; says whether a finite value became infinite.
    fn chunk(&self, index: usize, mapped: &Mapped<'_>, rows: Range<u64>, progress: Progress<'_>) -> Result<bool> {
        let info = &mapped.tensor.info;
        let failed = |source| ConvertError::Dequantise {
            file: self.file.metadata().file().into(),
            tensor: info.name.clone(),
            source: Box::new(source),
        };
        let head_rows = matches!(mapped.undo, Undo::QueryOrder | Undo::KeyOrder).then_some(self.shapes.head_dim);
        let vector = info.shape.len() == 1;
        let mut values = match head_rows {
            Some(head_dim) if !vector => {
                let mut bytes = Vec::with_capacity(((rows.end - rows.start) * row_bytes(info)) as usize);
                for row in rows.clone() {
                    let source = interleaved_row(row, head_dim);
                    bytes.extend_from_slice(&self.file.rows(mapped.tensor, source..source + 1));
                }
                dequantise(info.ggml_type, &bytes).map_err(failed)?
            }
            _ => dequantise(info.ggml_type, &self.file.rows(mapped.tensor, rows.clone())).map_err(failed)?,
        };
        if let (Some(head_dim), true) = (head_rows, vector) {
            let from = |i: usize| values.get(interleaved_row(i as u64, head_dim) as usize).copied().unwrap_or(f32::NAN);
            values = (0..values.len()).map(from).collect();
        }
        if mapped.undo == Undo::PlusOne {
            for value in &mut values {
                *value -= 1.0;
            }
        }
        let (bytes, overflow) = stored(&values, self.dtype);
        progress.event(Event::BytesRead((rows.end - rows.start) * row_bytes(info)));
        let Some(&(shard, offset)) = self.layout.places.get(index) else { return Ok(overflow) };
        if let Some(shard) = self.shards.get(shard) {
            let offset = offset + rows.start * info.columns() * self.dtype.bytes() as u64;
            shard.write_at(offset, &bytes)?;
        }
        progress.event(Event::BytesWritten(bytes.len() as u64));
        Ok(overflow)
    }
}

/// Little-endian bytes in the stored type, and whether a finite value became infinite.
fn stored(values: &[f32], dtype: DType) -> (Vec<u8>, bool) {
    let mut overflow = false;
    let bytes = match dtype {
        DType::F16 | DType::BF16 => {
            let (round, infinite): (fn(f32) -> u16, u16) =
                if dtype == DType::F16 { (f32_to_f16, 0x7c00) } else { (f32_to_bf16, 0x7f80) };
            let mut bytes = Vec::with_capacity(values.len() * 2);
            for &value in values {
                let bits = round(value);
                overflow |= bits & 0x7fff == infinite && value.is_finite();
                bytes.extend_from_slice(&bits.to_le_bytes());
            }
            bytes
        }
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    (bytes, overflow)
}
