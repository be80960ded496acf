//! From the environment to a communicator.

use std::sync::Arc;

use crate::communicator::Communicator;
use crate::environment::Environment;
use crate::error::DistributedError;
use crate::single::Single;

/// Where the gradients are that the processes of a job add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradients {
    /// In the memory of the host, or there are none: Gloo.
    OnHost,
    /// On CUDA devices: NCCL.
    OnCuda {
        /// A build without NCCL may take them through the memory of the host.
        allow_gloo: bool,
    },
}

/// Finds the other processes of the job, if there are any.
///
/// # Errors
/// Rank 0 cannot be reached, other ranks do not come, this build knows one process only, or it has no
/// NCCL for gradients on CUDA devices.
pub fn connect(
    environment: &Environment,
    gradients: Gradients,
) -> Result<Arc<dyn Communicator>, DistributedError> {
    if environment.world_size == 1 && !environment.group_of_one {
        return Ok(Arc::new(Single));
    }
    group(environment, gradients)
}

#[cfg(feature = "tch")]
fn group(environment: &Environment, gradients: Gradients) -> Result<Arc<dyn Communicator>, DistributedError> {
    let nccl = gradients.need_nccl(crate::c10d::has_nccl(), environment.world_size)?;
    Ok(Arc::new(crate::c10d::ProcessGroup::open(environment, nccl)?))
}

#[cfg(not(feature = "tch"))]
fn group(
    environment: &Environment,
    _gradients: Gradients,
) -> Result<Arc<dyn Communicator>, DistributedError> {
    Err(DistributedError::NotBuilt(environment.world_size))
}

#[cfg(feature = "tch")]
impl Gradients {
    /// Whether a job opens NCCL, in a build that has it or not.
    fn need_nccl(self, has_nccl: bool, world_size: usize) -> Result<bool, DistributedError> {
        match self {
            Self::OnHost => Ok(false),
            Self::OnCuda { allow_gloo: false } if !has_nccl => Err(DistributedError::NoNccl(world_size)),
            Self::OnCuda { .. } => Ok(has_nccl),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "tch")]
    #[test]
    fn gradients_of_gpus_need_nccl_unless_gloo_is_allowed() {
        let cuda = |allow_gloo| Gradients::OnCuda { allow_gloo };
        let message = cuda(false).need_nccl(false, 8).unwrap_err().to_string();
        for part in ["group of 8", "scripts/setup_libtorch.sh --cuda", "--allow-gloo-for-cuda"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(!cuda(true).need_nccl(false, 8).unwrap());
        for allow_gloo in [false, true] {
            assert!(cuda(allow_gloo).need_nccl(true, 8).unwrap());
        }
        for has_nccl in [false, true] {
            assert!(!Gradients::OnHost.need_nccl(has_nccl, 8).unwrap());
        }
    }

    #[cfg(not(feature = "tch"))]
    #[test]
    fn a_build_for_one_process_says_so() {
        let two = Environment { world_size: 2, ..Environment::single() };
        let message = connect(&two, Gradients::OnHost).err().unwrap().to_string();
        assert!(message.contains("--features tch"), "{message}");
        let alone = connect(&Environment::single(), Gradients::OnCuda { allow_gloo: false }).unwrap();
        assert_eq!(alone.world_size(), 1);
    }
}
