//! The ConvNeXt V2 block as a few passes over memory, forward and backward.
//!
//! Slices in, slices out; no tensors, no autodiff. Tokens are `[samples, tokens, channels]` in
//! row-major order. Instructions are chosen at run time ([`Arch`]); every kernel has a naive
//! counterpart that its tests compare it with, on the best instructions and on none.

pub mod block;
pub mod buffer;
pub mod dwconv7;
pub mod few_rows;
pub mod gelu;
pub mod gemm;
pub mod grn;
pub mod layer_norm;
pub mod memory;
pub mod patch_loss;
pub mod strided_conv;
#[cfg(test)]
mod testing;

/// The instruction set to use; `Arch::new()` detects the best one.
pub use pulp::Arch;

/// Runs something on one of rayon's threads, so that the parallel passes within need not wake one
/// up each time they begin. For a whole step: hundreds of passes of some microseconds each.
pub fn on_pool<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| run())
}

/// Runs a loop compiled for the chosen instruction set.
macro_rules! dispatch {
    ($arch:expr, $body:expr) => {
        $arch.dispatch(
            #[inline(always)]
            || $body,
        )
    };
}
pub(crate) use dispatch;
