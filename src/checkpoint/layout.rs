//! Place of every output byte, decided before the first one is computed.

use std::collections::BTreeMap;

use super::header::Header;
use super::model_dir::SINGLE_FILE;
use crate::dtype::DType;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputTensor {
    pub name: String,
    /// Stored element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
}

impl OutputTensor {
    /// Size in bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.shape.iter().product::<u64>() * self.dtype.bytes() as u64
    }
}

/// One output file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    pub file_name: String,
    /// Length prefix and header.
    pub header: Vec<u8>,
    /// Indices of its tensors, in file order.
    pub tensors: Vec<usize>,
    /// Length of the file in bytes.
    pub bytes: u64,
}

/// Shards, and the place of every tensor in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The files, in order.
    pub shards: Vec<Shard>,
    /// For each tensor given to [`Layout::plan`]: shard index and byte offset in the file.
    pub places: Vec<(usize, u64)>,
}

impl Layout {
    /// Distributes tensors (in the order given, which should be by name) over shards of at most
    /// `max_shard_bytes` of tensor data. A shard is closed before a tensor that would overflow it;
    /// a single larger tensor gets a shard of its own. Inside a shard wider elements come first,
    /// so that every tensor is aligned to its element size.
    #[must_use]
    pub(crate) fn plan(tensors: &[OutputTensor], max_shard_bytes: u64) -> Self {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut used = 0_u64;
        for (i, tensor) in tensors.iter().enumerate() {
            let bytes = tensor.bytes();
            match groups.last_mut() {
                Some(group) if used.saturating_add(bytes) <= max_shard_bytes => {
                    group.push(i);
                    used += bytes;
                }
                _ => {
                    groups.push(vec![i]);
                    used = bytes;
                }
            }
        }
        if groups.is_empty() {
            groups.push(Vec::new());
        }
        let count = groups.len();
        let mut places = vec![(0, 0); tensors.len()];
        let shards = groups.into_iter().enumerate().map(|(index, mut group)| {
            group.sort_by_key(|&i| std::cmp::Reverse(tensors[i].dtype.bytes()));
            let entries: Vec<(&str, DType, &[u64])> = group
                .iter()
                .map(|&i| (tensors[i].name.as_str(), tensors[i].dtype, tensors[i].shape.as_slice()))
                .collect();
            let header = Header::build(&entries);
            let mut offset = header.len() as u64;
            for &i in &group {
                places[i] = (index, offset);
                offset += tensors[i].bytes();
            }
            let file_name = if count == 1 {
                SINGLE_FILE.to_owned()
            } else {
                format!("model-{:05}-of-{count:05}.safetensors", index + 1)
            };
            Shard { file_name, header, tensors: group, bytes: offset }
        });
        let shards = shards.collect();
        Self { shards, places }
    }

    /// The text of `model.safetensors.index.json`, or `None` for a single file.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "what is expected holds by construction")]
    pub(crate) fn index(&self, tensors: &[OutputTensor]) -> Option<String> {
        if self.shards.len() == 1 {
            return None;
        }
        let weight_map: BTreeMap<&str, &str> = tensors
            .iter()
            .zip(&self.places)
            .map(|(tensor, &(shard, _))| (tensor.name.as_str(), self.shards[shard].file_name.as_str()))
            .collect();
        let total: u64 = tensors.iter().map(OutputTensor::bytes).sum();
        let index = serde_json::json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
        let mut text = serde_json::to_string_pretty(&index).expect("an index has nothing that JSON lacks");
        text.push('\n');
        Some(text)
    }

    /// Bytes of all files.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, dtype: DType, elements: u64) -> OutputTensor {
        OutputTensor { name: name.into(), dtype, shape: vec![elements] }
    }

    #[test]
    fn shards_close_before_overflow_and_tensors_stay_aligned() {
        let tensors = [
            tensor("a", DType::BF16, 3),
            tensor("b", DType::F32, 2),
            tensor("c", DType::F32, 100),
            tensor("d", DType::U8, 1),
        ];
        let layout = Layout::plan(&tensors, 14);
        assert_eq!(layout.shards.iter().map(|s| s.tensors.clone()).collect::<Vec<_>>(), [vec![1, 0], vec![2], vec![3]]);
        assert_eq!(layout.shards[2].file_name, "model-00003-of-00003.safetensors");
        for (tensor, &(shard, offset)) in tensors.iter().zip(&layout.places) {
            assert_eq!(offset % tensor.dtype.bytes() as u64, 0);
            assert!(offset + tensor.bytes() <= layout.shards[shard].bytes);
        }
        assert!(layout.index(&tensors).unwrap().contains("\"total_size\": 415"));
        let single = Layout::plan(&tensors, u64::MAX);
        assert_eq!(single.shards[0].file_name, SINGLE_FILE);
        assert_eq!(single.index(&tensors), None);
        assert_eq!(Layout::plan(&[], 5).shards.len(), 1);
    }
}
