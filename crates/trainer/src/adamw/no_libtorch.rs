//! Stands in for libtorch's AdamW in builds without libtorch, where no tensor is libtorch's.

use burn::tensor::Tensor;

use super::moments::{AdamWConfig, Moments};

/// Never called: `host::is_libtorch` is false for every device of such a build.
pub(super) fn update<const D: usize>(
    _lr: f64,
    _config: &AdamWConfig,
    _weight_decay: f64,
    weight: Tensor<D>,
    _gradient: Tensor<D>,
    moments: Moments<D>,
) -> (Tensor<D>, Moments<D>) {
    (weight, moments)
}
