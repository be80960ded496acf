//! Stands in for libtorch's operations in builds without libtorch, where no engine is
//! [`Aten`](crate::engine::Engine::Aten) and nothing of this is ever called.

use burn::tensor::{Device, Tensor};
use host::Precision;

use crate::grn_stats::GrnStats;
use crate::sites::{Rows, Sites};

/// Never made.
#[derive(Debug)]
pub(crate) struct Block;

/// Never made.
#[derive(Debug)]
pub(crate) struct StridedConv;

/// Never made.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    #[allow(dead_code, reason = "only libtorch reads it")]
    pub(crate) epsilon: f64,
}

/// Never made.
#[derive(Debug)]
pub(crate) struct Linear;

pub(crate) fn block(
    sites: &Sites,
    _stats: GrnStats,
    selected: Option<&Rows>,
    _drop_path: Option<Tensor<3>>,
    _precision: Precision,
    device: &Device,
) -> Block {
    let _ = (sites.token_layout(device), selected.map(|rows| rows.token_indices(sites.patch_sites())));
    Block
}

pub(crate) fn conv_of_tokens(sites: &Sites, _kernel: usize, _precision: Precision) -> StridedConv {
    let _ = (sites.samples(), sites.patch());
    StridedConv
}

pub(crate) fn conv_of_map(sites: &Sites, _kernel: usize, _precision: Precision) -> StridedConv {
    let _ = (sites.grid(), sites.present_patches());
    StridedConv
}
