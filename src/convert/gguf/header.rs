//! The header: counts, metadata and tensor list, each checked before it is used.
//!
//! Every length is compared with the bytes that are there before anything is allocated for it, so
//! that memory stays within a small multiple of the file whatever the header claims.

use std::collections::BTreeSet;
use std::path::Path;

use super::error::GgufError;
use super::ggml_type::GgmlType;
use super::metadata::{Metadata, Value};

/// One tensor of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, unique in its file.
    pub name: String,
    /// Element type.
    pub ggml_type: GgmlType,
    /// Dimensions, outermost first (the file has them the other way round); never empty, no zeros.
    pub shape: Vec<u64>,
    /// First byte, counted from the start of the file.
    pub start: u64,
    /// One past the last byte, counted from the start of the file.
    pub end: u64,
}

impl TensorInfo {
    /// Elements of a row, the innermost dimension.
    #[must_use]
    pub fn columns(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.shape.iter().rev().skip(1).product()
    }

    /// Number of elements (checked not to overflow).
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// A validated header.
#[derive(Debug, Clone)]
pub struct GgufHeader {
    /// Format version.
    pub version: u32,
    /// Key-value pairs.
    pub metadata: Metadata,
    /// Tensors, in the order listed.
    pub tensors: Vec<TensorInfo>,
}

const MAGIC: &[u8] = b"GGUF";
const ALIGNMENT: u64 = 32;

impl GgufHeader {
    /// Parses the header at the start of `bytes`, which is the whole file or a prefix of it that
    /// holds the header; `length` is the length of the whole file.
    ///
    /// # Errors
    /// A [`GgufError`] for the first defect found.
    pub fn parse(file: &Path, bytes: &[u8], length: u64) -> Result<Self, GgufError> {
        let mut cursor = Cursor { file, bytes, at: 0 };
        if cursor.take(4, "the magic number").ok() != Some(MAGIC) {
            return Err(GgufError::NotGguf { file: file.into() });
        }
        let version = cursor.u32("the version")?;
        if version != 0 && version.trailing_zeros() >= 16 {
            return Err(GgufError::BigEndian { file: file.into() });
        }
        if !(2..=3).contains(&version) {
            return Err(GgufError::Version { file: file.into(), version });
        }
        // A tensor entry needs 24 bytes, a metadata entry 13.
        let tensor_count = cursor.count("tensors", 24)?;
        let entry_count = cursor.count("metadata entries", 13)?;
        let mut metadata = Metadata::new(file);
        for _ in 0..entry_count {
            let key = cursor.text("a metadata key")?;
            let value = cursor.value(&key)?;
            metadata.insert(key, value)?;
        }
        let alignment = metadata.count("general.alignment")?.unwrap_or(ALIGNMENT);
        if !alignment.is_power_of_two() || alignment > 65536 {
            return Err(GgufError::Alignment { file: file.into(), alignment });
        }
        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            tensors.push(cursor.tensor(alignment)?);
        }
        let data_start = (cursor.at as u64).next_multiple_of(alignment);
        place(file, &mut tensors, data_start, length)?;
        Ok(Self { version, metadata, tensors })
    }
}

/// Makes offsets absolute; no tensor may leave the file or touch another.
fn place(file: &Path, tensors: &mut [TensorInfo], data_start: u64, length: u64) -> Result<(), GgufError> {
    let mut names = BTreeSet::new();
    for tensor in tensors.iter_mut() {
        let name = || tensor.name.clone();
        let bytes = tensor.end;
        let start = data_start.checked_add(tensor.start);
        let Some((start, end)) = start.and_then(|start| Some((start, start.checked_add(bytes)?))) else {
            let end = u64::MAX;
            return Err(GgufError::TensorBeyondFile { file: file.into(), tensor: name(), end, length });
        };
        if end > length {
            return Err(GgufError::TensorBeyondFile { file: file.into(), tensor: name(), end, length });
        }
        (tensor.start, tensor.end) = (start, end);
        if !names.insert(tensor.name.as_str()) {
            return Err(GgufError::DuplicateTensor { file: file.into(), tensor: tensor.name.clone() });
        }
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.start);
    for (first, second) in order.iter().zip(order.iter().skip(1)) {
        if first.end > second.start {
            let (first, second) = (first.name.clone(), second.name.clone());
            return Err(GgufError::Overlap { file: file.into(), first, second });
        }
    }
    Ok(())
}

struct Cursor<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn remaining(&self) -> u64 {
        self.bytes.len().saturating_sub(self.at) as u64
    }

    fn take(&mut self, bytes: u64, what: &'static str) -> Result<&'a [u8], GgufError> {
        let end = usize::try_from(bytes).ok().and_then(|bytes| self.at.checked_add(bytes));
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| GgufError::Truncated { file: self.file.into(), what, at: self.at as u64 })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A number of things that need at least `bytes` bytes each.
    fn count(&mut self, what: &'static str, bytes: u64) -> Result<u64, GgufError> {
        let count = self.u64(what)?;
        let remaining = self.remaining();
        if count.checked_mul(bytes).is_none_or(|needed| needed > remaining) {
            return Err(self.too_many(what, count));
        }
        Ok(count)
    }

    fn too_many(&self, what: &'static str, count: u64) -> GgufError {
        GgufError::TooMany { file: self.file.into(), what, count, remaining: self.remaining() }
    }

    /// A string. Bytes that are not UTF-8 occur in descriptions; they are replaced.
    fn text(&mut self, what: &'static str) -> Result<String, GgufError> {
        let length = self.u64(what)?;
        let bytes = self.take(length, what)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        let what = "a metadata value";
        let kind = self.u32(what)?;
        Ok(match kind {
            6 => Value::F32(f32::from_le_bytes(self.array(what)?)),
            7 => Value::Bool(self.array::<1>(what)? != [0]),
            8 => Value::Text(self.text(what)?),
            9 => {
                let kind = self.u32(what)?;
                self.values(key, kind)?
            }
            10 => Value::Unsigned(self.u64(what)?),
            12 => Value::F64(f64::from_le_bytes(self.array(what)?)),
            0 | 2 | 4 => Value::Unsigned(self.integer(kind)?.unsigned_abs()),
            1 | 3 | 5 | 11 => Value::Signed(self.integer(kind)?),
            found => return Err(GgufError::ValueType { file: self.file.into(), key: key.to_owned(), found }),
        })
    }

    /// An integer of one of the types whose values an i64 holds.
    fn integer(&mut self, kind: u32) -> Result<i64, GgufError> {
        let what = "a metadata value";
        Ok(match kind {
            0 | 7 => i64::from(u8::from_le_bytes(self.array(what)?)),
            1 => i64::from(i8::from_le_bytes(self.array(what)?)),
            2 => i64::from(u16::from_le_bytes(self.array(what)?)),
            3 => i64::from(i16::from_le_bytes(self.array(what)?)),
            4 => i64::from(u32::from_le_bytes(self.array(what)?)),
            5 => i64::from(i32::from_le_bytes(self.array(what)?)),
            _ => i64::from_le_bytes(self.array(what)?),
        })
    }

    fn values(&mut self, key: &str, kind: u32) -> Result<Value, GgufError> {
        let what = "array elements";
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            found => return Err(GgufError::ValueType { file: self.file.into(), key: key.to_owned(), found }),
        };
        let count = self.count(what, width)?;
        Ok(match kind {
            8 => Value::Texts((0..count).map(|_| self.text(what)).collect::<Result<_, _>>()?),
            6 => Value::Floats(
                (0..count).map(|_| Ok(f64::from(f32::from_le_bytes(self.array(what)?)))).collect::<Result<_, _>>()?,
            ),
            12 => {
                Value::Floats((0..count).map(|_| Ok(f64::from_le_bytes(self.array(what)?))).collect::<Result<_, _>>()?)
            }
            _ => Value::Integers((0..count).map(|_| self.integer(kind)).collect::<Result<_, _>>()?),
        })
    }

    /// A tensor entry; `start` is relative to the data and `end` the number of bytes until
    /// [`place`] knows where the data start.
    fn tensor(&mut self, alignment: u64) -> Result<TensorInfo, GgufError> {
        let name = self.text("a tensor name")?;
        let what = "the tensor list";
        let dimensions = self.u32(what)?;
        let file = self.file;
        if dimensions > 4 {
            return Err(GgufError::Dimensions { file: file.into(), tensor: name, dimensions });
        }
        let mut shape = (0..dimensions).map(|_| self.u64(what)).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        let number = self.u32(what)?;
        let offset = self.u64(what)?;
        let ggml_type = match GgmlType::from_number(number) {
            Ok(ggml_type) => ggml_type,
            Err(type_name) => {
                return Err(GgufError::UnsupportedType { file: file.into(), tensor: name, name: type_name });
            }
        };
        let elements = shape.iter().try_fold(1_u64, |total, &n| total.checked_mul(n)).filter(|&n| n > 0);
        // Four bytes an element, the widest output, must not overflow either.
        let Some(elements) = elements.filter(|n| n.checked_mul(8).is_some() && !shape.is_empty()) else {
            return Err(GgufError::Shape { file: file.into(), tensor: name, shape });
        };
        let (block, columns) = (ggml_type.block_elements(), shape.last().copied().unwrap_or(1));
        if columns % block != 0 {
            return Err(GgufError::PartialBlock { file: file.into(), tensor: name, columns, block });
        }
        let Some(bytes) = (elements / block).checked_mul(ggml_type.block_bytes()) else {
            return Err(GgufError::Shape { file: file.into(), tensor: name, shape });
        };
        if offset % alignment != 0 {
            return Err(GgufError::Unaligned { file: file.into(), tensor: name, offset, alignment });
        }
        Ok(TensorInfo { name, ggml_type, shape, start: offset, end: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Vec<u8> {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// A header with one tensor of the given dimensions (innermost first), type and offset.
    fn one_tensor(dimensions: &[u64], number: u32, offset: u64, data: usize) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend_from_slice(&1_u64.to_le_bytes());
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        bytes.extend_from_slice(&text("w"));
        bytes.extend_from_slice(&(dimensions.len() as u32).to_le_bytes());
        for n in dimensions {
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<GgufHeader, GgufError> {
        GgufHeader::parse("m.gguf".as_ref(), bytes, bytes.len() as u64)
    }

    #[test]
    fn every_defect_has_its_own_error() {
        assert!(parse(&one_tensor(&[32], 8, 0, 34)).is_ok());
        assert!(matches!(parse(b"GGML"), Err(GgufError::NotGguf { .. })));
        assert!(matches!(parse(b"GGUF\x01\0\0\0"), Err(GgufError::Version { version: 1, .. })));
        assert!(matches!(parse(b"GGUF\0\0\0\x03"), Err(GgufError::BigEndian { .. })));
        assert!(matches!(parse(b"GGUF\x03\0\0\0\x01"), Err(GgufError::Truncated { .. })));
        let mut many = b"GGUF\x03\0\0\0".to_vec();
        many.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(parse(&many), Err(GgufError::TooMany { .. })));
        assert!(matches!(parse(&one_tensor(&[32; 5], 0, 0, 0)), Err(GgufError::Dimensions { .. })));
        assert!(matches!(parse(&one_tensor(&[], 0, 0, 0)), Err(GgufError::Shape { .. })));
        assert!(matches!(parse(&one_tensor(&[32, 0], 0, 0, 0)), Err(GgufError::Shape { .. })));
        assert!(matches!(parse(&one_tensor(&[1 << 32, 1 << 32], 0, 0, 0)), Err(GgufError::Shape { .. })));
        assert!(matches!(parse(&one_tensor(&[33], 8, 0, 99)), Err(GgufError::PartialBlock { .. })));
        let error = parse(&one_tensor(&[256], 16, 0, 99)).unwrap_err();
        assert!(error.to_string().contains("IQ2_XXS"), "{error}");
        assert!(matches!(parse(&one_tensor(&[8], 0, 4, 99)), Err(GgufError::Unaligned { .. })));
        assert!(matches!(parse(&one_tensor(&[32], 8, 0, 33)), Err(GgufError::TensorBeyondFile { .. })));
        assert!(matches!(parse(&one_tensor(&[32], 8, u64::MAX - 31, 34)), Err(GgufError::TensorBeyondFile { .. })));
    }

    proptest! {
        /// Real files with random damage, cut anywhere: no panic, and what is accepted stays inside.
        #[test]
        fn damage_never_panics_and_never_reaches_outside(
            damage in prop::collection::vec((0_usize..12_000, any::<u8>()), 0..5),
            cut in prop::option::of(0_usize..40_000),
        ) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gguf/llama-spm.gguf");
            let mut bytes = std::fs::read(path).unwrap();
            bytes.truncate(cut.unwrap_or(usize::MAX));
            for (at, value) in damage {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if let Ok(header) = parse(&bytes) {
                for tensor in &header.tensors {
                    prop_assert!(tensor.start < tensor.end && tensor.end <= bytes.len() as u64);
                    prop_assert!(tensor.elements() > 0);
                }
            }
        }
    }
}
