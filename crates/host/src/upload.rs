//! Numbers to the device that computes, without waiting for what it computes.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::libtorch;

/// A tensor of these numbers on a device.
pub fn floats<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    if let Some(gpu) = libtorch::gpu(device) {
        return libtorch::floats_on(gpu, &values, shape, device);
    }
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A list of these indices on a device.
pub fn indices(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    if let Some(gpu) = libtorch::gpu(device) {
        return libtorch::indices_on(gpu, &values, device);
    }
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// Images `[N, C, H, W]` from intensities, normalised: (intensity / 255 − mean) / std by channel. On
/// libtorch's devices that happens on the device.
pub fn intensities(
    values: &[u8],
    shape: [usize; 4],
    mean: &[f32],
    std: &[f32],
    device: &Device,
) -> Tensor<4> {
    if crate::is_libtorch(device) {
        return libtorch::intensities(values, shape, mean, std, device);
    }
    let planes = values.chunks_exact(shape[2] * shape[3]).zip((0..mean.len()).cycle());
    let normalized = planes.flat_map(|(plane, channel)| {
        let (mean, std) = (mean[channel], std[channel]);
        plane.iter().map(move |value| (f32::from(*value) / 255.0 - mean) / std)
    });
    floats(normalized.collect(), shape, device)
}
