//! Which engine computes: the one place that chooses, for blocks, convolutions and norms.
//!
//! Each operation comes with its definition in tensor operations. Our kernels or libtorch's compute the
//! same as one node of Burn's autodiff where they can; elsewhere the definition itself runs.

use burn::tensor::{Tensor, module};
use kernels::block::{Batch, Statistics};
use kernels::strided_conv::Order;

use crate::activation::Activation;
use crate::aten;
use crate::block_weights::BlockWeights as Weights;
use crate::engine::{Compute, Engine};
use crate::grn_stats::GrnStats;
use crate::nodes::{self, Either, slices};
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
            Some(batch) => {
                nodes::block(x, weights(), Either::Slices(slices::Block(batch)), compute.recompute)
            }
            // Hidden sites that exist are more than the kernels know.
            None => definition(x),
        },
        Engine::Aten(precision) if spec.act == Activation::Gelu => {
            let BlockSpec { sites, stats, selected, drop_path, .. } = spec;
            let operation = aten::block(sites, stats, selected, drop_path, precision, &device);
            nodes::block(x, weights(), Either::Aten(operation), compute.recompute)
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
    let branch_scale = spec.drop_path.clone().map(host_values);
    Some(Batch { selected, branch_scale, ..batch })
}

/// The values of a small tensor.
fn host_values(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32 data")
}

/// A convolution without overlap of k×k windows, on tokens `[N, T, in]` at `sites` → `[N, T / k², out]`.
pub(crate) fn strided_conv(
    compute: Compute,
    x: Tensor<3>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    sites: &Sites,
    definition: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    let [_, inputs, kernel, _] = weight.dims();
    let operation = match compute.engine(&x.device()) {
        Engine::Slices => {
            Either::Slices(slices::StridedConv(sites.kernel_windows(inputs, kernel, Order::Tokens)))
        }
        Engine::Aten(precision) => Either::Aten(aten::conv_of_tokens(sites, kernel, precision)),
        Engine::Tensors => return definition(x),
    };
    nodes::strided_conv(x, weight, bias, operation)
}

/// The same on a map `[N, in, H, W]`, of which `sites` are looked at.
pub(crate) fn strided_conv_of_map(
    compute: Compute,
    map: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    sites: &Sites,
    definition: impl FnOnce(Tensor<4>) -> Tensor<3>,
) -> Tensor<3> {
    let [_, inputs, kernel, _] = weight.dims();
    let operation = match compute.engine(&map.device()) {
        Engine::Slices => {
            Either::Slices(slices::StridedConv(sites.kernel_windows(inputs, kernel, Order::Map)))
        }
        Engine::Aten(precision) => Either::Aten(aten::conv_of_map(sites, kernel, precision)),
        Engine::Tensors => return definition(map),
    };
    nodes::strided_conv(map, weight, bias, operation)
}

/// `[…, in]` → `[…, out]` by a weight `[out, in]`, in f32.
pub(crate) fn linear<const D: usize>(
    compute: Compute,
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<D> {
    match compute.engine(&x.device()) {
        Engine::Aten(_) => nodes::linear(x, weight, bias, Either::Aten(aten::Linear)),
        Engine::Slices | Engine::Tensors => module::linear(x, weight.transpose(), Some(bias)),
    }
}

/// LayerNorm over the last dimension, in f32.
pub(crate) fn layer_norm<const D: usize>(
    compute: Compute,
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let operation = match compute.engine(&x.device()) {
        Engine::Slices => Either::Slices(slices::LayerNorm { epsilon }),
        Engine::Aten(_) => Either::Aten(aten::LayerNorm { epsilon }),
        Engine::Tensors => return module::layer_norm(x, weight, Some(bias), epsilon),
    };
    nodes::layer_norm(x, weight, bias, operation)
}
