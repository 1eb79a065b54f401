//! `Header::parse` on arbitrary bytes, against the `safetensors` crate.
//!
//! It may never panic, and what it accepts must lie within the file, without gaps, with byte
//! counts that follow from dtype and shape, and must mean to `safetensors` what it means to us.
//! The two readers differ only where this file says so.

#![no_main]

use billon::internal::{Header, HeaderError};
use libfuzzer_sys::fuzz_target;
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;

fuzz_target!(|input: &[u8]| {
    let Some(file) = assemble(input) else { return };
    let ours = Header::parse("fuzz.safetensors".as_ref(), &file, file.len() as u64);
    let theirs = SafeTensors::read_metadata(&file);
    match (&ours, &theirs) {
        (Ok(header), Ok((_, metadata))) => {
            check_places(header, &file);
            check_same(header, metadata, &file);
        }
        (Ok(header), Err(error)) => panic!("only safetensors refuses it: {error:?}\n{header:?}"),
        (Err(HeaderError::Refused { .. }), Err(error)) => {
            assert!(unread_field_is_faulty(&file), "our diagnosis finds no fault: {error:?}");
        }
        // Stricter on purpose: a name given twice; a size that overflows although a zero dimension
        // makes the tensor empty; `null` metadata and a dtype spelt as `{"F32": null}`.
        (Err(error), Ok(_)) => assert!(
            matches!(
                error,
                HeaderError::DuplicateTensor { .. } | HeaderError::ShapeOverflow { .. } | HeaderError::Json { .. }
            ),
            "only we refuse it: {error}"
        ),
        (Err(_), Err(_)) => {}
    }
    if let Err(error) = &ours {
        assert!(!error.to_string().is_empty());
    }
});

/// An even first byte: the rest is the file. An odd one: two bytes of data length, then the JSON,
/// so that mutations of the JSON need not keep the length prefix in step.
fn assemble(input: &[u8]) -> Option<Vec<u8>> {
    let (first, rest) = input.split_first()?;
    if first % 2 == 0 {
        return Some(rest.to_vec());
    }
    let (length, json) = rest.split_first_chunk::<2>()?;
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json);
    file.resize(file.len() + usize::from(u16::from_le_bytes(*length)), 0);
    Some(file)
}

/// Everything is inside the file, contiguous, of the right size, and readable from a prefix.
fn check_places(header: &Header, file: &[u8]) {
    let prefix = Header::prefix_length(*file.first_chunk().expect("it was parsed")).expect("it was parsed");
    let mut end = prefix;
    for tensor in &header.tensors {
        assert_eq!(tensor.start, end, "{tensor:?}");
        assert_eq!(u128::from(tensor.elements()) * u128::from(tensor.dtype.bits()), u128::from(tensor.bytes()) * 8);
        end = tensor.end;
    }
    assert_eq!(end, file.len() as u64);
    let head = &file[..usize::try_from(prefix).expect("it is in memory")];
    let again = Header::parse("fuzz.safetensors".as_ref(), head, file.len() as u64);
    assert_eq!(again.as_ref().ok(), Some(header), "the header alone parses otherwise");
}

fn check_same(header: &Header, metadata: &Metadata, file: &[u8]) {
    let data = Header::prefix_length(*file.first_chunk().expect("it was parsed")).expect("it was parsed");
    let theirs = metadata.tensors();
    assert_eq!(header.tensors.len(), theirs.len());
    for tensor in &header.tensors {
        let info = theirs[&tensor.name];
        assert_eq!(tensor.dtype.to_string(), info.dtype.to_string());
        assert!(tensor.shape.iter().eq(info.shape.iter().map(|&n| n as u64).collect::<Vec<_>>().iter()));
        assert_eq!((tensor.start - data, tensor.end - data), (info.data_offsets.0 as u64, info.data_offsets.1 as u64));
    }
    let count = metadata.metadata().as_ref().map_or(0, |m| m.len());
    assert_eq!(header.metadata.len(), count);
    for (key, value) in metadata.metadata().iter().flatten() {
        assert_eq!(header.metadata.get(key), Some(value));
    }
}

/// safetensors buffers fields that it does not know, so it refuses faults in them (numbers out of
/// range, lone surrogates, deep nesting, broken UTF-8) that our diagnosis skips without looking.
fn unread_field_is_faulty(file: &[u8]) -> bool {
    let prefix = Header::prefix_length(*file.first_chunk().expect("it was parsed")).expect("it was parsed");
    let json = &file[8..usize::try_from(prefix).expect("it is in memory")];
    serde_json::from_slice::<serde_json::Value>(json).is_err()
}
