//! The processes that a command runs on.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use data::Shard;
use distributed::{Communicator, Environment, Gradients, connect};

use host::{DeviceName, caught};
use trainer::Bar;

use crate::output::{self, detail};

/// This process's place in its job.
pub(crate) struct World {
    communicator: Arc<dyn Communicator>,
    local_rank: usize,
}

impl Deref for World {
    type Target = dyn Communicator;

    fn deref(&self) -> &Self::Target {
        self.communicator.as_ref()
    }
}

impl World {
    /// Runs a command on all processes of the job, if this is one. When one of them fails, it tells
    /// the others why.
    pub(crate) fn enter<T>(
        device: DeviceName,
        gradients: Gradients,
        command: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let environment = Environment::read()?;
        let communicator = connect(&environment, gradients)?;
        let world = Self { communicator, local_rank: environment.local_rank };
        let result = computing(device.for_process(world.local_rank), || command(&world));
        if let Err(error) = &result {
            world.fail(&format!("{error:#}"));
        }
        result
    }

    /// Runs a command that one process does by itself, whatever job it is in: the end of a batch script, say.
    /// `what` is done, for the message to several processes of `launch`, each of which would do it.
    pub(crate) fn alone<T>(
        what: &str,
        device: DeviceName,
        command: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let launched = std::env::var("WORLD_SIZE").is_ok_and(|count| count.trim() != "1");
        ensure!(!launched, "{what} by one process; start it without launch");
        computing(device, || command(&Self { communicator: Arc::new(distributed::Single), local_rank: 0 }))
    }

    /// A handle that outlives the command's stack frame.
    pub(crate) fn communicator(&self) -> Arc<dyn Communicator> {
        Arc::clone(&self.communicator)
    }

    /// This process's part of the data.
    pub(crate) fn shard(&self) -> Shard {
        Shard { rank: self.rank(), world_size: self.world_size() }
    }

    /// A bar for what takes time; rank 0 alone shows one.
    pub(crate) fn bar(&self) -> Bar {
        if self.is_leader() { output::bar() } else { Bar::hidden() }
    }

    /// Which of several equal devices is this process's, counted on its machine.
    pub(crate) fn device(&self, name: DeviceName) -> Result<burn::tensor::Device> {
        let device = name.for_process(self.local_rank).device()?;
        if self.is_leader() {
            detail!("device       {}, {} threads", DeviceName::of(&device), rayon::current_num_threads());
        }
        Ok(device)
    }
}

/// Runs what computes on a device; what libtorch cannot compute there is an error.
pub(crate) fn computing<T>(device: DeviceName, command: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(device, command).unwrap_or_else(|failure| match failure.is_out_of_memory() {
        true => Err(anyhow!(
            "{failure}. Lower --batch-size (train.batch_size in training), or let another program there end first"
        )),
        false => Err(failure.into()),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_of_libtorch_stays_what_it_is() {
        let error = computing(DeviceName::Cpu, || -> Result<()> { Err(anyhow!("no images")) }).unwrap_err();
        assert_eq!(error.to_string(), "no images");
        let panicked =
            std::panic::catch_unwind(|| computing(DeviceName::Cpu, || -> Result<()> { panic!("bug") }));
        assert!(panicked.is_err());
    }

    #[cfg(feature = "tch")]
    #[test]
    fn a_device_without_memory_is_an_error_that_says_what_to_lower() {
        let device = DeviceName::LibTorch.device().unwrap();
        let command = || Ok(burn::tensor::Tensor::<2>::zeros([1 << 25, 1 << 25], &device).dims());
        let error = computing(DeviceName::LibTorch, command).unwrap_err().to_string();
        assert!(
            error.starts_with("libtorch is out of memory: 4294967296 MiB could not be had. Lower"),
            "{error}"
        );
        assert!(error.contains("--batch-size") && !error.contains('\n'), "{error}");
    }
}
