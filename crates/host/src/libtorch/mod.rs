//! The memory and the devices of libtorch.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]
#![allow(unsafe_code, reason = "libtorch gives its memory as a pointer")]

pub mod aten;
pub mod copies;
pub mod counter;
pub mod later;
pub mod lists;
mod memory;
mod outcome;
mod peak;
mod staging;
mod tf32;
mod upload;

use burn::backend::autodiff::NodeId;
use burn::backend::libtorch::TchTensor;
use burn::backend::{Autodiff, DispatchDevice, LibTorch, LibTorchDevice, TensorMetadata};
use burn::tensor::{DispatchTensor, Shape, Tensor as BurnTensor};
use tch::{Device, Kind, Tensor};

use crate::backend::HostBackend;
use crate::tensor::HostTensor;
pub(crate) use memory::gpu_memory;
pub(crate) use peak::product_gflops;
pub use staging::Staging;
pub(crate) use tf32::set_tf32;
#[cfg(test)]
pub(crate) use tf32::tf32;
pub use upload::{Landed, constants, float_tensor, indices_on};
pub(crate) use upload::{gpu, upload};

/// Whether the memory behind the data pointer is `numel` values of f32 on the host, one after another.
fn is_plain(tensor: &Tensor) -> bool {
    tensor.device() == Device::Cpu && tensor.kind() == Kind::Float && tensor.is_contiguous()
}

impl HostBackend for LibTorch {
    fn is_contiguous(tensor: &TchTensor) -> bool {
        tensor.tensor.is_contiguous()
    }

    fn contiguous(tensor: TchTensor) -> TchTensor {
        match tensor.tensor.is_contiguous() {
            true => tensor,
            false => TchTensor::new(tensor.tensor.contiguous()),
        }
    }

    fn values(tensor: &TchTensor) -> &[f32] {
        assert!(is_plain(&tensor.tensor), "a contiguous f32 tensor on the host");
        let (start, count) = (tensor.tensor.data_ptr().cast::<f32>(), tensor.tensor.numel());
        if count == 0 {
            return &[];
        }
        // SAFETY: checked above; the tensor keeps its memory for as long as it is borrowed, and
        // Burn writes only to memory that no other tensor shares.
        unsafe { std::slice::from_raw_parts(start, count) }
    }

    fn values_mut(tensor: &mut TchTensor) -> &mut [f32] {
        assert!(is_plain(&tensor.tensor), "a contiguous f32 tensor on the host");
        if !tensor.can_mut() {
            *tensor = TchTensor::new(tensor.tensor.copy());
        }
        let (start, count) = (tensor.tensor.data_ptr().cast::<f32>(), tensor.tensor.numel());
        if count == 0 {
            return &mut [];
        }
        // SAFETY: as in `values`; nobody else holds this memory, or it has just been copied.
        unsafe { std::slice::from_raw_parts_mut(start, count) }
    }

    fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> TchTensor {
        let shape: Vec<i64> = shape.into().iter().map(|size| *size as i64).collect();
        TchTensor::new(aten::from_values(values, &shape))
    }

    fn dispatch(tensor: TchTensor) -> DispatchTensor {
        // As on Flex, the dimensions of the type are not those of the tensor.
        BurnTensor::<1>::from_primitive::<Self>(tensor).into_dispatch()
    }
}

/// The tensor of libtorch behind a tensor of Burn without autodiff; none behind one of another backend.
pub fn primitive(tensor: DispatchTensor) -> Option<TchTensor> {
    BurnTensor::<1>::from_dispatch(tensor).try_into_primitive::<LibTorch>().ok()
}

/// The tensor of Burn around one of libtorch.
pub fn dispatch(tensor: TchTensor) -> DispatchTensor {
    LibTorch::dispatch(tensor)
}

/// The node of a tensor of libtorch with autodiff.
pub(crate) fn node_of<const D: usize>(tensor: &BurnTensor<D>) -> Option<NodeId> {
    tensor.clone().try_into_primitive::<Autodiff<LibTorch>>().map(|tensor| tensor.id()).ok()
}

/// A contiguous f32 tensor of libtorch on the host.
#[derive(Debug, Clone)]
pub struct Held(TchTensor);

impl Held {
    pub(crate) fn new<const D: usize>(tensor: BurnTensor<D>) -> Option<Self> {
        let tensor = tensor.try_into_primitive::<LibTorch>().ok()?;
        Some(Self(LibTorch::contiguous(tensor)))
    }

    /// A tensor of the same shape, with other values.
    pub(crate) fn like(&self, values: Vec<f32>) -> HostTensor {
        HostTensor::LibTorch(Self(LibTorch::tensor(values, self.0.shape())))
    }

    pub(crate) fn values(&self) -> &[f32] {
        LibTorch::values(&self.0)
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        LibTorch::values_mut(&mut self.0)
    }

    pub(crate) fn into_tensor<const D: usize>(self) -> BurnTensor<D> {
        BurnTensor::from_primitive::<LibTorch>(self.0)
    }
}

/// Whether a device, without autodiff, is libtorch's.
pub(crate) fn is_device(device: &burn::tensor::Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::LibTorch(_))
}

/// Whether a device, without autodiff, is this machine's processor through libtorch.
pub(crate) fn is_processor(device: &burn::tensor::Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::LibTorch(LibTorchDevice::Cpu))
}

/// NVIDIA GPUs that this libtorch can use.
pub fn cuda_devices() -> usize {
    usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
}

/// Whether this build has libtorch.
pub(crate) const AVAILABLE: bool = true;

/// This machine's processor.
pub(crate) fn processor() -> burn::tensor::Device {
    // Our kernels use the cores; threads of libtorch would wait for each other beside them.
    set_threads(1);
    burn::tensor::Device::libtorch()
}

/// A GPU. Networks here have shapes that stay the same, so cuDNN measures its algorithms once.
pub(crate) fn cuda(index: usize) -> burn::tensor::Device {
    tch::Cuda::cudnn_set_benchmark(true);
    burn::tensor::Device::libtorch_cuda(index)
}

/// Threads of libtorch's own operations on the CPU.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(threads as i32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_memory_of_the_tensor() {
        let mut tensor = LibTorch::tensor((0..6).map(|i| i as f32).collect(), [2, 3]);
        assert_eq!(LibTorch::values(&tensor), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let before = tensor.tensor.data_ptr();
        LibTorch::values_mut(&mut tensor)[4] = 9.0;
        assert_eq!(tensor.tensor.data_ptr(), before);
        assert_eq!(tensor.tensor.double_value(&[1, 1]), 9.0);
    }

    #[test]
    fn shared_values_are_copied_before_they_are_written() {
        let mut tensor = LibTorch::tensor(vec![1.0; 4], [4]);
        let other = tensor.clone();
        LibTorch::values_mut(&mut tensor)[0] = 2.0;
        assert_eq!(LibTorch::values(&other), [1.0; 4]);
        assert_eq!(LibTorch::values(&tensor), [2.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_transposed_tensor_is_put_into_rows() {
        let tensor = LibTorch::tensor((0..6).map(|i| i as f32).collect(), [2, 3]);
        let transposed = TchTensor::new(tensor.tensor.tr());
        assert_eq!(LibTorch::values(&LibTorch::contiguous(transposed)), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn an_empty_tensor_has_no_values() {
        let mut tensor = LibTorch::tensor(Vec::new(), [0, 3]);
        assert!(LibTorch::values(&tensor).is_empty() && LibTorch::values_mut(&mut tensor).is_empty());
    }
}
