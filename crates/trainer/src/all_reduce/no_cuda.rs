//! Stands in for CUDA in builds without libtorch.

use burn::module::Module;
use burn::optim::GradientsParams;
use distributed::{Communicator, DistributedError};

/// Never: such a build has no CUDA devices.
pub(super) fn is_on_cuda<M: Module>(_module: &M) -> bool {
    false
}

/// Never called, see [`is_on_cuda`].
pub(super) fn all_reduce<M: Module>(
    _module: &M,
    _gradients: &mut GradientsParams,
    _communicator: &dyn Communicator,
    _size: usize,
) -> Result<(), DistributedError> {
    Ok(())
}
