//! Several processes that train one network.
//!
//! [`Communicator`] is what the rest of the workspace knows: [`Single`] for one process, and, with
//! the feature `tch`, libtorch's process groups (c10d): Gloo for the memory of the host, NCCL for
//! CUDA devices. [`Environment::read`] and [`connect`] take the variables that torchrun, SLURM
//! scripts and Kubernetes operators set: `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`,
//! `MASTER_PORT`.
//!
//! ```
//! use distributed::{Communicator, Single};
//!
//! // What is the mean over all processes is the number itself for one.
//! assert_eq!(Single.mean(&[0.25])?, [0.25]);
//! # Ok::<(), distributed::DistributedError>(())
//! ```

#[cfg(feature = "tch")]
mod c10d;
mod communicator;
mod connect;
mod environment;
mod error;
mod launch;
mod scheduler;
mod signals;
mod single;

pub use communicator::{Bucket, Communicator, Pending};
pub use connect::{Gradients, connect};
pub use environment::Environment;
pub use error::DistributedError;
pub use launch::{Launch, LaunchError, STOPPED};
pub use single::Single;
