//! What a machine is, for the records of a run.

use std::fs;
use std::thread::available_parallelism;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::device_name::DeviceName;

/// A machine, and what of it computes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Name of the processor, where the system tells.
    pub cpu: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Vector instructions of the processor that make a difference here.
    pub instructions: Vec<String>,
    /// Memory of the machine in MiB, where the system tells.
    pub ram_mib: Option<u64>,
    /// Operating system and architecture.
    pub system: String,
    /// Where tensors are computed.
    pub device: String,
    /// Threads that compute.
    pub threads: usize,
}

impl Machine {
    /// This machine, of which `device` and so many threads compute.
    pub fn here(device: &Device, threads: usize) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let memory = memory.and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok());
        Self {
            cpu: field(&cpuinfo, "model name"),
            cores: available_parallelism().map_or(1, usize::from),
            instructions: instructions(&cpuinfo),
            ram_mib: memory.map(|kib| kib / 1024),
            system: system(&read("/etc/os-release")),
            device: DeviceName::of(device).to_string(),
            threads,
        }
    }
}

/// The first value of a key in a table of `key : value` lines.
fn field(table: &str, key: &str) -> Option<String> {
    let mut lines = table.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| name.trim() == key)?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The name that a distribution gives itself, or else that of the kind of system.
fn system(release: &str) -> String {
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let name = pretty.map_or(std::env::consts::OS, |name| name.trim_matches('"'));
    format!("{name}, {}", std::env::consts::ARCH)
}

/// What the processor has, of which some is told by the system's table of processors alone.
#[cfg(target_arch = "x86_64")]
fn instructions(cpuinfo: &str) -> Vec<String> {
    let has_flag =
        |flag| field(cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|found| found == flag));
    let found = [
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("AVX-512F", is_x86_feature_detected!("avx512f")),
        ("AVX-512BW", is_x86_feature_detected!("avx512bw")),
        ("AVX-512 VNNI", is_x86_feature_detected!("avx512vnni")),
        ("AVX-512 BF16", is_x86_feature_detected!("avx512bf16")),
        ("AVX-VNNI", is_x86_feature_detected!("avxvnni")),
        // The standard library does not tell yet; the system has to allow it as well.
        ("AMX", has_flag("amx_tile")),
    ];
    named(&found)
}

#[cfg(target_arch = "aarch64")]
fn instructions(_: &str) -> Vec<String> {
    use std::arch::is_aarch64_feature_detected;

    let found = [
        ("NEON", is_aarch64_feature_detected!("neon")),
        ("FP16", is_aarch64_feature_detected!("fp16")),
        ("BF16", is_aarch64_feature_detected!("bf16")),
        ("SVE", is_aarch64_feature_detected!("sve")),
    ];
    named(&found)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instructions(_: &str) -> Vec<String> {
    Vec::new()
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn named(found: &[(&str, bool)]) -> Vec<String> {
    found.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_system_are_read_by_their_keys() {
        let table = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nmodel name\t: another\nempty :\n";
        assert_eq!(field(table, "model name").as_deref(), Some("Some CPU @ 2.00GHz"));
        assert_eq!(
            [field(table, "model"), field(table, "empty"), field("", "model name")],
            [None, None, None]
        );
        let release = system("NAME=\"X\"\nPRETTY_NAME=\"X 12 (name)\"\n");
        assert_eq!(release, format!("X 12 (name), {}", std::env::consts::ARCH));
        assert!(system("").starts_with(std::env::consts::OS));
    }

    #[test]
    fn this_machine_says_where_it_computes() {
        let machine = Machine::here(&Device::flex(), 3);
        assert_eq!((&machine.device[..], machine.threads), ("cpu", 3));
        assert!(machine.cores > 0 && machine.ram_mib.is_none_or(|memory| memory > 100));
    }
}
