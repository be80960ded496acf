//! The processes that a command runs on.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Result, ensure};
use data::Shard;
use distributed::{Communicator, Environment, Gradients, connect};

use host::DeviceName;
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
    pub(crate) fn enter<T>(gradients: Gradients, command: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let environment = Environment::read()?;
        let communicator = connect(&environment, gradients)?;
        let world = Self { communicator, local_rank: environment.local_rank };
        let result = command(&world);
        if let Err(error) = &result {
            world.fail(&format!("{error:#}"));
        }
        result
    }

    /// Runs a command that one process does by itself, whatever job it is in: the end of a batch script, say.
    /// `what` is done, for the message to several processes of `launch`, each of which would do it.
    pub(crate) fn alone<T>(what: &str, command: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let launched = std::env::var("WORLD_SIZE").is_ok_and(|count| count.trim() != "1");
        ensure!(!launched, "{what} by one process; start it without launch");
        command(&Self { communicator: Arc::new(distributed::Single), local_rank: 0 })
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
