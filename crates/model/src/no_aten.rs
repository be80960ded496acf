//! Stands in for libtorch's operations in builds without libtorch, where no engine is
//! [`Aten`](crate::engine::Engine::Aten) and nothing of this is ever called.

use burn::tensor::{Device, Tensor};
use host::Precision;

use crate::block_weights::BlockWeights;
use crate::grn_stats::GrnStats;
use crate::sites::{Rows, Sites};

/// What libtorch's block does beside its weights; nothing here.
pub(crate) struct Spec;

pub(crate) fn spec(
    sites: &Sites,
    _stats: GrnStats,
    selected: Option<&Rows>,
    _drop_path: Option<Tensor<3>>,
    _precision: Precision,
    device: &Device,
) -> Spec {
    let _ = (sites.token_layout(device), selected.map(|rows| rows.token_indices(sites.patch_sites())));
    Spec
}

pub(crate) fn block(x: Tensor<3>, _weights: BlockWeights, _spec: Spec) -> Tensor<3> {
    x
}

pub(crate) fn linear(x: Tensor<3>, _weight: Tensor<2>, _bias: Tensor<1>, _precision: Precision) -> Tensor<3> {
    x
}

pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    _weight: Tensor<1>,
    _bias: Tensor<1>,
    _epsilon: f64,
) -> Tensor<D> {
    x
}
