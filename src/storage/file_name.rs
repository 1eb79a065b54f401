//! Names from recipes and task files that become names of files.

/// Most bytes of such a name. With what is put around it (`.samples_NAME_STAMP.jsonl`), it stays below the 255 bytes
/// that file systems allow.
const MOST_BYTES: usize = 200;

/// Says why a name can't be part of a file's name; `None` for one that can.
#[must_use]
pub(crate) fn fault(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("it is empty".to_owned())
    } else if name == "." || name == ".." {
        Some("it names a folder".to_owned())
    } else if let Some(c) = name.chars().find(|c| matches!(c, '/' | '\\')) {
        Some(format!("it contains `{c}`"))
    } else if let Some(c) = name.chars().find(|c| c.is_control()) {
        Some(format!("it contains the control character U+{:04X}", u32::from(c)))
    } else if name.len() > MOST_BYTES {
        Some(format!("it has {} bytes, more than {MOST_BYTES}", name.len()))
    } else {
        None
    }
}

/// Shortens a name that is too long for a file's: its end, after a hash of the whole.
#[must_use]
pub(crate) fn shortened(name: &str) -> String {
    if name.len() <= MOST_BYTES {
        return name.to_owned();
    }
    let start =
        (name.len() - (MOST_BYTES - 17)..name.len()).find(|at| name.is_char_boundary(*at)).unwrap_or(name.len());
    let hash = super::hash::sha256_bytes(name.as_bytes());
    format!("{}_{}", &hash[..16], &name[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_a_folder_or_do_not_fit_are_faults() {
        for name in ["fpb", "a..b", ".hidden", "mmlu pro", "größe", &"x".repeat(200)] {
            assert_eq!(fault(name), None, "{name}");
        }
        for name in ["", ".", "..", "a/b", "../../x", "a\\b", "a\0b", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(201)] {
            assert!(fault(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn long_names_are_shortened_and_stay_distinct() {
        assert_eq!(shortened("short"), "short");
        let (a, b) = (format!("a{}", "ü".repeat(200)), format!("b{}", "ü".repeat(200)));
        assert!(shortened(&a).len() <= MOST_BYTES && shortened(&a).ends_with("üü"));
        assert_ne!(shortened(&a), shortened(&b));
    }
}
