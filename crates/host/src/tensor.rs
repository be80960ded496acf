//! A tensor on the host without its backend in the type.

#![cfg_attr(feature = "tch", allow(deprecated, reason = "Burn 0.22 is the last with libtorch, and pinned"))]

use burn::backend::flex::FlexTensor;
#[cfg(feature = "tch")]
use burn::backend::libtorch::TchTensor;
use burn::backend::{DispatchDevice, Flex};
#[cfg(feature = "tch")]
use burn::backend::{LibTorch, LibTorchDevice};
use burn::tensor::{Device, Tensor};

use crate::backend::HostBackend;

/// Whether the tensors of a device lie in this machine's memory.
pub fn is_on_host(device: &Device) -> bool {
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Flex(_) => true,
        #[cfg(feature = "tch")]
        DispatchDevice::LibTorch(device) => *device == LibTorchDevice::Cpu,
        DispatchDevice::Autodiff(_) => false,
    }
}

/// The devices of this build that compute on this machine's processor, Flex first: what tests run on.
pub fn processors() -> Vec<Device> {
    vec![
        Device::flex(),
        #[cfg(feature = "tch")]
        Device::libtorch(),
    ]
}

/// Whether libtorch computes on a device.
pub fn is_libtorch(device: &Device) -> bool {
    match device.clone().inner().as_dispatch() {
        #[cfg(feature = "tch")]
        DispatchDevice::LibTorch(_) => true,
        _ => false,
    }
}

/// A contiguous f32 tensor in this machine's memory, without autodiff.
#[derive(Debug)]
pub enum HostTensor {
    /// A tensor of the pure Rust backend.
    Flex(FlexTensor),
    /// A tensor of libtorch.
    #[cfg(feature = "tch")]
    LibTorch(TchTensor),
}

impl HostTensor {
    /// None if the tensor lies elsewhere or has autodiff. A tensor that nobody else holds stays so.
    pub fn new<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        if tensor.is_autodiff() {
            return None;
        }
        match tensor.device().as_dispatch() {
            DispatchDevice::Flex(_) => {
                tensor.try_into_primitive::<Flex>().ok().map(|tensor| Self::Flex(Flex::contiguous(tensor)))
            }
            #[cfg(feature = "tch")]
            DispatchDevice::LibTorch(LibTorchDevice::Cpu) => {
                let tensor = tensor.try_into_primitive::<LibTorch>().ok()?;
                Some(Self::LibTorch(LibTorch::contiguous(tensor)))
            }
            _ => None,
        }
    }

    /// Its values in row-major order.
    pub fn values(&self) -> &[f32] {
        match self {
            Self::Flex(tensor) => Flex::values(tensor),
            #[cfg(feature = "tch")]
            Self::LibTorch(tensor) => LibTorch::values(tensor),
        }
    }

    /// The same to be written; copied first where somebody else holds them too.
    pub fn values_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Flex(tensor) => Flex::values_mut(tensor),
            #[cfg(feature = "tch")]
            Self::LibTorch(tensor) => LibTorch::values_mut(tensor),
        }
    }

    /// The tensor as others know it.
    pub fn into_tensor<const D: usize>(self) -> Tensor<D> {
        match self {
            Self::Flex(tensor) => Tensor::from_primitive::<Flex>(tensor),
            #[cfg(feature = "tch")]
            Self::LibTorch(tensor) => Tensor::from_primitive::<LibTorch>(tensor),
        }
    }
}
