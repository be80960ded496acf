//! The training loop and what surrounds it: parameter groups, schedule, AdamW, run directory,
//! checkpoints, logs.
//!
//! Knows no model, no data and no objective; see [`Objective`] for what it asks of them, and
//! [`Trainer::run`] for the loop.

mod adamw;
#[cfg(feature = "tch")]
mod adamw_libtorch;
mod agreement;
mod average;
mod checkpoint;
mod config;
mod ema;
mod engine;
mod error;
mod evaluation;
mod gradients;
mod groups;
mod log;
mod optimizer_state;
mod plot;
mod progress;
mod reading;
mod run_dir;
mod schedule;
mod state_dict;
#[cfg(test)]
mod testing;

pub use adamw::{AdamW, AdamWConfig, Moments};
pub use checkpoint::{RunState, STATE_FILE, read_state, write_checkpoint};
pub use config::{LogConfig, OptimConfig, RangeError, TrainConfig};
pub use ema::Ema;
pub use engine::{EMA_FILE, MODEL_FILE, OPTIMIZER_FILE, Objective, Outcome, Plan, Position, State, Trainer};
pub use error::TrainError;
pub use evaluation::{Best, Evaluation, EvaluationPlan};
pub use gradients::{clip, first_non_finite, global_norm};
pub use groups::{ParameterGroup, ParameterRule, build_optimizer, decays, learning_rates, parameter_groups};
pub use log::{RunLog, peak_rss_mib};
pub use optimizer_state::{OptimizerStateError, load_optimizer, save_optimizer};
pub use plot::{draw_curves, draw_matrix};
pub use progress::{Progress, ProgressKind, StepReport, progress};
pub use reading::Reading;
pub use run_dir::RunDir;
pub use schedule::CosineSchedule;
pub use state_dict::{Entry, LoadReport, StateDict, StateDictError};
