//! Sizes as people write them.

/// Reads `5GB`, `500MB`, `2GiB`, `1.5G`, plain bytes, and mergekit's `5B` (billions).
///
/// # Errors
/// Faults of the text.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let number: f64 = digits.parse().map_err(|_| format!("`{text}` is not a size: write 5GB, 500MB or 2GiB"))?;
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" | "b" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        other => return Err(format!("unknown unit `{other}`: use KB, MB, GB, TB or KiB, MiB, GiB, TiB")),
    };
    let bytes = number * factor;
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(format!("`{text}` is out of range")) }
}

/// Reads a count of which none would leave nothing to do.
///
/// # Errors
/// Faults of the text.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number of 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// Bytes for people: three digits and a decimal unit.
pub(crate) fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" {
                format!("{value} B")
            } else {
                format!(
                    "{value:.precision$} {unit}",
                    precision = usize::from(value < 99.5) + usize::from(value < 9.995)
                )
            };
        }
        value /= 1000.0;
    }
    format!("{value:.2} TB")
}

/// Counts for people: `1.47 B`, `135 M`.
pub(crate) fn human_count(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{:.1} K", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", count as f64 / 1e6),
        _ => format!("{:.2} B", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes) in [
            ("5GB", 5_000_000_000),
            ("500MB", 500_000_000),
            ("2GiB", 2 << 30),
            ("5B", 5_000_000_000),
            ("1.5 k", 1500),
            ("123", 123),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-5GB", "5XB", "0", "1e5"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        let texts = [0, 999, 1000, 12_345, 123_456_789, 5_000_000_000].map(human_bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.00 kB", "12.3 kB", "123 MB", "5.00 GB"]);
    }
}
