//! The physical floor of a merge: reads every byte of the inputs and writes as many bytes as one
//! model has, with the same maps, chunks, threads, preallocation, positional writes, sync and
//! rename as a merge, and no arithmetic beyond adding up what was read.
//!
//! `floor [--hash] THREADS OUT MODEL_DIR...`; the output has the size of the first model. With `--hash` its BLAKE3 is
//! taken by the threads that write it, as a merge does unless told not to.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use billon::internal::MappedFile;
use billon::internal::ModelDir;
use billon::internal::StagingDir;

/// Bytes of a chunk: what a merge of bf16 models takes at a time.
const CHUNK: u64 = 1 << 20;

fn run(threads: usize, hash: bool, out: &Path, models: &[PathBuf]) -> Result<u64, billon::Error> {
    let models = models.iter().map(|m| ModelDir::open(m)).collect::<Result<Vec<_>, _>>()?;
    let staging = StagingDir::create(out, true)?;
    let total: u64 = models[0].shards().iter().map(MappedFile::len).sum();
    let output = staging.create_file("model.safetensors", total)?;
    let output = if hash { output.hashed() } else { output };
    // Chunks of the first model's files, with where they go.
    let mut chunks = Vec::new();
    let mut offset = 0;
    for (shard, file) in models[0].shards().iter().enumerate() {
        let mut start = 0;
        while start < file.len() {
            let end = (start + CHUNK).min(file.len());
            chunks.push((shard, start, end, offset + start));
            start = end;
        }
        offset += file.len();
    }
    let next = AtomicUsize::new(0);
    let sum = AtomicU64::new(0);
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| output.sync_while_written());
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                while let Some(&(shard, start, end, to)) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut here = 0_u64;
                    for (i, model) in models.iter().enumerate() {
                        let Some(file) = model.shards().get(shard) else { continue };
                        let bytes = file.slice(start..end.min(file.len()));
                        if i == 0 {
                            buffer.clear();
                            buffer.extend_from_slice(bytes);
                        } else {
                            let words = bytes.as_chunks::<8>().0;
                            here = words.iter().fold(here, |sum, w| sum.wrapping_add(u64::from_le_bytes(*w)));
                        }
                        file.release(start..end);
                    }
                    sum.fetch_add(here, Ordering::Relaxed);
                    if output.write_at(to, &buffer).is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        output.abandon();
                    }
                }
            });
        }
    });
    output.sync()?;
    output.digest()?;
    staging.publish()?;
    Ok(sum.into_inner().wrapping_add(failed.into_inner() as u64))
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own")]
fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let hash = args.next_if(|arg| arg == "--hash").is_some();
    let threads = args.next().and_then(|t| t.parse().ok());
    let out = args.next().map(PathBuf::from);
    let models: Vec<PathBuf> = args.map(PathBuf::from).collect();
    let (Some(threads), Some(out), false) = (threads, out, models.is_empty()) else {
        eprintln!("usage: floor [--hash] THREADS OUT MODEL_DIR...");
        return ExitCode::from(2);
    };
    match run(threads, hash, &out, &models) {
        Ok(sum) => {
            println!("{sum:016x}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
