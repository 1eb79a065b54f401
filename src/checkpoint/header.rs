//! The safetensors header: parse, validate, build.
//!
//! A file is an 8-byte little-endian header length, a JSON header, and tensor data. The header is
//! input from strangers: every defect has a [`HeaderError`] of its own naming file and tensor, and
//! nothing past the end of the file is ever addressed by a [`Header`] that validated.
//!
//! ```
//! use billon::internal::Header;
//! let json = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
//! let mut file = (json.len() as u64).to_le_bytes().to_vec();
//! file.extend_from_slice(json);
//! file.extend_from_slice(&[0; 8]);
//! let header = Header::parse("model.safetensors".as_ref(), &file, file.len() as u64)?;
//! assert_eq!(header.tensors[0].elements(), 2);
//! # Ok::<(), billon::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, DeserializeSeed, MapAccess, Visitor};

use crate::dtype::DType;
use crate::error::{Diagnose, ErrorKind};

/// Largest header accepted, the limit of the safetensors library.
pub(crate) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, unique in its file.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first; empty for a scalar.
    pub shape: Vec<u64>,
    /// First byte, counted from the start of the file.
    pub start: u64,
    /// One past the last byte, counted from the start of the file.
    pub end: u64,
}

impl TensorInfo {
    /// Number of elements (validated not to overflow).
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// A validated header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The `__metadata__` map.
    pub metadata: BTreeMap<String, String>,
    /// Tensors in file order.
    pub tensors: Vec<TensorInfo>,
}

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

impl Header {
    /// Parses the header at the start of `bytes`, which is the whole file or a prefix of it that
    /// holds at least the header; `length` is the length of the whole file.
    ///
    /// # Errors
    /// A [`HeaderError`] for the first defect found.
    pub fn parse(file: &Path, bytes: &[u8], length: u64) -> Result<Self, HeaderError> {
        let too_short = || HeaderError::TooShort { file: file.into(), length };
        let prefix: [u8; 8] = bytes.get(..8).and_then(|b| b.try_into().ok()).ok_or_else(too_short)?;
        let header = u64::from_le_bytes(prefix);
        if header > MAX_HEADER_BYTES {
            return Err(HeaderError::HeaderTooLarge { file: file.into(), header });
        }
        let data_start = header + 8;
        let json = usize::try_from(data_start).ok().and_then(|end| bytes.get(8..end));
        let (Some(json), true) = (json, data_start <= length) else {
            return Err(HeaderError::HeaderBeyondFile { file: file.into(), header, length });
        };
        let raw = RawHeader::parse(json).map_err(|source| HeaderError::Json { file: file.into(), source })?;
        raw.validate(file, data_start, length)
    }

    /// Length in bytes of the header with its length prefix, given the first 8 bytes of a file;
    /// `None` when it exceeds [`MAX_HEADER_BYTES`].
    #[must_use]
    pub fn prefix_length(first_bytes: [u8; 8]) -> Option<u64> {
        let header = u64::from_le_bytes(first_bytes);
        (header <= MAX_HEADER_BYTES).then_some(header + 8)
    }

    /// Serialises a header (with its length prefix, padded with spaces to a multiple of 8) for
    /// tensors that follow each other without gaps in the order given.
    #[must_use]
    pub fn build(tensors: &[(&str, DType, &[u64])]) -> Vec<u8> {
        let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
        let mut offset = 0_u64;
        for (name, dtype, shape) in tensors {
            let end = offset + shape.iter().product::<u64>() * dtype.bytes() as u64;
            let quoted = serde_json::Value::from(*name);
            let shape = shape.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
            json.push_str(&format!(
                r#",{quoted}:{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{offset},{end}]}}"#
            ));
            offset = end;
        }
        json.push('}');
        while json.len() % 8 != 0 {
            json.push(' ');
        }
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes
    }
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

    fn validate(self, file: &Path, data_start: u64, length: u64) -> Result<Header, HeaderError> {
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
                    previous: previous.expect("the first tensor starts at 0 or later").name.clone(),
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
        Ok(Header { metadata: self.metadata, tensors })
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn defect(bytes: &[u8]) -> HeaderError {
        Header::parse("m.safetensors".as_ref(), bytes, bytes.len() as u64).expect_err("should be refused")
    }

    /// One malformed file per defect; each must come back as its own variant.
    #[test]
    fn every_defect_has_its_own_error() {
        let one = |dtype: &str, shape: &str, offsets: &str, data| {
            file(&format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#), data)
        };
        let two = |a: &str, b: &str, data| {
            let entry = |name: &str, offsets: &str| {
                format!(r#""{name}":{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}"#)
            };
            file(&format!("{{{},{}}}", entry("a", a), entry("b", b)), data)
        };
        assert!(matches!(defect(b"abc"), HeaderError::TooShort { .. }));
        assert!(matches!(defect(&u64::MAX.to_le_bytes()), HeaderError::HeaderTooLarge { .. }));
        assert!(matches!(defect(&100_u64.to_le_bytes()), HeaderError::HeaderBeyondFile { .. }));
        assert!(matches!(defect(&file("{", 0)), HeaderError::Json { .. }));
        assert!(matches!(defect(&file("[]", 0)), HeaderError::Json { .. }));
        assert!(matches!(defect(&file("{} x", 0)), HeaderError::Json { .. }));
        assert!(matches!(defect(&file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0)), HeaderError::Json { .. }));
        assert!(matches!(defect(&one("F99", "[1]", "[0,4]", 4)), HeaderError::UnknownDtype { .. }));
        assert!(matches!(defect(&one("F32", "[-1]", "[0,4]", 4)), HeaderError::Json { .. }));
        assert!(matches!(defect(&one("F32", "[1]", "[4,0]", 4)), HeaderError::OffsetsReversed { .. }));
        assert!(matches!(defect(&one("F32", "[2]", "[0,4]", 4)), HeaderError::WrongByteCount { .. }));
        assert!(matches!(defect(&one("F4", "[3]", "[0,2]", 2)), HeaderError::WrongByteCount { .. }));
        assert!(matches!(
            defect(&one("F32", "[4294967296,4294967296]", "[0,4]", 4)),
            HeaderError::ShapeOverflow { .. }
        ));
        assert!(matches!(
            defect(&one("F32", "[0,4294967296,4294967296]", "[0,0]", 0)),
            HeaderError::ShapeOverflow { .. }
        ));
        assert!(matches!(defect(&one("F32", "[2]", "[0,8]", 4)), HeaderError::TensorBeyondFile { .. }));
        assert!(matches!(defect(&two("[0,4]", "[2,6]", 6)), HeaderError::Overlap { .. }));
        assert!(matches!(defect(&two("[0,4]", "[6,10]", 10)), HeaderError::Gap { .. }));
        assert!(matches!(defect(&two("[0,4]", "[4,8]", 9)), HeaderError::TrailingBytes { .. }));
        let twice = r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
        assert!(matches!(defect(&file(twice, 2)), HeaderError::DuplicateTensor { .. }));
        let message = defect(&one("F32", "[2]", "[0,4]", 4)).to_string();
        assert!(message.contains("m.safetensors") && message.contains("`w`"), "{message}");
    }

    #[test]
    fn builds_what_the_safetensors_crate_reads() {
        let mut bytes = Header::build(&[("a\"b", DType::F32, &[2, 3]), ("é", DType::BF16, &[])]);
        assert_eq!(bytes.len() % 8, 0);
        bytes.resize(bytes.len() + 26, 7);
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("a\"b").unwrap().shape(), [2, 3]);
        assert_eq!(theirs.tensor("é").unwrap().data(), [7, 7]);
        let ours = Header::parse("x".as_ref(), &bytes, bytes.len() as u64).unwrap();
        assert_eq!(ours.tensors.len(), 2);
    }

    proptest! {
        /// Random bytes, and valid files with random damage: no panic, and whatever is accepted
        /// stays inside the file and is accepted by the safetensors crate too.
        #[test]
        fn never_panics_and_never_reads_beyond_the_file(
            shapes in prop::collection::vec(prop::collection::vec(0_u64..4, 0..3), 0..5),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in 0_usize..20,
        ) {
            let names: Vec<String> = (0..shapes.len()).map(|i| format!("t{i}")).collect();
            let list: Vec<_> = names.iter().zip(&shapes).map(|(n, s)| (n.as_str(), DType::F16, s.as_slice())).collect();
            let mut bytes = Header::build(&list);
            let data: u64 = shapes.iter().map(|s| s.iter().product::<u64>() * 2).sum();
            bytes.resize(bytes.len() + data as usize, 0);
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Ok(header) = Header::parse("x".as_ref(), &bytes, bytes.len() as u64) {
                for tensor in &header.tensors {
                    prop_assert!(tensor.start <= tensor.end && tensor.end <= bytes.len() as u64);
                    prop_assert_eq!(tensor.elements() * tensor.dtype.bytes() as u64, tensor.bytes());
                }
                prop_assert!(safetensors::SafeTensors::deserialize(&bytes).is_ok());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::parse("x".as_ref(), &bytes, bytes.len() as u64);
        }
    }
}
