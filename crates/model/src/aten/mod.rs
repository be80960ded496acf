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

pub(crate) use block::Spec;
pub(crate) use layout::{Layout, MapRows, index, primitive};
pub(crate) use node::{block, layer_norm, linear};

use host::Precision;
use tch::Kind;

/// The numbers of a precision in libtorch.
pub(crate) fn kind(precision: Precision) -> Kind {
    match precision {
        Precision::F32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
    }
}
