//! Recognising checkpoints whose numbers are packed, so that they are refused by name.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dtype::DType;

/// Suffixes of tensors that only packed formats write, with the format's name.
const PACKED_TENSORS: &[(&str, &str)] = &[
    (".qweight", "GPTQ or AWQ"),
    (".qzeros", "GPTQ or AWQ"),
    (".g_idx", "GPTQ"),
    (".absmax", "bitsandbytes"),
    (".quant_map", "bitsandbytes"),
    (".quant_state.bitsandbytes__nf4", "bitsandbytes"),
    (".quant_state.bitsandbytes__fp4", "bitsandbytes"),
    (".SCB", "bitsandbytes"),
    (".weight_scale_inv", "FP8"),
    (".weight_packed", "compressed-tensors"),
    ("_blocks", "MXFP4"),
];

/// Names the quantisation format of a checkpoint, or `None` for a plain one. `tensors` are names
/// and dtypes.
#[must_use]
pub(crate) fn format<'a>(
    config: Option<&Value>,
    tensors: impl Iterator<Item = (&'a str, DType)> + Clone,
) -> Option<String> {
    if let Some(quantization) = config.and_then(|c| c.get("quantization_config")).filter(|q| q.is_object()) {
        let method = quantization.get("quant_method").and_then(Value::as_str);
        let bits = |key: &str| quantization.get(key).and_then(Value::as_bool) == Some(true);
        return Some(match method {
            Some("gptq") => "GPTQ".to_owned(),
            Some("awq") => "AWQ".to_owned(),
            Some("bitsandbytes") => "bitsandbytes".to_owned(),
            Some("fp8") => "FP8".to_owned(),
            Some(other) => other.to_owned(),
            None if bits("load_in_4bit") || bits("load_in_8bit") => "bitsandbytes".to_owned(),
            None => "unknown quantisation".to_owned(),
        });
    }
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, dtype) in tensors.clone() {
        if dtype.is_quantised() {
            return Some(match dtype {
                DType::F4 | DType::F6_E2M3 | DType::F6_E3M2 => "MX".to_owned(),
                _ => "FP8".to_owned(),
            });
        }
        for (suffix, format) in PACKED_TENSORS {
            // `_blocks` alone could be an honest name; MXFP4 always has scales beside it.
            let alone = *suffix == "_blocks"
                && !tensors.clone().any(|(n, _)| n.strip_suffix("_scales") == name.strip_suffix("_blocks"));
            if name.ends_with(suffix) && !alone {
                *count.entry(format).or_default() += 1;
            }
        }
    }
    // The format that explains most tensors; "GPTQ or AWQ" gives way to a more precise name.
    let precise = count.keys().find(|name| **name == "GPTQ").copied();
    precise.or_else(|| count.into_iter().max_by_key(|(_, n)| *n).map(|(name, _)| name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_format() {
        let by_config = |text: &str| format(Some(&serde_json::from_str(text).unwrap()), std::iter::empty());
        assert_eq!(by_config(r#"{"quantization_config":{"quant_method":"gptq"}}"#).as_deref(), Some("GPTQ"));
        assert_eq!(by_config(r#"{"quantization_config":{"load_in_4bit":true}}"#).as_deref(), Some("bitsandbytes"));
        assert_eq!(by_config(r#"{"quantization_config":null}"#), None);
        let by_name = |list: &[(&'static str, DType)]| format(None, list.iter().copied());
        assert_eq!(by_name(&[("a.qweight", DType::I32), ("a.g_idx", DType::I32)]).as_deref(), Some("GPTQ"));
        assert_eq!(by_name(&[("a.weight", DType::F8_E4M3)]).as_deref(), Some("FP8"));
        assert_eq!(by_name(&[("a.weight.absmax", DType::F32)]).as_deref(), Some("bitsandbytes"));
        assert_eq!(by_name(&[("a.weight", DType::BF16), ("my_blocks", DType::F32)]), None);
    }
}
