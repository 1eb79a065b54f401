//! The safetensors header: parse, validate, build.
//!
//! A file is an 8-byte little-endian header length, a JSON header, and tensor data. The header is
//! input from strangers: the `safetensors` crate parses it and checks the layout, and what it refuses
//! our own `diagnose` explains, with a [`HeaderError`] for every defect naming file and tensor.
//! Nothing past the end of the file is ever addressed by a [`Header`] that validated.
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

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use safetensors::tensor::Metadata;
use serde::de::{self, IgnoredAny, MapAccess, Visitor};

pub use super::diagnosis::HeaderError;
use super::diagnosis::{MAX_HEADER_BYTES, diagnose};
pub(crate) use super::tensor_info::TensorInfo;
use crate::dtype::DType;

/// A validated header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The `__metadata__` map.
    pub metadata: BTreeMap<String, String>,
    /// Tensors in file order.
    pub tensors: Vec<TensorInfo>,
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
        let metadata = serde_json::from_slice::<Metadata>(json);
        if let Ok(metadata) = &metadata
            && let Some(header) = Self::accept(metadata, json, data_start, length)
        {
            return Ok(header);
        }
        let (own_metadata, tensors) = diagnose(file, json, data_start, length)?;
        match metadata {
            Ok(_) => Ok(Self { metadata: own_metadata, tensors }),
            Err(source) => Err(HeaderError::Refused { file: file.into(), source }),
        }
    }

    /// What the crate has read, unless it fills the file otherwise or is among the few things that the crate accepts
    /// and that mean nothing, or different things to different readers.
    fn accept(metadata: &Metadata, json: &[u8], data_start: u64, length: u64) -> Option<Self> {
        let infos = metadata.tensors();
        let spelling = Spelling::read(json).ok()?;
        if metadata.data_len() as u64 != length - data_start || spelling.names != infos.len() || spelling.null_metadata
        {
            return None;
        }
        let mut tensors = Vec::with_capacity(infos.len());
        for (name, info) in infos {
            let dtype = DType::from_safetensors(&info.dtype.to_string())?;
            let shape: Vec<u64> = info.shape.iter().map(|&n| n as u64).collect();
            // A zero dimension must not hide an overflow of the others.
            shape.iter().filter(|&&n| n > 0).try_fold(64_u64, |total, &n| total.checked_mul(n))?;
            let (start, end) = (info.data_offsets.0 as u64 + data_start, info.data_offsets.1 as u64 + data_start);
            tensors.push(TensorInfo { name, dtype, shape, start, end });
        }
        tensors.sort_by(|a, b| (a.start, a.end, &a.name).cmp(&(b.start, b.end, &b.name)));
        let metadata = metadata.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        Some(Self { metadata, tensors })
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

/// What the JSON says that the crate's map no longer shows: how often names occur, and how dtypes are spelt.
#[derive(Default)]
struct Spelling {
    names: usize,
    null_metadata: bool,
}

#[derive(serde::Deserialize)]
enum Key {
    #[serde(rename = "__metadata__")]
    Metadata,
    #[serde(other)]
    Tensor,
}

/// An entry whose dtype is text: an enum could also be spelt as a map.
#[derive(serde::Deserialize)]
struct Entry<'a> {
    #[serde(borrow, rename = "dtype")]
    _dtype: Cow<'a, str>,
}

impl Spelling {
    fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        de::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_slice(json), SpellingVisitor)
    }
}

struct SpellingVisitor;

impl<'de> Visitor<'de> for SpellingVisitor {
    type Value = Spelling;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensor names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spelling, A::Error> {
        let mut spelling = Spelling::default();
        while let Some(key) = map.next_key()? {
            match key {
                Key::Metadata => spelling.null_metadata |= map.next_value::<Option<IgnoredAny>>()?.is_none(),
                Key::Tensor => {
                    map.next_value::<Entry<'de>>()?;
                    spelling.names += 1;
                }
            }
        }
        Ok(spelling)
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

    /// What the crate accepts and readers could take for different files stays refused; what only looks odd is read.
    #[test]
    fn oddly_spelt_headers_mean_what_they_meant() {
        let entry = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
        let same_twice = file(&format!(r#"{{"w":{entry},"w":{entry}}}"#), 1);
        assert!(safetensors::SafeTensors::read_metadata(&same_twice).is_ok());
        assert!(matches!(defect(&same_twice), HeaderError::DuplicateTensor { .. }));
        for spelling in [r#"{"__metadata__":null}"#, r#"{"w":{"dtype":{"F32":null},"shape":[0],"data_offsets":[0,0]}}"#]
        {
            assert!(safetensors::SafeTensors::read_metadata(&file(spelling, 0)).is_ok());
            assert!(matches!(defect(&file(spelling, 0)), HeaderError::Json { .. }), "{spelling}");
        }
        let parse = |bytes: &[u8]| Header::parse("m.safetensors".as_ref(), bytes, bytes.len() as u64);
        let listed = parse(&file(r#"{"w":["F32",[1],[0,4]]}"#, 4)).unwrap();
        let named = parse(&file(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4)).unwrap();
        assert_eq!(listed.tensors[0].shape, named.tensors[0].shape);
        assert!(parse(&file(r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"note":"x"}}"#, 1)).is_ok());
    }

    /// A fault in a field that nobody reads: our diagnosis finds none, so the crate's own words are given.
    #[test]
    fn a_header_that_only_the_crate_refuses_is_refused() {
        let nested = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let json = format!(r#"{{"w":{{"dtype":"U8","shape":[1],"data_offsets":[0,1],"note":{nested}}}}}"#);
        let error = defect(&file(&json, 1));
        assert!(matches!(error, HeaderError::Refused { .. }), "{error}");
    }

    /// Names, dtypes and shapes that follow each other, then at most one thing wrong with them.
    fn any_header() -> impl Strategy<Value = (String, u64)> {
        const DTYPES: [&str; 8] = ["F32", "BF16", "U8", "F8_E4M3", "F6_E2M3", "F4", "C64", "F99"];
        let tensor = (prop::sample::select(&DTYPES[..]), prop::collection::vec(0_u64..5, 0..4));
        let bytes = |dtype: &str, shape: &[u64]| {
            let bits = DType::from_safetensors(dtype).map_or(32, |dtype| u64::from(dtype.bits()));
            (shape.iter().product::<u64>() * bits).div_ceil(8)
        };
        let fault = (0_u8..12, any::<prop::sample::Index>(), 1_u64..9);
        (prop::collection::vec(tensor, 0..6), fault, any::<bool>()).prop_map(move |(tensors, fault, shuffle)| {
            let (fault, place, amount) = fault;
            let (mut entries, mut offset) = (Vec::new(), 0);
            for (index, (dtype, shape)) in tensors.iter().enumerate() {
                let end = offset + bytes(dtype, shape);
                entries.push((format!("t{index}"), (*dtype).to_owned(), shape.clone(), [offset, end]));
                offset = end;
            }
            if !entries.is_empty() {
                let place = place.index(entries.len());
                let [begin, end] = entries[place].3;
                match fault {
                    0 => entries[place].3 = [begin + amount, end + amount],
                    1 => entries[place].3 = [end, begin],
                    2 => entries[place].3 = [begin, end + amount],
                    3 => entries[place].0 = "t0".to_owned(),
                    4 => entries[place].2.push(0),
                    5 => entries[place].2 = vec![u64::MAX, 2],
                    6 => entries[place].2 = vec![0, u64::MAX, 2],
                    7 => entries.push(entries[place].clone()),
                    _ => {}
                }
            }
            if shuffle {
                entries.reverse();
            }
            let mut json: Vec<String> = entries
                .iter()
                .map(|(name, dtype, shape, offsets)| {
                    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":{offsets:?}}}"#)
                })
                .collect();
            match fault {
                8 => json.push(r#""__metadata__":null"#.to_owned()),
                9 => json.push(r#""__metadata__":{"format":"pt","note":"x"}"#.to_owned()),
                _ => {}
            }
            let data = if fault == 10 { offset + amount } else { offset };
            (format!("{{{}}}", json.join(",")), data)
        })
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

        /// A header is read if the crate and our own reader both accept it, and means to both the same.
        #[test]
        fn both_readers_agree((json, data) in any_header()) {
            let bytes = file(&json, data as usize);
            let start = 8 + json.len() as u64;
            let read = Header::parse("x".as_ref(), &bytes, bytes.len() as u64);
            let own = diagnose("x".as_ref(), json.as_bytes(), start, bytes.len() as u64);
            let own = own.map(|(metadata, tensors)| Header { metadata, tensors });
            let theirs = safetensors::SafeTensors::read_metadata(&bytes);
            prop_assert_eq!(read.is_ok(), own.is_ok() && theirs.is_ok(), "{}", json);
            match (read, own) {
                (Ok(read), Ok(own)) => prop_assert_eq!(read, own),
                (Err(read), Err(own)) => prop_assert_eq!(read.to_string(), own.to_string()),
                (read, own) => prop_assert!(false, "{:?} {:?} {}", read, own, json),
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::parse("x".as_ref(), &bytes, bytes.len() as u64);
        }
    }
}
