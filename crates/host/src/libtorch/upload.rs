//! Images to where libtorch computes. To a GPU they go from pinned memory and beside its computing.

use std::sync::{Mutex, PoisonError};

use burn::backend::DispatchDevice;
use burn::backend::LibTorch;
use burn::backend::LibTorchDevice;
use burn::backend::libtorch::TchTensor;
use burn::tensor::{Device as BurnDevice, Tensor};
use tch::{Device, Kind, Tensor as Raw};

use super::aten;

/// The copying stream of every GPU, by its number.
static STREAMS: Mutex<Vec<i64>> = Mutex::new(Vec::new());

/// f32 images `[N, C, H, W]` on a device of libtorch.
pub fn upload(values: &[f32], shape: [usize; 4], device: &BurnDevice) -> Tensor<4> {
    finish(to_device(&Raw::from_slice(values).view(sizes(shape)), raw_device(device)), device)
}

/// The same from intensities, normalised on the device: (intensity / 255 − mean) / std by channel.
pub fn upload_intensities(
    values: &[u8],
    shape: [usize; 4],
    mean: &[f32],
    std: &[f32],
    device: &BurnDevice,
) -> Tensor<4> {
    let place = raw_device(device);
    let images = to_device(&Raw::from_slice(values).view(sizes(shape)), place).to_kind(Kind::Float);
    let channels = |numbers: Vec<f32>| Raw::from_slice(&numbers).view([-1, 1, 1]).to_device(place);
    // One multiplication and one sum.
    let scale = channels(std.iter().map(|std| 1.0 / (255.0 * std)).collect());
    let shift = channels(mean.iter().zip(std).map(|(mean, std)| -mean / std).collect());
    finish(shift.addcmul(&images, &scale), device)
}

fn sizes(shape: [usize; 4]) -> [i64; 4] {
    shape.map(|size| size as i64)
}

fn raw_device(device: &BurnDevice) -> Device {
    match device.clone().inner().as_dispatch() {
        DispatchDevice::LibTorch(LibTorchDevice::Cuda(index)) => Device::Cuda(*index),
        DispatchDevice::LibTorch(LibTorchDevice::Cpu) => Device::Cpu,
        other => panic!("{other:?} is no device of libtorch that images go to"),
    }
}

fn to_device(host: &Raw, device: Device) -> Raw {
    let Device::Cuda(gpu) = device else { return host.shallow_clone() };
    let mut streams = STREAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if streams.len() <= gpu {
        streams.resize(gpu + 1, -1);
    }
    aten::upload(&host.pin_memory(device), gpu, &mut streams[gpu])
}

fn finish(images: Raw, device: &BurnDevice) -> Tensor<4> {
    let images = Tensor::from_primitive::<LibTorch>(TchTensor::new(images));
    match device.is_autodiff() {
        true => images.autodiff(),
        false => images,
    }
}
