//! Reading and writing checkpoints with the reference implementation of safetensors.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// A tensor as stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub(crate) type Tensors = BTreeMap<String, Stored>;

impl Stored {
    /// Rounds values to a floating dtype, to nearest even.
    pub(crate) fn new(dtype: Dtype, shape: &[usize], values: &[f64]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        let bytes = values.iter().flat_map(|v| encode(dtype, *v));
        Self { dtype, shape: shape.to_vec(), bytes: bytes.collect() }
    }

    /// The elements, exactly.
    pub(crate) fn values(&self) -> Vec<f64> {
        let b = &self.bytes;
        match self.dtype {
            Dtype::F64 => b.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => b.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::F16 => b.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f64()).collect(),
            Dtype::BF16 => b.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f64()).collect(),
            other => panic!("{other:?} is not floating"),
        }
    }
}

fn encode(dtype: Dtype, value: f64) -> Vec<u8> {
    match dtype {
        Dtype::F64 => value.to_le_bytes().to_vec(),
        Dtype::F32 => (value as f32).to_le_bytes().to_vec(),
        // Through f32 only for values that an f32 holds exactly: everything these tests store.
        Dtype::F16 => f16::from_f32(value as f32).to_le_bytes().to_vec(),
        Dtype::BF16 => bf16::from_f32(value as f32).to_le_bytes().to_vec(),
        other => panic!("{other:?} is not floating"),
    }
}

/// Half the distance between neighbours of a dtype around a magnitude: what one rounding may cost.
pub(crate) fn half_step(dtype: Dtype, magnitude: f64) -> f64 {
    let (bits, smallest) = match dtype {
        Dtype::F64 => (52, -1074),
        Dtype::F32 => (23, -149),
        Dtype::F16 => (10, -24),
        Dtype::BF16 => (7, -133),
        other => panic!("{other:?} is not floating"),
    };
    let exponent = if magnitude > 0.0 { magnitude.log2().floor() as i32 } else { smallest };
    0.5 * 2_f64.powi((exponent - bits).max(smallest))
}

/// The largest finite magnitude of a dtype.
pub(crate) fn largest(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F64 => f64::MAX,
        Dtype::F32 => f64::from(f32::MAX),
        Dtype::F16 => f16::MAX.to_f64(),
        Dtype::BF16 => bf16::MAX.to_f64(),
        other => panic!("{other:?} is not floating"),
    }
}

/// All tensors of a model directory, or of one file.
pub(crate) fn read(path: &Path) -> Tensors {
    if path.is_file() {
        return read_file(path);
    }
    let index = path.join("model.safetensors.index.json");
    if !index.exists() {
        return read_file(&path.join("model.safetensors"));
    }
    let index: serde_json::Value = serde_json::from_slice(&std::fs::read(index).unwrap()).unwrap();
    let map = index["weight_map"].as_object().unwrap();
    let mut shards: BTreeMap<&str, Tensors> = BTreeMap::new();
    let mut tensors = Tensors::new();
    for (name, shard) in map {
        let shard = shard.as_str().unwrap();
        let stored = shards.entry(shard).or_insert_with(|| read_file(&path.join(shard)));
        tensors.insert(name.clone(), stored.remove(name).unwrap_or_else(|| panic!("{name} is not in {shard}")));
    }
    assert!(shards.values().all(BTreeMap::is_empty), "tensors missing from the index");
    tensors
}

fn read_file(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |view: TensorView<'_>| Stored {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect()
}

/// Writes a model directory of one file, with a config if one is given.
pub(crate) fn write(directory: &Path, tensors: &Tensors, config: Option<&str>) {
    std::fs::create_dir_all(directory).unwrap();
    let views = tensors.iter().map(|(name, t)| (name, TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &directory.join("model.safetensors")).unwrap();
    if let Some(config) = config {
        std::fs::write(directory.join("config.json"), config).unwrap();
    }
}

/// A model directory of one file that is all zeros and takes no space on disk: `[rows, 1024]` per layer.
pub(crate) fn write_sparse(directory: &Path, layers: usize, rows: usize) {
    use std::io::Write;
    std::fs::create_dir_all(directory).unwrap();
    let bytes = rows * 1024 * 4;
    let tensors = (0..layers).map(|layer| {
        let (start, end) = (layer * bytes, (layer + 1) * bytes);
        let name = format!("model.layers.{layer}.mlp.up_proj.weight");
        format!(r#""{name}":{{"dtype":"F32","shape":[{rows},1024],"data_offsets":[{start},{end}]}}"#)
    });
    let mut header = format!("{{{}}}", tensors.collect::<Vec<_>>().join(","));
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut file = std::fs::File::create(directory.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + layers * bytes) as u64).unwrap();
}

/// A deterministic stream of test values.
pub(crate) struct Numbers(pub u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 11
    }

    /// Roughly normal with unit variance.
    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next() as f64 / (1_u64 << 53) as f64).sum::<f64>() - 6.0
    }
}
