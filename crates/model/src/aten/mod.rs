//! The network on libtorch's own kernels (ATen): what runs on a GPU.
//!
//! A block is one operation of Burn's autodiff, with a handwritten backward pass out of native ATen
//! operations: Burn's graph of single operations would run hundreds of them and keep every
//! intermediate result. The same code runs on libtorch's CPU, where the tests compare it with
//! PyTorch; `model.kernels = "aten"` chooses it there.
//!
//! In bf16 the convolution, LayerNorm, linear layers and GELU of a block compute in bf16; weights,
//! residual sums, GRN's statistics, other norms and the loss stay in f32.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

mod block;
mod layout;
mod linear;
mod node;

use burn::tensor::{Device, Tensor};
use host::Precision;
use tch::Kind;

use crate::block_weights::BlockWeights;
use crate::grn_stats::GrnStats;
use crate::map_rows::index;
use crate::sites::{Rows, Sites};
use layout::{Layout, primitive};

pub(crate) use block::Spec;
pub(crate) use node::layer_norm;

/// What a block does on these sites beside its weights.
pub(crate) fn spec(
    sites: &Sites,
    stats: GrnStats,
    selected: Option<&Rows>,
    drop_path: Option<Tensor<3>>,
    precision: Precision,
    device: &Device,
) -> Spec {
    let selected = selected.map(|keep| index(keep.token_indices(sites.patch_sites())));
    let layout = Layout::of(sites.token_layout(device));
    Spec { layout, stats, kind: kind(precision), selected, branch_scale: drop_path.map(primitive) }
}

/// Tokens `[N, T, C]` through a block.
pub(crate) fn block(x: Tensor<3>, weights: BlockWeights, spec: Spec) -> Tensor<3> {
    node::block(x, weights, spec)
}

/// `[…, in]` → `[…, out]` by a weight `[out, in]`.
pub(crate) fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>, precision: Precision) -> Tensor<3> {
    node::linear(x, weight, bias, kind(precision))
}

/// The numbers of a precision in libtorch.
fn kind(precision: Precision) -> Kind {
    match precision {
        Precision::F32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
    }
}
