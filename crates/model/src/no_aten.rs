//! Stands in for libtorch's operations in builds without libtorch, where no engine is
//! [`Aten`](crate::engine::Engine::Aten) and nothing of this is ever called.

use burn::tensor::{Device, Tensor};
use host::Precision;

use crate::grn_stats::GrnStats;
use crate::nodes::Never;
use crate::sites::{Rows, Sites};

pub(crate) type Block = Never;
pub(crate) type StridedConv = Never;

/// Never made.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    #[allow(dead_code, reason = "only libtorch reads it")]
    pub(crate) epsilon: f64,
}

/// Never made.
#[derive(Debug)]
pub(crate) struct Linear;

/// Why a function of this module was called.
const NO_LIBTORCH: &str = "builds without libtorch have no device of it";

pub(crate) fn block(
    _sites: &Sites,
    _stats: GrnStats,
    _selected: Option<&Rows>,
    _drop_path: Option<Tensor<3>>,
    _precision: Precision,
    _device: &Device,
) -> Block {
    unreachable!("{NO_LIBTORCH}")
}

pub(crate) fn conv_of_tokens(_sites: &Sites, _kernel: usize, _precision: Precision) -> StridedConv {
    unreachable!("{NO_LIBTORCH}")
}

pub(crate) fn conv_of_map(_sites: &Sites, _kernel: usize, _precision: Precision) -> StridedConv {
    unreachable!("{NO_LIBTORCH}")
}
