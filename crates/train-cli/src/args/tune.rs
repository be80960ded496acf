//! Arguments of the commands that find settings.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::shared::{DeviceArgs, png, positive};

#[derive(Debug, Subcommand)]
pub(crate) enum TuneArgs {
    /// A range test of learning rates: a short training with rising rates, its curve, and the rate at which
    /// the loss falls fastest.
    #[command(after_help = "Examples:
  train-cli tune lr --config configs/quickstart.toml
  train-cli tune lr --config custom --data ~/photos --init runs/pretrained --out rates.png")]
    Lr(TuneLrArgs),
    /// Steps with larger and larger batches: their speed and memory, and the largest that fits.
    #[command(after_help = "Examples:
  train-cli tune batch --config configs/quickstart.toml
  train-cli tune batch --config fcmae_atto --data ~/photos --json")]
    Batch(TuneBatchArgs),
}

/// The experiment that is tried.
#[derive(Debug, Args)]
pub(crate) struct TriedArgs {
    /// The experiment: a file, or a configuration that the program brings (`train-cli configs list`).
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) config: PathBuf,
    /// Images [overrides data.path].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Start from the weights of a checkpoint; `none` for fresh ones.
    #[arg(long, value_name = "CHECKPOINT|none")]
    pub(crate) init: Option<PathBuf>,
    /// Override a setting, as in the configuration file.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Print one line of JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TuneLrArgs {
    #[command(flatten)]
    pub(crate) tried: TriedArgs,
    /// The rate of the first update.
    #[arg(long, value_name = "RATE", default_value_t = 1e-6)]
    pub(crate) from: f64,
    /// The rate of the last update.
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    pub(crate) to: f64,
    /// Updates.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = positive)]
    pub(crate) steps: usize,
    /// The picture of the losses.
    #[arg(long, value_name = "FILE.png", default_value = "learning_rates.png", value_parser = png)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct TuneBatchArgs {
    #[command(flatten)]
    pub(crate) tried: TriedArgs,
}
