//! Numbers to the device that computes, without waiting for what it computes.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// A tensor of these numbers on a device.
pub fn floats<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    #[cfg(feature = "tch")]
    if let Some(gpu) = crate::libtorch::gpu(device) {
        return crate::libtorch::floats_on(gpu, &values, shape, device);
    }
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A list of these indices on a device.
pub fn indices(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    #[cfg(feature = "tch")]
    if let Some(gpu) = crate::libtorch::gpu(device) {
        return crate::libtorch::indices_on(gpu, &values, device);
    }
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
