//! Which engine computes: the one place that chooses, for blocks, convolutions and norms.
//!
//! Each operation comes with its definition in tensor operations. Our kernels or libtorch's compute the
//! same in one operation of Burn's autodiff where they can; elsewhere the definition itself runs.

use burn::tensor::{Tensor, module};
use kernels::block::{Batch, Statistics};
use kernels::strided_conv::Windows;

use crate::activation::Activation;
use crate::aten;
use crate::block_weights::BlockWeights as Weights;
use crate::engine::{Compute, Engine};
use crate::grn_stats::GrnStats;
use crate::kernel_ops;
use crate::sites::{Rows, Sites};

pub(crate) use crate::block_weights::BlockWeights;

/// What a block does beside its weights.
pub(crate) struct BlockSpec<'a> {
    pub(crate) sites: &'a Sites,
    pub(crate) act: Activation,
    pub(crate) stats: GrnStats,
    /// The patches whose tokens come out; all of them without.
    pub(crate) selected: Option<&'a Rows>,
    /// Factor `[N, 1, 1]` on the residual branch.
    pub(crate) drop_path: Option<Tensor<3>>,
}

/// A block on tokens `[N, T, C]`.
pub(crate) fn block(
    compute: Compute,
    x: Tensor<3>,
    spec: BlockSpec,
    weights: impl FnOnce() -> Weights,
    definition: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    let device = x.device();
    match compute.engine(&device) {
        Engine::Slices if spec.act == Activation::Gelu => match kernel_batch(&spec) {
            Some(batch) => kernel_ops::block(x, weights(), batch),
            // Hidden sites that exist are more than the kernels know.
            None => definition(x),
        },
        Engine::Aten(precision) if spec.act == Activation::Gelu => {
            let BlockSpec { sites, stats, selected, drop_path, .. } = spec;
            aten::block(x, weights(), aten::spec(sites, stats, selected, drop_path, precision, &device))
        }
        _ => definition(x),
    }
}

/// What our kernels need to know of the batch, if they can compute the block.
fn kernel_batch(spec: &BlockSpec) -> Option<Batch> {
    let statistics = match spec.stats {
        GrnStats::Sample => Statistics::Sample,
        GrnStats::Batch => Statistics::Batch,
    };
    let batch = spec.sites.kernel_batch(statistics)?;
    let selected = spec.selected.map(|keep| keep.host().to_vec());
    let branch_scale = spec.drop_path.clone().map(kernel_ops::host_values);
    Some(Batch { selected, branch_scale, ..batch })
}

/// A convolution without overlap, window by window: tokens or a map → `[N, T, out]`.
pub(crate) fn strided_conv<const D: usize>(
    compute: Compute,
    x: Tensor<D>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    windows: impl FnOnce() -> Windows,
    definition: impl FnOnce(Tensor<D>) -> Tensor<3>,
) -> Tensor<3> {
    match compute.engine(&x.device()) {
        Engine::Slices => kernel_ops::strided_conv(x, weight, bias, windows()),
        Engine::Aten(_) | Engine::Tensors => definition(x),
    }
}

/// `[…, in]` → `[…, out]` by a weight `[out, in]`.
pub(crate) fn linear(compute: Compute, x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    match compute.engine(&x.device()) {
        Engine::Aten(precision) => aten::linear(x, weight, bias, precision),
        Engine::Slices | Engine::Tensors => module::linear(x, weight.transpose(), Some(bias)),
    }
}

/// LayerNorm over the last dimension.
pub(crate) fn layer_norm<const D: usize>(
    compute: Compute,
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    match compute.engine(&x.device()) {
        Engine::Slices => kernel_ops::layer_norm(x, weight, bias, epsilon),
        Engine::Aten(_) => aten::layer_norm(x, weight, bias, epsilon),
        Engine::Tensors => module::layer_norm(x, weight, Some(bias), epsilon),
    }
}
