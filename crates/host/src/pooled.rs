//! Memory of the kernels as that of tensors of Flex.

use std::mem::MaybeUninit;

use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};
use kernels::buffer::Buffer;

/// A buffer that goes back to the kernels when the last tensor lets go of it.
struct Pooled(Buffer);

/// The memory of a buffer.
pub(crate) fn bytes(buffer: Buffer) -> Bytes {
    let len = size_of_val::<[f32]>(&buffer);
    // SAFETY: all values of a buffer are initialised.
    #[allow(unsafe_code, reason = "how Burn takes memory that it did not allocate")]
    unsafe {
        Bytes::from_controller(Box::new(Pooled(buffer)), len)
    }
}

impl AllocationController for Pooled {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    #[allow(unsafe_code, reason = "the caller's promise, to write initialised bytes alone")]
    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let values: &mut [f32] = &mut self.0;
        let (start, len) = (values.as_mut_ptr().cast(), size_of_val(values));
        // SAFETY: these are the bytes of the values, which are borrowed for as long; any that are written are
        // numbers.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, len) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let values: &[f32] = &self.0;
        // SAFETY: as above, to be read.
        #[allow(unsafe_code, reason = "bytes of numbers")]
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
        Ok(bytes)
    }
}
