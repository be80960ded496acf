//! Checkpoints: state dictionaries, safetensors in (mapped into memory) and out (streamed), the run
//! directory, and what a checkpoint says of its network.
//!
//! A [`RunDir`] holds checkpoints, each a folder that [`write_checkpoint`] makes complete or not at all.
//! [`Checkpoint::open`] reads one back: its [`StateDict`] and its [`Recipe`]. Knows no model, no loop
//! and no display.

mod allow;
mod checkpoint;
mod digest;
mod entry;
mod error;
mod files;
mod folder;
mod load_report;
mod lock;
mod parameter_names;
mod recipe;
mod run_dir;
mod safetensors_file;
mod state_dict;
mod state_dict_error;
mod stem;
#[cfg(test)]
mod testing;

pub use allow::Allow;
pub use checkpoint::Checkpoint;
pub use entry::Entry;
pub use error::{BoxError, CheckpointError};
pub use files::{CONFIG_FILE, EMA_FILE, HEALTH_PENDING_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE};
pub use folder::{
    Best, Pace, Position, RunState, Split, copy_best, read_state, verify_checkpoint, write_best,
    write_checkpoint,
};
pub use load_report::LoadReport;
pub use lock::RunLock;
pub use parameter_names::ParameterNames;
pub use recipe::Recipe;
pub use run_dir::{REPORT_FILE, RunDir};
pub use state_dict::StateDict;
pub use state_dict_error::StateDictError;
