//! The memory of this process and of its machine, where the system tells.

use std::fs;

/// The most memory that this process has held, in MiB.
pub fn peak_rss_mib() -> Option<u64> {
    Some(field("/proc/self/status", "VmHWM:")? >> 20)
}

/// The memory that this process holds now, in bytes.
pub(crate) fn resident() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

/// The memory that this process can still get, in bytes: of the machine, and of the group that it may be
/// confined to.
pub(crate) fn available() -> Option<u64> {
    let machine = field("/proc/meminfo", "MemAvailable:")?;
    let number =
        |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok();
    let group = number("memory.max").zip(number("memory.current"));
    Some(group.map_or(machine, |(limit, used)| machine.min(limit.saturating_sub(used))))
}

/// A line of a file of the system, which counts in KiB.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(1024 * value.split_whitespace().next()?.parse::<u64>().ok()?)
}
