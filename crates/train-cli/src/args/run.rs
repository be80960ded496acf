//! Arguments of the commands that train.

use std::path::PathBuf;

use checkpoint::Allow;
use clap::Args;

use super::shared::{DeviceArgs, KeyArgs, positive};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The experiment: a file, or a configuration that the program brings (`train-cli configs list`).
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) config: PathBuf,
    /// Images: a folder, a table that lists them (.csv, .tsv, .jsonl), tar shards, Parquet
    /// files, or a CIFAR or MNIST data set [overrides data.path].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where checkpoints, logs and pictures go [default: runs/NAME-OF-CONFIG].
    #[arg(long, value_name = "DIR", env = "TRAIN_CLI_RUN_DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Replace the run that the directory holds; files that no run writes stay.
    #[arg(long, conflicts_with = "resume")]
    pub(crate) overwrite: bool,
    /// Continue a run: `auto` for the newest checkpoint of the run directory, from the start if there
    /// is none yet; or a checkpoint. Its weights come before those of --init.
    #[arg(long, value_name = "auto|CHECKPOINT")]
    pub(crate) resume: Option<String>,
    /// Continue although images are new, gone or changed since the run began.
    #[arg(long, requires = "resume")]
    pub(crate) allow_changed_data: bool,
    /// Start from the weights of a checkpoint, with a fresh optimizer and at step 0; `none` for
    /// fresh weights.
    #[arg(long, value_name = "CHECKPOINT|none")]
    pub(crate) init: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    /// Override a setting, as in the configuration file.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Let gradients of several GPUs go through the memory of the host where the program was built without
    /// NCCL; many times slower. Gradients of processors go there anyway.
    #[arg(long)]
    pub(crate) allow_gloo_for_cuda: bool,
    /// Print the plan and stop.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the plan and, at the end, the results as a line of JSON each (docs/json.md).
    #[arg(long)]
    pub(crate) json: bool,
    /// Full-screen dashboard instead of a progress bar.
    #[arg(long, conflicts_with = "json")]
    pub(crate) tui: bool,
    // Last: its heading is for all behind it.
    #[command(flatten)]
    pub(crate) shortcuts: Shortcuts,
}

/// Settings that have a flag of their own.
#[derive(Debug, Args)]
#[command(next_help_heading = "Shortcuts for --set")]
pub(crate) struct Shortcuts {
    /// Peak learning rate (optim.lr).
    #[arg(long, value_name = "RATE")]
    lr: Option<f64>,
    /// Images of a process in one forward pass (train.batch_size).
    #[arg(long, value_name = "N")]
    batch_size: Option<u64>,
    /// Passes over the data (train.epochs).
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Threads that decode and augment (data.workers).
    #[arg(long, value_name = "N")]
    workers: Option<u64>,
    /// What every random choice depends on (seed).
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Shortcuts {
    /// Flag, key and value of each that is given.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, &'static str, String)> {
        let whole = |number: Option<u64>| number.map(|number| number.to_string());
        let all = [
            ("--lr", "optim.lr", self.lr.map(|rate| format!("{rate:?}"))),
            ("--batch-size", "train.batch_size", whole(self.batch_size)),
            ("--epochs", "train.epochs", whole(self.epochs)),
            ("--workers", "data.workers", whole(self.workers)),
            ("--seed", "seed", whole(self.seed)),
        ];
        all.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value?)))
    }
}

/// Which differences between a checkpoint and the network it is for are no errors.
#[derive(Debug, Args)]
pub(crate) struct AllowArgs {
    /// Tensors that the checkpoint need not have; they start fresh. `*` stands for any characters.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) allow_missing: Vec<String>,
    /// Tensors of the checkpoint that may be left out. `*` stands for any characters.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) allow_unused: Vec<String>,
}

impl AllowArgs {
    pub(crate) fn patterns(&self) -> Allow {
        Allow { missing: self.allow_missing.clone(), unused: self.allow_unused.clone() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// Processes on this machine, one a device.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) nproc: usize,
    /// Machines; this command is started on each of them.
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = positive)]
    pub(crate) nnodes: usize,
    /// Which of them this is, from 0.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) node_rank: usize,
    /// Address of machine 0 [default: this machine].
    #[arg(long, value_name = "HOST")]
    pub(crate) master_addr: Option<String>,
    /// A free port of machine 0 [default: any].
    #[arg(long, value_name = "PORT")]
    pub(crate) master_port: Option<u16>,
    /// Starts all again after a failure, so many times; training then goes on from its newest
    /// checkpoint, as with `--resume auto`.
    #[arg(long, value_name = "R", default_value_t = 0)]
    pub(crate) max_restarts: u64,
    /// Each restart comes back with fewer processes, the next number that divides --nproc, down to this: for
    /// machines that lose a GPU. Updates keep their images.
    #[arg(long, value_name = "N", requires = "max_restarts")]
    pub(crate) min_nproc: Option<usize>,
    /// The command and its arguments, after `--`.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}
