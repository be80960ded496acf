//! Gradients as nodes register them.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use host::HostBackend;
use tch::{Kind, Tensor};

use super::cast;

/// That of an activation: in f32, in the shape of the parent, and without gaps: ATen returns some with the strides
/// of a channels-last map.
pub(super) fn of(parent: &TchTensor, value: &Tensor) -> TchTensor {
    of_weight(parent, &cast(value, Kind::Float))
}

/// That of a weight, in the numbers that it was computed in: what updates by gradients casts all of them at once.
pub(super) fn of_weight(parent: &TchTensor, value: &Tensor) -> TchTensor {
    let value = LibTorch::contiguous(TchTensor::new(value.shallow_clone()));
    let shape = parent.tensor.size();
    match value.tensor.size() == shape {
        true => value,
        false => TchTensor::new(value.tensor.view(shape.as_slice())),
    }
}

/// Those of an activation and of weights, in the order of the parents.
pub(super) fn all<const N: usize>(parents: &[TchTensor; N], values: [Tensor; N]) -> [Option<TchTensor>; N] {
    let mut gradients = parents.iter().zip(&values).enumerate().map(|(place, (parent, value))| match place {
        0 => of(parent, value),
        _ => of_weight(parent, value),
    });
    std::array::from_fn(|_| gradients.next())
}
