//! The memory of a GPU.

use std::fmt;

use burn::tensor::Device;

use crate::libtorch;

/// Bytes of a GPU. What is allocated is in tensors; what is reserved is this process's, to be allocated
/// again. The most of both is since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GpuMemory {
    /// That nobody has.
    pub free: u64,
    /// In all.
    pub total: u64,
    /// In tensors now.
    pub allocated: u64,
    /// In tensors at most.
    pub peak_allocated: u64,
    /// This process's now.
    pub reserved: u64,
    /// This process's at most.
    pub peak_reserved: u64,
}

impl GpuMemory {
    /// Of the GPU that a device is; none of other devices, and where it does not answer.
    pub fn of(device: &Device) -> Option<Self> {
        libtorch::gpu_memory(libtorch::gpu(device)?)
    }
}

/// Bytes as MiB, rounded down.
pub(crate) fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

impl fmt::Display for GpuMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [free, total, reserved, allocated] =
            [self.free, self.total, self.reserved, self.allocated].map(mib);
        write!(
            f,
            "{free} of its {total} MiB are free, {reserved} are this process's, {allocated} of them in tensors"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gpus_have_memory_of_their_own() {
        for device in crate::processors() {
            assert_eq!(GpuMemory::of(&device.autodiff()), None);
        }
    }

    #[test]
    fn it_reads_in_mib() {
        let memory = GpuMemory {
            free: 3 << 20,
            total: (100 << 20) + 1000,
            allocated: 60 << 20,
            reserved: 70 << 20,
            ..GpuMemory::default()
        };
        let expected = "3 of its 100 MiB are free, 70 are this process's, 60 of them in tensors";
        assert_eq!(memory.to_string(), expected);
    }
}
