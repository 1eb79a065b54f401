//! `GgufHeader::parse` on arbitrary bytes: it may never panic, and what it accepts lies within the file without overlap.

#![no_main]

use billon::internal::GgufHeader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // Two bytes of data length, so that mutations of the header need not bring their data along.
    let Some((length, header)) = input.split_first_chunk::<2>() else { return };
    let length = header.len() as u64 + u64::from(u16::from_le_bytes(*length)) * 64;
    match GgufHeader::parse("fuzz.gguf".as_ref(), header, length) {
        Ok(header) => {
            let mut places: Vec<(u64, u64)> = header.tensors.iter().map(|tensor| (tensor.start, tensor.end)).collect();
            places.sort_unstable();
            for tensor in &header.tensors {
                assert!(tensor.start <= tensor.end && tensor.end <= length, "{tensor:?}");
                assert!(tensor.shape.iter().try_fold(1_u64, |n, size| n.checked_mul(*size)).is_some(), "{tensor:?}");
            }
            assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0), "tensors overlap: {places:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
