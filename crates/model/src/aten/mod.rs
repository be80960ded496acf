//! The network on libtorch's own kernels (ATen): what runs on a GPU.
//!
//! A block is one operation of Burn's autodiff, with a handwritten backward pass out of native ATen
//! operations: Burn's graph of single operations would run hundreds of them and keep every
//! intermediate result. The same code runs on libtorch's CPU, where the tests compare it with
//! PyTorch; `model.kernels = "aten"` chooses it there.
//!
//! In bf16 the convolutions, LayerNorm, linear layers and GELU of a block compute in bf16; weights,
//! residual sums, GRN's statistics, other norms, the classifier and the loss stay in f32.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

mod block;
mod gradient;
mod grn;
mod layer_norm;
mod layout;
mod linear;
mod strided_conv;

use burn::backend::libtorch::TchTensor;
use burn::tensor::{Device, Tensor};
use host::Precision;
use tch::Kind;

use crate::grn_stats::GrnStats;
use crate::map_rows::index;
use crate::sites::{Rows, Sites};
use layout::{Layout, primitive};
use strided_conv::Windows;

pub(crate) use block::Block;
pub(crate) use layer_norm::LayerNorm;
pub(crate) use linear::Linear;
pub(crate) use strided_conv::StridedConv;

/// A block on these sites.
pub(crate) fn block(
    sites: &Sites,
    stats: GrnStats,
    selected: Option<&Rows>,
    drop_path: Option<Tensor<3>>,
    precision: Precision,
    device: &Device,
) -> Block {
    let selected = selected.map(|keep| {
        let rows = index(keep.token_indices(sites.patch_sites()));
        TchTensor::new(rows.tensor.view([sites.samples() as i64, -1]))
    });
    let layout = Layout::of(sites.token_layout(device));
    Block { layout, stats, kind: kind(precision), selected, branch_scale: drop_path.map(primitive) }
}

/// The convolution of the k×k windows of tokens.
pub(crate) fn conv_of_tokens(sites: &Sites, kernel: usize, precision: Precision) -> StridedConv {
    let (samples, [height, width]) = (sites.samples() as i64, signed(sites.patch()));
    // The tokens of a patch lie row by row, so that each is a map.
    let windows = Windows::Tokens { map: [samples * sites.present() as i64, height, width], samples };
    StridedConv { windows, kernel: kernel as i64, kind: kind(precision) }
}

/// The convolution of the k×k windows of a map, at sites that exist.
pub(crate) fn conv_of_map(sites: &Sites, kernel: usize, precision: Precision) -> StridedConv {
    let windows = match sites.grid() {
        [1, 1] => Windows::Map,
        grid => Windows::Patches {
            samples: sites.samples() as i64,
            grid: signed(grid),
            patch: signed(sites.patch()),
            picked: sites.present_patches().map(index),
        },
    };
    StridedConv { windows, kernel: kernel as i64, kind: kind(precision) }
}

fn signed(sizes: [usize; 2]) -> [i64; 2] {
    sizes.map(|size| size as i64)
}

/// The numbers of a precision in libtorch.
fn kind(precision: Precision) -> Kind {
    match precision {
        Precision::F32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
    }
}

/// A tensor in another kind; nothing is asked of libtorch where it has it already.
fn cast(tensor: &tch::Tensor, kind: Kind) -> tch::Tensor {
    match tensor.kind() == kind {
        true => tensor.shallow_clone(),
        false => tensor.to_dtype(kind, false, false),
    }
}
