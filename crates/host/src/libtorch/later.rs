//! A few numbers that are read from a device some time after they were computed there: reading them waits for
//! what the device had been asked for before, and not for what it was asked for since.

#![allow(unsafe_code, reason = "functions of C++")]

use std::ffi::{c_char, c_void};
use std::ptr;

use tch::{Device, Tensor};

use super::aten::{Raw, check, owned, raw};

unsafe extern "C" {
    fn host_later_begin(out: *mut *mut c_void, tensor: Raw) -> *mut c_char;
    fn host_later_end(out: *mut Raw, later: *mut c_void) -> *mut c_char;
    fn host_later_free(later: *mut c_void);
}

/// Numbers on their way.
#[derive(Debug)]
pub struct Later(Way);

#[derive(Debug)]
enum Way {
    /// They are here already.
    Here(Tensor),
    /// A copy that `later.cpp` made.
    Copied(*mut c_void),
}

// SAFETY: the object is used by one thread at a time, and an event may be waited for on any.
unsafe impl Send for Later {}

impl Later {
    /// The numbers of a contiguous tensor of f32.
    pub fn of(tensor: &Tensor) -> Self {
        if tensor.device() == Device::Cpu {
            return Self(Way::Here(tensor.shallow_clone()));
        }
        super::counter::copied();
        let mut out = ptr::null_mut();
        // SAFETY: a live tensor, and room for a pointer.
        check(unsafe { host_later_begin(&mut out, raw(tensor)) });
        Self(Way::Copied(out))
    }

    /// The numbers, as soon as they are here.
    pub fn read(self) -> Vec<f32> {
        match &self.0 {
            Way::Here(tensor) => values(tensor),
            Way::Copied(later) => {
                let mut out = ptr::null_mut();
                // SAFETY: made by `host_later_begin`, and freed when this is dropped.
                check(unsafe { host_later_end(&mut out, *later) });
                values(&owned(out))
            }
        }
    }
}

/// The memory itself: libtorch's own ways of reading count as waiting.
fn values(tensor: &Tensor) -> Vec<f32> {
    assert!(super::is_plain(tensor), "a contiguous f32 tensor on the host");
    // SAFETY: checked; the tensor holds its memory meanwhile.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }.to_vec()
}

impl Drop for Later {
    fn drop(&mut self) {
        if let Way::Copied(later) = self.0 {
            // SAFETY: made by `host_later_begin`, and freed nowhere else.
            unsafe { host_later_free(later) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_the_host_are_read_without_asking_libtorch() {
        let later = Later::of(&Tensor::from_slice(&[1.5f32, 2.0]));
        let (numbers, asked) = super::super::counter::count(|| later.read());
        assert_eq!((numbers, asked.dispatched()), (vec![1.5, 2.0], 0));
    }
}
