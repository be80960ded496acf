//! Stands in for libtorch in builds without it, where no device is libtorch's and nothing of this
//! computes.

use burn::backend::autodiff::NodeId;
use burn::tensor::{Device, Int, Tensor};

use crate::arena::Part;
use crate::tensor::HostTensor;

/// Whether this build has libtorch.
pub(crate) const AVAILABLE: bool = false;

/// Never called.
pub(crate) fn processor() -> Device {
    Device::flex()
}

/// Never called.
pub(crate) fn cuda(_index: usize) -> Device {
    Device::flex()
}

pub(crate) fn is_device(_device: &Device) -> bool {
    false
}

pub(crate) fn is_processor(_device: &Device) -> bool {
    false
}

/// A tensor of libtorch on the host, of which there is none.
#[derive(Debug, Clone)]
pub enum Held {}

impl Held {
    pub(crate) fn new<const D: usize>(_tensor: Tensor<D>) -> Option<Self> {
        None
    }

    pub(crate) fn like(&self, _values: Vec<f32>) -> HostTensor {
        match *self {}
    }

    pub(crate) fn values(&self) -> &[f32] {
        match *self {}
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        match *self {}
    }

    pub(crate) fn into_tensor<const D: usize>(self) -> Tensor<D> {
        match self {}
    }
}

pub(crate) fn node_of<const D: usize>(_tensor: &Tensor<D>) -> Option<NodeId> {
    None
}

pub(crate) fn gpu(_device: &Device) -> Option<usize> {
    None
}

/// Memory that a device of libtorch reads, of which there is none.
#[derive(Debug)]
pub enum Staging {}

/// What was brought to a device of libtorch, of which there is none.
#[derive(Debug)]
pub struct Landed;

impl Landed {
    pub(crate) fn float_tensor<const D: usize>(&self, shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::zeros(shape, device)
    }

    pub(crate) fn index_tensor(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::zeros([0], device)
    }
}

/// Never called.
pub(crate) fn upload(_parts: &[Part], _device: &Device) -> Vec<Landed> {
    Vec::new()
}

/// NVIDIA GPUs that libtorch can use.
pub fn cuda_devices() -> usize {
    0
}

/// Threads of libtorch's own operations on the processor.
pub fn set_threads(_threads: usize) {}

pub mod counter {
    //! Stands in for the counter of libtorch's operations.

    use crate::operations::Operations;

    /// Runs something, which asks for no operation of libtorch.
    pub fn count<T>(run: impl FnOnce() -> T) -> (T, Operations) {
        (run(), Operations::default())
    }
}

/// None: no memory but this machine's.
pub(crate) fn gpu_memory(_index: usize) -> Option<crate::GpuMemory> {
    None
}

/// Nothing computes so.
pub(crate) fn set_tf32(_products: bool, _convolutions: bool) {}

/// None: no device is libtorch's.
pub(crate) fn product_gflops(_device: &Device, _precision: crate::Precision) -> Option<f64> {
    None
}
