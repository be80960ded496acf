//! Names of the files of a checkpoint.

/// Weights.
pub const MODEL_FILE: &str = "model.safetensors";
/// Averaged weights.
pub const EMA_FILE: &str = "ema.safetensors";
/// Moments of the optimizer.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// Where the run stands; the last file of a checkpoint to be written.
pub const STATE_FILE: &str = "state.json";
/// What the last update of a run did, layer by layer, until a look at the run has told it.
pub const HEALTH_PENDING_FILE: &str = "health-pending.json";
/// The run's resolved configuration, copied into each checkpoint so that one can be used by itself.
pub const CONFIG_FILE: &str = "config.toml";
