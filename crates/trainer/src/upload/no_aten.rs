//! Stands in for libtorch in builds without it, where no device is libtorch's and nothing of this computes.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use data::mixup::Mix;
use data::transform::{Erased, Normalize};
use data::{MemoryPool, Pixels};
use host::{Arena, Uploaded};

/// Mean and deviation on a device of libtorch, of which there is none.
#[derive(Debug)]
pub(super) enum Normalization {}

/// Intensities on their way to a device of libtorch, of which there is none.
#[derive(Debug)]
pub(super) struct RawAt;

impl Normalization {
    pub(super) fn new(_normalize: &Normalize, _device: &Device) -> Self {
        unreachable!("no device is libtorch's")
    }
}

/// Never called.
pub(super) fn put(
    _pixels: Pixels,
    _shape: [usize; 4],
    _erased: &[(usize, Erased)],
    _mix: Mix,
    _arena: &mut Arena,
) -> RawAt {
    RawAt
}

/// Never called.
pub(super) fn images(
    _raw: RawAt,
    _normalization: &Normalization,
    _uploaded: &Uploaded,
    device: &Device,
) -> Tensor<4> {
    Tensor::zeros([0; 4], device)
}

pub(super) fn memory_pool(_device: &Device) -> Arc<dyn MemoryPool> {
    unreachable!("no device is libtorch's")
}
