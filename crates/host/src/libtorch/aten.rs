//! What tch does not bind of ATen, through `aten.cpp`.
//!
//! As in tch itself, an operation that libtorch refuses is a bug of ours and panics with libtorch's
//! message, which [`caught`](crate::caught) makes an error of.

#![allow(unsafe_code, reason = "functions of C++")]

use std::ffi::{c_char, c_void};
use std::ptr;

use tch::Tensor;

use super::outcome::outcome;
use crate::failure::LIBTORCH;

/// An `at::Tensor*`.
pub(super) type Raw = *mut c_void;

unsafe extern "C" {
    fn host_layer_norm_backward(
        out: *mut Raw,
        dy: Raw,
        x: Raw,
        mean: Raw,
        rstd: Raw,
        weight: Raw,
        bias: Raw,
    ) -> *mut c_char;
    fn host_convolution_backward(
        out: *mut Raw,
        dy: Raw,
        x: Raw,
        weight: Raw,
        stride: i64,
        padding: i64,
        groups: i64,
        wants_dx: bool,
    ) -> *mut c_char;
    fn host_from_values(
        out: *mut Raw,
        values: *mut f32,
        sizes: *const i64,
        dims: usize,
        owner: *mut c_void,
        free: extern "C" fn(*mut c_void),
    ) -> *mut c_char;
}

pub(super) fn raw(tensor: &Tensor) -> Raw {
    tensor.as_ptr().cast_mut().cast()
}

/// Takes a tensor that C++ made.
pub(super) fn owned(tensor: Raw) -> Tensor {
    // SAFETY: `aten.cpp` made it by `new at::Tensor`, which is what tch frees, and gives it away.
    unsafe { Tensor::from_ptr(tensor.cast()) }
}

pub(super) fn check(message: *mut c_char) {
    if let Err(text) = outcome(message) {
        panic!("{LIBTORCH}{text}");
    }
}

/// Gradients of input, weight and bias of a LayerNorm over the last dimension, from what
/// `native_layer_norm` returned.
pub fn layer_norm_backward(
    dy: &Tensor,
    x: &Tensor,
    [mean, rstd]: [&Tensor; 2],
    [weight, bias]: [&Tensor; 2],
) -> [Tensor; 3] {
    let mut out = [ptr::null_mut(); 3];
    // SAFETY: live tensors, and room for three.
    check(unsafe {
        host_layer_norm_backward(
            out.as_mut_ptr(),
            raw(dy),
            raw(x),
            raw(mean),
            raw(rstd),
            raw(weight),
            raw(bias),
        )
    });
    out.map(owned)
}

/// A square convolution.
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    /// Stride of the windows.
    pub stride: i64,
    /// Zeros on every side.
    pub padding: i64,
    /// Groups of channels.
    pub groups: i64,
}

impl Convolution {
    /// `[N, in, H, W]` → `[N, out, H', W']`.
    pub fn forward(self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        let Self { stride, padding, groups } = self;
        x.convolution(weight, Some(bias), [stride, stride], [padding, padding], [1, 1], false, [0, 0], groups)
    }

    /// Gradients of input, weight and bias; that of the input is undefined unless wanted.
    pub fn backward(self, dy: &Tensor, x: &Tensor, weight: &Tensor, wants_dx: bool) -> [Tensor; 3] {
        let (mut out, Self { stride, padding, groups }) = ([ptr::null_mut(); 3], self);
        // SAFETY: live tensors, and room for three.
        check(unsafe {
            host_convolution_backward(
                out.as_mut_ptr(),
                raw(dy),
                raw(x),
                raw(weight),
                stride,
                padding,
                groups,
                wants_dx,
            )
        });
        out.map(owned)
    }
}

extern "C" fn free_values(owner: *mut c_void) {
    // SAFETY: the box that `from_values` leaked, given back exactly once.
    drop(unsafe { Box::from_raw(owner.cast::<Vec<f32>>()) });
}

/// A tensor on the host over these very values.
pub fn from_values(values: Vec<f32>, shape: &[i64]) -> Tensor {
    assert_eq!(values.len() as i64, shape.iter().product::<i64>(), "as many values as {shape:?} has");
    let mut owner = Box::new(values);
    let (start, mut out) = (owner.as_mut_ptr(), ptr::null_mut());
    let owner = Box::into_raw(owner).cast();
    // SAFETY: `shape` counts exactly the values, which live until `free_values` gets their owner; if
    // this fails, `check` panics and they are leaked, not freed twice.
    check(unsafe { host_from_values(&mut out, start, shape.as_ptr(), shape.len(), owner, free_values) });
    owned(out)
}
