//! Tensors whose values lie in this machine's memory, seen as slices whatever backend holds them.
//!
//! Our kernels work on slices. [`HostBackend`] gives them the memory of Flex and of libtorch on the
//! CPU alike, so that each operation is bound to Burn once. What tch lacks of libtorch is here as well.

mod backend;
mod device_name;
pub mod gradient;
mod lists;
mod machine;
mod operations;
mod precision;
mod tensor;
mod upload;

#[cfg_attr(not(feature = "tch"), path = "no_libtorch.rs")]
pub mod libtorch;

pub use backend::HostBackend;
pub use device_name::{DeviceError, DeviceName};
pub use lists::Lists;
pub use machine::Machine;
pub use operations::Operations;
pub use precision::Precision;
pub use tensor::{HostTensor, is_libtorch, is_on_host, processors};
pub use upload::{floats, indices, intensities};
