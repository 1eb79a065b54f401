//! JSON documents that carry the SHA-256 of their own contents: a flipped bit is seen, not used.

use serde_json::{Map, Value};

use super::hash::sha256_bytes;

/// The key that holds the digest of all other keys.
const KEY: &str = "sha256";

/// A sealed document that can't be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub(crate) enum SealError {
    #[error("it is not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it has no `{KEY}`")]
    Unsealed,
    #[error("its contents do not have the SHA-256 that it names")]
    Mismatch,
}

/// The document as indented text, with the digest of its contents as last key.
#[must_use]
pub(crate) fn seal(mut document: Map<String, Value>) -> String {
    document.shift_remove(KEY);
    let digest = digest(&document);
    document.insert(KEY.to_owned(), digest.into());
    format!("{:#}\n", Value::Object(document))
}

/// Reads a sealed document back, without its digest.
///
/// # Errors
/// A [`SealError`] for text that is not what [`seal`] wrote, blanks and line breaks aside.
pub(crate) fn unseal(text: &[u8]) -> Result<Map<String, Value>, SealError> {
    let mut document: Map<String, Value> = serde_json::from_slice(text)?;
    let Some(named) = document.shift_remove(KEY) else { return Err(SealError::Unsealed) };
    if named == digest(&document) { Ok(document) } else { Err(SealError::Mismatch) }
}

/// Numbers are compared as text: they round-trip, so equal documents have equal texts.
fn digest(document: &Map<String, Value>) -> String {
    let mut text = String::from("{");
    for (key, value) in document {
        text.push_str(&format!("{}:{value},", Value::from(key.as_str())));
    }
    sha256_bytes(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_flipped_bit_anywhere_is_seen_or_harmless() {
        let Value::Object(document) =
            json!({"step": 7, "loss": 0.113_333_333_333_333_33, "list": [1, null, "a\u{e9}"]})
        else {
            panic!("an object")
        };
        let text = seal(document.clone());
        assert_eq!(unseal(text.as_bytes()).unwrap(), document);
        assert_eq!(seal(document.clone()), text);
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A blank may become another blank; nothing else reads back.
            assert!(unseal(&bytes).is_err_and(|_| true) || bytes[bit / 8].is_ascii_whitespace(), "bit {bit}");
        }
    }

    /// `serde_json` without `float_roundtrip` reads one number in eight a unit in the last place lower.
    #[test]
    fn numbers_read_back_as_the_same_bits() {
        for k in 1..=150_u32 {
            let value = f64::from(k) / 150.0;
            let read: f64 = serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{k}/150");
        }
        let read: f64 = serde_json::from_str("0.11333333333333333").unwrap();
        assert_eq!(read.to_bits(), (17.0_f64 / 150.0).to_bits());
    }
}
