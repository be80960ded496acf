//! Memory of this machine that a device of libtorch reads, written part by part by any thread.

use std::ffi::c_char;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use burn::tensor::Device as BurnDevice;
use tch::Tensor;

use super::aten::{Raw, check, owned, raw};
use super::upload::gpu;

unsafe extern "C" {
    fn host_staging(out: *mut Raw, bytes: i64, gpu: i8) -> *mut c_char;
    fn host_view(
        out: *mut Raw,
        bytes: Raw,
        kind: i8,
        offset: i64,
        sizes: *const i64,
        dims: usize,
    ) -> *mut c_char;
    fn host_upload(
        out: *mut Raw,
        pieces: *const Raw,
        offsets: *const i64,
        count: usize,
        bytes: i64,
        index: i8,
        stream: *mut i64,
    ) -> *mut c_char;
}

/// Parts of equal size that lie one after another: page-locked memory where a GPU is to read it,
/// which copies beside its computing from no other. Memory of a GPU's is used again, once the copies
/// of it are done.
#[derive(Debug)]
pub struct Staging {
    memory: Tensor,
    start: *mut u8,
    part_bytes: usize,
    /// Of each part, whether it may not be written any more.
    sealed: Vec<Mutex<bool>>,
}

// SAFETY: the memory belongs to `memory` and moves with it, and a tensor may go from thread to thread.
unsafe impl Send for Staging {}
// SAFETY: bytes are written under the lock of their part, and read by way of `sealed_memory` alone, behind
// which nothing writes. The tensor itself is only read.
unsafe impl Sync for Staging {}

impl Staging {
    /// Memory for so many parts, not written yet.
    pub fn new(device: &BurnDevice, parts: usize, part_bytes: usize) -> Self {
        let mut out = ptr::null_mut();
        let bytes = i64::try_from(parts * part_bytes).expect("no more than a machine has");
        let gpu = gpu(device).map_or(-1, number);
        // SAFETY: room for a tensor.
        check(unsafe { host_staging(&mut out, bytes, gpu) });
        let memory = owned(out);
        let start = memory.data_ptr().cast();
        Self { memory, start, part_bytes, sealed: (0..parts).map(|_| Mutex::new(false)).collect() }
    }

    /// Has a part written, which holds anything before.
    ///
    /// # Panics
    /// If the memory is on its way to the device already.
    pub fn write<T>(&self, part: usize, write: impl FnOnce(&mut [u8]) -> T) -> T {
        let sealed = self.sealed[part].lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!*sealed, "memory that is on its way to the device is not written");
        if self.part_bytes == 0 {
            return write(&mut []);
        }
        // SAFETY: part number `part` lies within the memory, which this thread alone sees under the lock.
        write(unsafe {
            std::slice::from_raw_parts_mut(self.start.add(part * self.part_bytes), self.part_bytes)
        })
    }

    /// All bytes, which nothing writes any more.
    pub(super) fn sealed_memory(&self) -> &Tensor {
        for part in &self.sealed {
            *part.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        &self.memory
    }
}

/// The number of a GPU as ATen has it.
fn number(gpu: usize) -> i8 {
    i8::try_from(gpu).expect("the number of a GPU")
}

/// What bytes are seen as.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Bytes,
    Indices,
    Floats,
}

impl Kind {
    /// Its number among ATen's scalar types, and the bytes of a value.
    fn scalar_type(self) -> (i8, usize) {
        match self {
            Self::Bytes => (0, 1),
            Self::Indices => (4, 8),
            Self::Floats => (6, 4),
        }
    }
}

/// Values of a kind within a tensor of bytes, from an offset on.
pub(super) fn view(bytes: &Tensor, kind: Kind, offset: usize, sizes: &[i64]) -> Tensor {
    let ((scalar_type, size), end) = (kind.scalar_type(), bytes.numel());
    let numel = sizes.iter().product::<i64>() as usize;
    let fits = offset.is_multiple_of(size) && offset + numel * size <= end;
    assert!(fits, "{sizes:?} {kind:?} at {offset} of {end} bytes");
    let mut out = ptr::null_mut();
    // SAFETY: a live tensor of bytes that has all of the values, and room for a tensor.
    check(unsafe {
        host_view(&mut out, raw(bytes), scalar_type, offset as i64, sizes.as_ptr(), sizes.len())
    });
    owned(out)
}

/// A tensor of so many bytes on a GPU: page-locked pieces, each from its offset on, copied while the GPU
/// computes. `stream` belongs to that GPU alone and holds -1 at first.
pub(super) fn upload(
    pieces: &[&Tensor],
    offsets: &[i64],
    bytes: usize,
    index: usize,
    stream: &mut i64,
) -> Tensor {
    let mut out = ptr::null_mut();
    let index = number(index);
    let pieces: Vec<Raw> = pieces.iter().map(|piece| raw(piece)).collect();
    assert_eq!(pieces.len(), offsets.len(), "an offset for each piece");
    // SAFETY: live tensors with an offset each, and room for a tensor and a number.
    check(unsafe {
        host_upload(&mut out, pieces.as_ptr(), offsets.as_ptr(), pieces.len(), bytes as i64, index, stream)
    });
    owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_write_parts_of_one_memory() {
        let staging = Staging::new(&super::super::processor(), 4, 3);
        std::thread::scope(|scope| {
            for part in 0..4 {
                let staging = &staging;
                scope.spawn(move || staging.write(part, |bytes| bytes.fill(part as u8 + 1)));
            }
        });
        let found: Vec<u8> = staging.sealed_memory().try_into().unwrap();
        assert_eq!(found, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
        assert_eq!(staging.memory.data_ptr().cast(), staging.start);
    }

    #[test]
    #[should_panic(expected = "on its way")]
    fn what_is_uploaded_is_not_written() {
        let staging = Staging::new(&super::super::processor(), 2, 1);
        staging.sealed_memory();
        staging.write(1, |bytes| bytes.fill(1));
    }

    #[test]
    fn views_see_their_bytes_as_values() {
        let staging = Staging::new(&super::super::processor(), 1, 32);
        staging.write(0, |bytes| {
            bytes.fill(0);
            bytes[8..16].copy_from_slice(&7_i64.to_le_bytes());
            bytes[16..20].copy_from_slice(&1.5_f32.to_le_bytes());
        });
        let memory = staging.sealed_memory();
        let indices: Vec<i64> = view(memory, Kind::Indices, 8, &[1]).try_into().unwrap();
        assert_eq!(indices, [7]);
        let floats = view(memory, Kind::Floats, 16, &[2, 2]);
        assert_eq!(floats.size(), [2, 2]);
        assert_eq!((floats.double_value(&[0, 0]), floats.double_value(&[1, 1])), (1.5, 0.0));
        assert!(floats.is_contiguous());
    }
}
