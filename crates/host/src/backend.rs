//! What kernels on slices need of a backend.

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex};
use burn::tensor::{DispatchTensor, Shape, Tensor, TensorData};

/// A backend that holds tensors, or some of them, in this machine's memory.
pub trait HostBackend: Backend {
    /// Whether the values lie row-major and without gaps.
    fn is_contiguous(tensor: &FloatTensor<Self>) -> bool;

    /// Row-major and without gaps: the same memory if it is so already.
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The values of a contiguous f32 tensor on the host.
    fn values(tensor: &FloatTensor<Self>) -> &[f32];

    /// The same to be written; copied first where somebody else holds them too.
    fn values_mut(tensor: &mut FloatTensor<Self>) -> &mut [f32];

    /// A tensor of these values, on the host.
    fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FloatTensor<Self>;

    /// The tensor without its backend and number of dimensions in the type.
    fn dispatch(tensor: FloatTensor<Self>) -> DispatchTensor;
}

impl HostBackend for Flex {
    fn is_contiguous(tensor: &FlexTensor) -> bool {
        tensor.is_contiguous()
    }

    fn contiguous(tensor: FlexTensor) -> FlexTensor {
        tensor.to_contiguous()
    }

    fn values(tensor: &FlexTensor) -> &[f32] {
        tensor.as_slice().expect("a contiguous f32 tensor")
    }

    fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
        tensor.storage_mut()
    }

    fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(values, shape.into()))
    }

    fn dispatch(tensor: FlexTensor) -> DispatchTensor {
        // A dispatch tensor has as many dimensions as its primitive, whatever the type on the way says.
        Tensor::<1>::from_primitive::<Self>(tensor).into_dispatch()
    }
}
