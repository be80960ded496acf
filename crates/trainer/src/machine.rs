//! `machine.json`: what a run is computed on.

use checkpoint::RunDir;
use host::Machine;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::experiment::Context;

/// The file of a run directory that says what the run is computed on; of a run that went on elsewhere, on what
/// it was computed last.
pub const MACHINE_FILE: &str = "machine.json";

/// What a run is computed on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunMachine {
    /// The machine of rank 0.
    #[serde(flatten)]
    pub machine: Machine,
    /// Processes that train together.
    pub processes: usize,
    /// Version of the program.
    pub version: String,
}

/// Writes down what a run is computed on, on rank 0.
pub(crate) fn record(run: &RunDir, context: &Context) -> Result<(), TrainError> {
    if !context.communicator.is_leader() {
        return Ok(());
    }
    let this = RunMachine {
        machine: Machine::here(&context.device, rayon::current_num_threads()),
        processes: context.communicator.world_size(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let text = serde_json::to_string(&this)
        .map_err(|error| TrainError::io("write", &run.path().join(MACHINE_FILE))(error.into()))?;
    Ok(run.write(MACHINE_FILE, (text + "\n").as_bytes())?)
}
