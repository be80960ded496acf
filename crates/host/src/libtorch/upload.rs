//! Numbers to where libtorch computes. To a GPU they go from pinned memory and beside its computing;
//! libtorch's plain copy would wait until the GPU has nothing left to do.

use std::sync::{Mutex, PoisonError};

use burn::backend::libtorch::TchTensor;
use burn::backend::{DispatchDevice, LibTorch, LibTorchDevice};
use burn::tensor::{Device as BurnDevice, Int, Tensor};
use tch::{Device, Kind, Tensor as Raw};

use super::aten;

/// The copying stream of every GPU, by its number.
static STREAMS: Mutex<Vec<i64>> = Mutex::new(Vec::new());

/// The number of the GPU that a device is.
pub(crate) fn gpu(device: &BurnDevice) -> Option<usize> {
    match device.clone().inner().as_dispatch() {
        DispatchDevice::LibTorch(LibTorchDevice::Cuda(index)) => Some(*index),
        _ => None,
    }
}

/// A copy on the device of a tensor in this machine's memory.
pub fn to_device(host: &Raw, device: Device) -> Raw {
    super::counter::copied();
    let Device::Cuda(gpu) = device else { return host.shallow_clone() };
    let mut streams = STREAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if streams.len() <= gpu {
        streams.resize(gpu + 1, -1);
    }
    aten::upload(&host.pin_memory(device), gpu, &mut streams[gpu])
}

pub(crate) fn floats_on<const D: usize>(
    gpu: usize,
    values: &[f32],
    shape: [usize; D],
    device: &BurnDevice,
) -> Tensor<D> {
    let shape = shape.map(|size| size as i64);
    finish(to_device(&Raw::from_slice(values).view(shape.as_slice()), Device::Cuda(gpu)), device)
}

pub(crate) fn indices_on(gpu: usize, values: &[i64], device: &BurnDevice) -> Tensor<1, Int> {
    let indices = TchTensor::new(to_device(&Raw::from_slice(values), Device::Cuda(gpu)));
    let indices = Tensor::<1, Int>::from_primitive::<LibTorch>(indices);
    match device.is_autodiff() {
        true => indices.autodiff(),
        false => indices,
    }
}

/// Images `[N, C, H, W]` from intensities, normalised on the device, which is one of libtorch:
/// (intensity / 255 − mean) / std by channel.
pub fn intensities(
    values: &[u8],
    shape: [usize; 4],
    mean: &[f32],
    std: &[f32],
    device: &BurnDevice,
) -> Tensor<4> {
    let place = gpu(device).map_or(Device::Cpu, Device::Cuda);
    let shape = shape.map(|size| size as i64);
    let images = to_device(&Raw::from_slice(values).view(shape), place).to_kind(Kind::Float);
    let channels = |numbers: Vec<f32>| to_device(&Raw::from_slice(&numbers).view([-1, 1, 1]), place);
    // One multiplication and one sum.
    let scale = channels(std.iter().map(|std| 1.0 / (255.0 * std)).collect());
    let shift = channels(mean.iter().zip(std).map(|(mean, std)| -mean / std).collect());
    finish(shift.addcmul(&images, &scale), device)
}

fn finish<const D: usize>(tensor: Raw, device: &BurnDevice) -> Tensor<D> {
    let tensor = Tensor::from_primitive::<LibTorch>(TchTensor::new(tensor));
    match device.is_autodiff() {
        true => tensor.autodiff(),
        false => tensor,
    }
}
