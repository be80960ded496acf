//! Numbers to the device that computes, without waiting for what it computes.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::arena::Arena;

/// A tensor of these numbers on a device.
pub fn floats<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    if !crate::is_libtorch(device) {
        return Tensor::from_data(TensorData::new(values, shape), device);
    }
    let mut arena = Arena::new(device);
    let at = arena.floats(values);
    arena.upload().floats(at, shape)
}

/// A list of these indices on a device.
pub fn indices(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    if !crate::is_libtorch(device) {
        let count = values.len();
        return Tensor::from_data(TensorData::new(values, [count]), device);
    }
    let mut arena = Arena::new(device);
    let at = arena.indices(values);
    arena.upload().indices(at)
}
