//! A tensor on the host without its backend in the type.

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchDevice, Flex, TensorMetadata};
use burn::tensor::{Device, DispatchTensor, Tensor};

use crate::backend::HostBackend;
use crate::libtorch;

/// Whether the tensors of a device lie in this machine's memory.
pub fn is_on_host(device: &Device) -> bool {
    let device = device.clone().inner();
    matches!(device.as_dispatch(), DispatchDevice::Flex(_)) || libtorch::is_processor(&device)
}

/// The devices of this build that compute on this machine's processor, Flex first: what tests run on.
pub fn processors() -> Vec<Device> {
    let libtorch = libtorch::AVAILABLE.then(libtorch::processor);
    [Device::flex()].into_iter().chain(libtorch).collect()
}

/// Whether libtorch computes on a device.
pub fn is_libtorch(device: &Device) -> bool {
    libtorch::is_device(&device.clone().inner())
}

/// A contiguous f32 tensor in this machine's memory, without autodiff.
#[derive(Debug, Clone)]
pub enum HostTensor {
    /// A tensor of the pure Rust backend.
    Flex(FlexTensor),
    /// A tensor of libtorch.
    LibTorch(libtorch::Held),
}

impl HostTensor {
    /// None if the tensor lies elsewhere or has autodiff. A tensor that nobody else holds stays so.
    pub fn new<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        if tensor.is_autodiff() {
            return None;
        }
        let device = tensor.device();
        if libtorch::is_processor(&device) {
            return libtorch::Held::new(tensor).map(Self::LibTorch);
        }
        match device.as_dispatch() {
            DispatchDevice::Flex(_) => {
                tensor.try_into_primitive::<Flex>().ok().map(|tensor| Self::Flex(Flex::contiguous(tensor)))
            }
            #[allow(unreachable_patterns, reason = "builds without libtorch have no other device")]
            _ => None,
        }
    }

    /// Its values in row-major order.
    pub fn values(&self) -> &[f32] {
        match self {
            Self::Flex(tensor) => Flex::values(tensor),
            Self::LibTorch(tensor) => tensor.values(),
        }
    }

    /// The same to be written; copied first where somebody else holds them too.
    pub fn values_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Flex(tensor) => Flex::values_mut(tensor),
            Self::LibTorch(tensor) => tensor.values_mut(),
        }
    }

    /// The tensor as others know it.
    pub fn into_tensor<const D: usize>(self) -> Tensor<D> {
        match self {
            Self::Flex(tensor) => Tensor::from_primitive::<Flex>(tensor),
            Self::LibTorch(tensor) => tensor.into_tensor(),
        }
    }

    /// A tensor of the same shape, of zeros.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        let zeros = vec![0.0; self.values().len()];
        match self {
            Self::Flex(tensor) => Self::Flex(Flex::tensor(zeros, tensor.shape())),
            Self::LibTorch(tensor) => tensor.like(zeros),
        }
    }

    /// A tensor whose number of dimensions the type does not say, as [`new`](Self::new) takes it.
    pub fn from_dispatch(tensor: DispatchTensor) -> Option<Self> {
        Self::new(Tensor::<1>::from_dispatch(tensor))
    }

    /// The tensor without its number of dimensions in the type.
    pub fn into_dispatch(self) -> DispatchTensor {
        self.into_tensor::<1>().into_dispatch()
    }
}
