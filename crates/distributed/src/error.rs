//! Why processes cannot work together.

/// Why processes cannot work together.
#[derive(Debug, thiserror::Error)]
pub enum DistributedError {
    /// A variable of the environment is missing or wrong.
    #[error("{variable} {reason}")]
    Environment {
        /// Name of the variable.
        variable: &'static str,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Several processes, but a program for one.
    #[error(
        "WORLD_SIZE is {0}, but this program was built for one process; several need libtorch: \
         build it with --features tch (README.md says how)"
    )]
    NotBuilt(usize),
    /// Several processes with GPUs, but no NCCL.
    #[error(
        "gradients of a group of {0} are on GPUs, but this program was built without NCCL, which adds them up: \
         scripts/setup_libtorch.sh --cuda, then build again with --features tch (docs/distributed.md). With \
         --allow-gloo-for-cuda they go through the memory of the host, which is many times slower"
    )]
    NoNccl(usize),
    /// Rank 0 cannot be reached.
    #[error(
        "rank 0 cannot be reached at {address} within {seconds} s ({reason}); is it running there, \
         and is the port open?"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// How long was tried.
        seconds: f64,
        /// The reason that libtorch gives.
        reason: String,
    },
    /// Rank 0 cannot listen.
    #[error("cannot listen at {address} ({reason}); is another job there? Choose another MASTER_PORT")]
    Listen {
        /// Host and port.
        address: String,
        /// The reason that libtorch gives.
        reason: String,
    },
    /// Some ranks have not come.
    #[error("{} did not come to {address} within {seconds} s; were all {world_size} processes started?", ranks(.missing))]
    Missing {
        /// Those ranks.
        missing: Vec<usize>,
        /// Host and port of rank 0.
        address: String,
        /// How long was waited.
        seconds: f64,
        /// Number of processes.
        world_size: usize,
    },
    /// The connections between ranks cannot be made.
    #[error("the ranks cannot connect to each other: {0}")]
    Connect(String),
    /// Other ranks have ended or hang.
    #[error("{0}")]
    Lost(String),
    /// Ranks send what does not belong together.
    #[error("the ranks disagree: are all of the same program, with the same arguments?")]
    Disagreement,
    /// Something was added to a gradient that was under way.
    #[error(
        "a parameter was used more often in this update than in the first; several processes can only train \
         networks that use each as often in every update"
    )]
    Incomplete,
}

/// `rank 1`, or `ranks 1, 3`.
pub(crate) fn ranks(ranks: &[usize]) -> String {
    let list: Vec<_> = ranks.iter().map(usize::to_string).collect();
    format!("rank{} {}", if list.len() == 1 { "" } else { "s" }, list.join(", "))
}
