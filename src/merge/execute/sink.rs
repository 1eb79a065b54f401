//! Sinks of a merge's finished chunks: output files, or memory.

use std::sync::{Mutex, PoisonError};

use crate::checkpoint::layout::OutputTensor;
use crate::error::Result;
use crate::merge::plan::MergePlan;
use crate::storage::publish::OutputFile;

/// Takes finished chunks, from any thread.
pub(super) trait Sink: Sync {
    /// Takes the bytes of an output tensor from `start` on.
    fn put(&self, output: usize, start: u64, bytes: &[u8]) -> Result<()>;
}

/// Into output files.
pub(super) struct Shards<'a> {
    pub(super) plan: &'a MergePlan,
    pub(super) files: &'a [OutputFile],
}

impl Sink for Shards<'_> {
    fn put(&self, output: usize, start: u64, bytes: &[u8]) -> Result<()> {
        let (shard, offset) = self.plan.layout.places[output];
        Ok(self.files[shard].write_at(offset + start, bytes)?)
    }
}

/// Into memory, one buffer for each output tensor.
pub(super) struct Buffers(Vec<Mutex<Vec<u8>>>);

impl Buffers {
    pub(super) fn new(outputs: &[OutputTensor]) -> Self {
        let size = |output: &OutputTensor| usize::try_from(output.bytes()).expect("a tensor in memory fits an address");
        Self(outputs.iter().map(|output| Mutex::new(vec![0; size(output)])).collect())
    }

    pub(super) fn into_bytes(self) -> Vec<Vec<u8>> {
        self.0.into_iter().map(|buffer| buffer.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
    }
}

impl Sink for Buffers {
    fn put(&self, output: usize, start: u64, bytes: &[u8]) -> Result<()> {
        let mut buffer = self.0[output].lock().unwrap_or_else(PoisonError::into_inner);
        buffer[start as usize..start as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}
