//! From the environment to a communicator.

use std::sync::Arc;

use crate::communicator::Communicator;
use crate::environment::Environment;
use crate::error::DistributedError;
use crate::single::Single;

/// Finds the other processes of the job, if there are any. `cuda`: gradients are on CUDA devices.
///
/// # Errors
/// Rank 0 cannot be reached, other ranks do not come, or this build knows one process only.
pub fn connect(environment: &Environment, cuda: bool) -> Result<Arc<dyn Communicator>, DistributedError> {
    if environment.world_size == 1 {
        return Ok(Arc::new(Single));
    }
    several(environment, cuda)
}

#[cfg(feature = "tch")]
fn several(environment: &Environment, cuda: bool) -> Result<Arc<dyn Communicator>, DistributedError> {
    Ok(Arc::new(crate::c10d::ProcessGroup::open(environment, cuda)?))
}

#[cfg(not(feature = "tch"))]
fn several(environment: &Environment, _cuda: bool) -> Result<Arc<dyn Communicator>, DistributedError> {
    Err(DistributedError::NotBuilt(environment.world_size))
}

#[cfg(all(test, not(feature = "tch")))]
mod tests {
    use super::*;

    #[test]
    fn a_build_for_one_process_says_so() {
        let two = Environment { world_size: 2, ..Environment::single() };
        let message = connect(&two, false).err().unwrap().to_string();
        assert!(message.contains("--features tch"), "{message}");
        assert_eq!(connect(&Environment::single(), false).unwrap().world_size(), 1);
    }
}
