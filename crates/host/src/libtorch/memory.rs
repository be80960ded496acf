//! How much of a GPU's memory is used.

use std::ffi::c_char;

use super::outcome::outcome;
use crate::gpu_memory::GpuMemory;

unsafe extern "C" {
    fn host_gpu_memory(out: *mut u64, index: i8) -> *mut c_char;
}

/// None where libtorch sees no such GPU, or one that does not answer any more.
pub(crate) fn gpu_memory(index: usize) -> Option<GpuMemory> {
    if index >= super::cuda_devices() {
        return None;
    }
    let (index, mut out) = (i8::try_from(index).ok()?, [0; 6]);
    // SAFETY: room for six numbers.
    outcome(unsafe { host_gpu_memory(out.as_mut_ptr(), index) }).ok()?;
    let [free, total, allocated, peak_allocated, reserved, peak_reserved] = out;
    Some(GpuMemory { free, total, allocated, peak_allocated, reserved, peak_reserved })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_not_there_is_no_crash() {
        assert_eq!(gpu_memory(super::super::cuda_devices()), None);
        assert_eq!(gpu_memory(usize::MAX), None);
        // SAFETY: room for six numbers.
        let said = outcome(unsafe { host_gpu_memory([0; 6].as_mut_ptr(), i8::MAX) }).unwrap_err();
        assert!(!said.is_empty() && !said.contains("frame #"), "{said}");
    }
}
