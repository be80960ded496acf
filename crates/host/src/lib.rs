//! Tensors whose values lie in this machine's memory, seen as slices whatever backend holds them.
//!
//! Our kernels work on slices. [`HostBackend`] gives them the memory of Flex and of libtorch on the
//! CPU alike, so that each operation is bound to Burn once. What tch lacks of libtorch is here as well.

mod arena;
mod backend;
mod device_name;
mod failure;
mod gpu_memory;
pub mod gradient;
mod lists;
mod machine;
mod operations;
mod peak;
mod place;
mod precision;
mod tensor;
mod tf32;
mod upload;

#[cfg_attr(not(feature = "tch"), path = "no_libtorch.rs")]
pub mod libtorch;

pub use arena::{Arena, At, Uploaded};
pub use backend::HostBackend;
pub use device_name::{DeviceError, DeviceName};
pub use failure::{DeviceFailure, Trouble, caught};
pub use gpu_memory::GpuMemory;
pub use lists::Lists;
pub use machine::Machine;
pub use operations::Operations;
pub use peak::product_gflops;
pub use place::compute_on;
pub use precision::Precision;
pub use tensor::{HostTensor, is_libtorch, is_on_host, processors};
pub use tf32::{Tf32Error, follow_tf32, set_tf32};
pub use upload::{floats, indices};
