use crate::metrics::{PROCESS_OPEN_FILES, PROCESS_RESIDENT_MEMORY_BYTES};

/// Records what the system knows about this process; a system without `/proc` leaves the gauges away.
pub(super) fn record() {
    if let Some(bytes) = resident_memory_bytes() {
        metrics::gauge!(PROCESS_RESIDENT_MEMORY_BYTES).set(as_gauge(bytes));
    }
    if let Some(count) = open_files() {
        metrics::gauge!(PROCESS_OPEN_FILES).set(as_gauge(count));
    }
}

/// From `status` and not from `statm`, which counts in pages whose size differs between machines.
fn resident_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn open_files() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    // One of them is the listing itself.
    u64::try_from(entries.count()).ok()?.checked_sub(1)
}

/// Gauges are floating point; 2^53 bytes of memory are far away.
#[allow(clippy::cast_precision_loss)]
fn as_gauge(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_files() {
        assert!(resident_memory_bytes().unwrap() > 1024 * 1024);
        let before = open_files().unwrap();
        let _files: Vec<_> = (0..50).map(|_| tempfile::tempfile().unwrap()).collect();
        // Other tests of this process open and close files meanwhile.
        assert!(open_files().unwrap() > before + 20);
    }
}
