//! Gradients as nodes register them.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use host::HostBackend;
use tch::{Kind, Tensor};

use super::cast;

/// In f32, in the shape of the parent, and without gaps: ATen returns some with the strides of a
/// channels-last map.
pub(super) fn of(parent: &TchTensor, value: &Tensor) -> TchTensor {
    let value = LibTorch::contiguous(TchTensor::new(cast(value, Kind::Float)));
    let shape = parent.tensor.size();
    match value.tensor.size() == shape {
        true => value,
        false => TchTensor::new(value.tensor.view(shape.as_slice())),
    }
}

/// All of them, in the order of the parents.
pub(super) fn all<const N: usize>(parents: &[TchTensor; N], values: [Tensor; N]) -> [Option<TchTensor>; N] {
    let mut values = values.into_iter();
    parents.each_ref().map(|parent| values.next().map(|value| of(parent, &value)))
}
