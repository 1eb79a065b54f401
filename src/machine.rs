//! The kernel's account of this machine and of this process, where there is one.

/// Memory of this process in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    Some(pages()?.0 * rustix::param::page_size() as u64)
}

/// Memory of this process in bytes that is not a file's.
pub(crate) fn anonymous_bytes() -> Option<u64> {
    let (resident, of_files) = pages()?;
    Some(resident.saturating_sub(of_files) * rustix::param::page_size() as u64)
}

/// Memory in bytes that is free or can be freed.
pub(crate) fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The processor's name.
pub(crate) fn processor() -> Option<String> {
    value_of("/proc/cpuinfo", "model name")
}

/// The system's name, as its vendor writes it.
pub(crate) fn system() -> Option<String> {
    value_of("/etc/os-release", "PRETTY_NAME")
}

/// Pages that are resident, and how many of them are a file's.
fn pages() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = text.split_ascii_whitespace().skip(1).map(|field| field.parse::<u64>().ok());
    Some((fields.next()??, fields.next()??))
}

/// The value of a line `key: value` or `key="value"`.
fn value_of(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once([':', '='])?.1.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_is_seen() {
        let before = anonymous_bytes().unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = anonymous_bytes().unwrap();
        assert!(after >= before + (32 << 20), "{before} {after}");
        assert!(resident_bytes().unwrap() >= after);
        drop(block);
    }
}
