//! Tensors whose values lie in this machine's memory, seen as slices whatever backend holds them.
//!
//! Our kernels work on slices. [`HostBackend`] gives them the memory of Flex and of libtorch on the
//! CPU alike, so that each operation is bound to Burn once.

mod backend;
mod tensor;

#[cfg(feature = "tch")]
mod libtorch;

#[cfg(feature = "tch")]
pub use crate::libtorch::{cuda_devices, prepare_cuda, set_threads};
pub use backend::HostBackend;
pub use tensor::{HostTensor, is_on_host};
