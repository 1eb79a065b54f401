//! From stored blocks to f32.

use candle_core::quantized::{GgmlDType, ggml_file};
use candle_core::{Device, Result, bail};

use super::gguf::GgmlType;

fn candle_type(ggml_type: GgmlType) -> GgmlDType {
    match ggml_type {
        GgmlType::F32 => GgmlDType::F32,
        GgmlType::F16 => GgmlDType::F16,
        GgmlType::BF16 => GgmlDType::BF16,
        GgmlType::Q4_0 => GgmlDType::Q4_0,
        GgmlType::Q4_1 => GgmlDType::Q4_1,
        GgmlType::Q5_0 => GgmlDType::Q5_0,
        GgmlType::Q5_1 => GgmlDType::Q5_1,
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q2_K => GgmlDType::Q2K,
        GgmlType::Q3_K => GgmlDType::Q3K,
        GgmlType::Q4_K => GgmlDType::Q4K,
        GgmlType::Q5_K => GgmlDType::Q5K,
        GgmlType::Q6_K => GgmlDType::Q6K,
    }
}

/// Bytes that start at a multiple of this satisfy every block type.
const ALIGNMENT: usize = 16;

/// Dequantises whole blocks: exact in f32 but for the roundings of scale times value plus offset.
///
/// # Errors
/// When `bytes` is no whole number of blocks, or candle refuses them.
pub(crate) fn dequantise(ggml_type: GgmlType, bytes: &[u8]) -> Result<Vec<f32>> {
    let dtype = candle_type(ggml_type);
    let (block, elements) = (dtype.type_size(), dtype.block_size());
    if !bytes.len().is_multiple_of(block) {
        bail!("{} bytes are no whole number of blocks of {block}", bytes.len());
    }
    let count = bytes.len() / block * elements;
    if count == 0 {
        return Ok(Vec::new());
    }
    if ggml_type == GgmlType::F32 {
        let (values, _) = bytes.as_chunks::<4>();
        return Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect());
    }
    // candle reads the bytes in place as its block structs, so they must be aligned as those are,
    // and it doesn't compare their number with the shape, which was done above.
    let mut copy;
    let start = bytes.as_ptr().align_offset(ALIGNMENT);
    let aligned = if start == 0 {
        bytes
    } else {
        copy = vec![0_u8; bytes.len() + ALIGNMENT];
        let start = copy.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let target = &mut copy[start..start + bytes.len()];
        target.copy_from_slice(bytes);
        &*target
    };
    let tensor = ggml_file::qtensor_from_ggml(dtype, aligned, vec![count], &Device::Cpu)?;
    tensor.dequantize(&Device::Cpu)?.to_vec1::<f32>()
}
