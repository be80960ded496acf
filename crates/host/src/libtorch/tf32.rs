//! libtorch's switches for TF32, which are those of the process.

use std::ffi::c_char;

use super::outcome::outcome;

unsafe extern "C" {
    fn host_set_tf32(products: bool, convolutions: bool) -> *mut c_char;
    #[cfg(test)]
    fn host_tf32(products: *mut bool, convolutions: *mut bool) -> *mut c_char;
}

/// Whether matrix products and convolutions of f32 may shorten their factors.
pub(crate) fn set_tf32(products: bool, convolutions: bool) {
    // SAFETY: two numbers.
    if let Err(text) = outcome(unsafe { host_set_tf32(products, convolutions) }) {
        panic!("{}{text}", crate::failure::LIBTORCH);
    }
}

/// What is set.
#[cfg(test)]
pub(crate) fn tf32() -> [bool; 2] {
    let [mut products, mut convolutions] = [false; 2];
    // SAFETY: room for two numbers.
    outcome(unsafe { host_tf32(&mut products, &mut convolutions) }).expect("the switches are there");
    [products, convolutions]
}
