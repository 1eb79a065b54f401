//! The diagnosis of a refused safetensors header: which defect, in which tensor.
//!
//! The `safetensors` crate decides what is read; its refusals name neither offsets nor neighbours. This reader knows the
//! same rules, and is stricter where the crate lets two readers see two different files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, DeserializeSeed, MapAccess, Visitor};

use super::tensor_info::TensorInfo;
use crate::dtype::DType;
use crate::error::{Diagnose, ErrorKind};

/// Largest header accepted, the limit of the safetensors library.
pub(crate) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A defect of a safetensors file; one variant each.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum HeaderError {
    #[error("{}: {length} bytes are too few for a safetensors file", file.display())]
    TooShort { file: PathBuf, length: u64 },
    #[error("{}: header length {header} is over the limit of {MAX_HEADER_BYTES} bytes", file.display())]
    HeaderTooLarge { file: PathBuf, header: u64 },
    #[error("{}: header length {header} reaches beyond the end of the file ({length} bytes)", file.display())]
    HeaderBeyondFile { file: PathBuf, header: u64, length: u64 },
    #[error("{}: header is not valid JSON of the safetensors form", file.display())]
    Json { file: PathBuf, source: serde_json::Error },
    #[error("{}: tensor `{tensor}` is listed twice", file.display())]
    DuplicateTensor { file: PathBuf, tensor: String },
    #[error("{}: tensor `{tensor}` has unknown dtype `{dtype}`", file.display())]
    UnknownDtype { file: PathBuf, tensor: String, dtype: String },
    #[error("{}: tensor `{tensor}` has shape {shape:?}, whose size overflows", file.display())]
    ShapeOverflow { file: PathBuf, tensor: String, shape: Vec<u64> },
    #[error("{}: tensor `{tensor}` has offsets [{begin}, {end}] in the wrong order", file.display())]
    OffsetsReversed { file: PathBuf, tensor: String, begin: u64, end: u64 },
    #[error(
        "{}: tensor `{tensor}` ({dtype}, shape {shape:?}) needs {expected} bytes but its offsets span {found}",
        file.display()
    )]
    WrongByteCount { file: PathBuf, tensor: String, dtype: DType, shape: Vec<u64>, expected: u64, found: u64 },
    #[error("{}: tensor `{tensor}` starts at byte {begin}, inside tensor `{previous}` (ends at {previous_end})", file.display())]
    Overlap { file: PathBuf, tensor: String, begin: u64, previous: String, previous_end: u64 },
    #[error("{}: {} unused bytes before tensor `{tensor}`", file.display(), begin - previous_end)]
    Gap { file: PathBuf, tensor: String, begin: u64, previous_end: u64 },
    #[error("{}: truncated: tensor `{tensor}` ends at byte {end} of the data but only {available} are there", file.display())]
    TensorBeyondFile { file: PathBuf, tensor: String, end: u64, available: u64 },
    #[error("{}: {surplus} bytes after the last tensor belong to none", file.display())]
    TrailingBytes { file: PathBuf, surplus: u64 },
    #[error("{}: the safetensors library refuses the header", file.display())]
    Refused { file: PathBuf, source: serde_json::Error },
}

impl Diagnose for HeaderError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Input
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::TooShort { .. } | Self::HeaderBeyondFile { .. } | Self::TensorBeyondFile { .. } => {
                "the file looks cut off or is not safetensors (a Git LFS pointer?): fetch it again"
            }
            Self::UnknownDtype { .. } => "this version of billon reads F64, F32, F16, BF16 and integers",
            _ => "the file is damaged or was written by a faulty tool: write it again with safetensors",
        };
        vec![hint.to_owned()]
    }
}

/// The `__metadata__` map, and the tensors in file order.
type Contents = (BTreeMap<String, String>, Vec<TensorInfo>);

/// Reads the JSON of a header by the rules of the format, with a name for every defect. `data_start` and `length` are
/// where the data begin and end in the file.
///
/// # Errors
/// A [`HeaderError`] for the first defect found.
pub(super) fn diagnose(file: &Path, json: &[u8], data_start: u64, length: u64) -> Result<Contents, HeaderError> {
    let raw = RawHeader::parse(json).map_err(|source| HeaderError::Json { file: file.into(), source })?;
    raw.validate(file, data_start, length)
}

/// The JSON as written, names possibly repeated.
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, RawTensor)>,
}

#[derive(serde::Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl RawHeader {
    fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let raw = de::Deserializer::deserialize_map(&mut deserializer, RawVisitor)?;
        deserializer.end()?;
        Ok(raw)
    }

    fn validate(self, file: &Path, data_start: u64, length: u64) -> Result<Contents, HeaderError> {
        let available = length - data_start;
        let mut names = BTreeSet::new();
        for (name, _) in &self.tensors {
            if !names.insert(name.as_str()) {
                return Err(HeaderError::DuplicateTensor { file: file.into(), tensor: name.clone() });
            }
        }
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for (name, raw) in self.tensors {
            let [begin, end] = raw.data_offsets;
            let Some(dtype) = DType::from_safetensors(&raw.dtype) else {
                return Err(HeaderError::UnknownDtype { file: file.into(), tensor: name, dtype: raw.dtype });
            };
            if begin > end {
                return Err(HeaderError::OffsetsReversed { file: file.into(), tensor: name, begin, end });
            }
            let bits = raw
                .shape
                .iter()
                .try_fold(u64::from(dtype.bits()), |total, &n| total.checked_mul(n))
                // A zero dimension must not hide an overflow of the others.
                .filter(|_| raw.shape.iter().filter(|&&n| n > 0).try_fold(64_u64, |t, &n| t.checked_mul(n)).is_some());
            let Some(bits) = bits else {
                return Err(HeaderError::ShapeOverflow { file: file.into(), tensor: name, shape: raw.shape });
            };
            let (expected, found) = (bits.div_ceil(8), end - begin);
            if expected != found || bits % 8 != 0 {
                return Err(HeaderError::WrongByteCount {
                    file: file.into(),
                    tensor: name,
                    dtype,
                    shape: raw.shape,
                    expected,
                    found,
                });
            }
            if end > available {
                return Err(HeaderError::TensorBeyondFile { file: file.into(), tensor: name, end, available });
            }
            tensors.push(TensorInfo { name, dtype, shape: raw.shape, start: begin, end });
        }
        tensors.sort_by(|a, b| (a.start, a.end, &a.name).cmp(&(b.start, b.end, &b.name)));
        let mut previous: Option<&TensorInfo> = None;
        for tensor in &tensors {
            let previous_end = previous.map_or(0, |p| p.end);
            if tensor.start < previous_end {
                return Err(HeaderError::Overlap {
                    file: file.into(),
                    tensor: tensor.name.clone(),
                    begin: tensor.start,
                    previous: previous.map_or_else(String::new, |p| p.name.clone()),
                    previous_end,
                });
            }
            if tensor.start > previous_end {
                return Err(HeaderError::Gap {
                    file: file.into(),
                    tensor: tensor.name.clone(),
                    begin: tensor.start,
                    previous_end,
                });
            }
            previous = Some(tensor);
        }
        let used = previous.map_or(0, |p| p.end);
        if used < available {
            return Err(HeaderError::TrailingBytes { file: file.into(), surplus: available - used });
        }
        for tensor in &mut tensors {
            tensor.start += data_start;
            tensor.end += data_start;
        }
        Ok((self.metadata, tensors))
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensor names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut metadata = None;
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name != "__metadata__" {
                let tensor = map.next_value_seed(Named(&name))?;
                tensors.push((name, tensor));
            } else if metadata.replace(map.next_value()?).is_some() {
                return Err(de::Error::duplicate_field("__metadata__"));
            }
        }
        Ok(RawHeader { metadata: metadata.unwrap_or_else(BTreeMap::new), tensors })
    }
}

/// Deserialises one entry and names it in the error.
struct Named<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = RawTensor;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<RawTensor, D::Error> {
        <RawTensor as de::Deserialize>::deserialize(deserializer)
            .map_err(|error| de::Error::custom(format!("tensor `{}`: {error}", self.0)))
    }
}
