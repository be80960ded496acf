//! Training: the length of a run, one update, and the loop with what is due when; parameter groups,
//! schedule, AdamW, moving average, logs.
//!
//! An [`Experiment`] says what an objective brings, and [`Run`] trains it: `examples/own_objective.rs`
//! is one from first line to last. Of the loop itself, [`Plan`] is the length of a run, [`State`] what
//! an update changes, and [`Trainer::run`] the loop. It knows no model, and of data only the loader.
#![doc = "\n```no_run"]
#![doc = include_str!("../examples/own_objective.rs")]
#![doc = "```"]

mod adamw;
mod appended;
mod broadcast;
mod continuation;
mod curves;
mod deferred;
mod elastic;
mod ema;
mod error;
mod evaluation;
mod experiment;
mod gradients;
mod groups;
pub mod health;
mod images;
mod interval;
mod log;
mod machine;
mod memory;
mod non_finite;
mod number;
mod objective;
mod outlook;
mod plan;
mod progress;
mod reducer;
mod results;
mod run;
mod run_directory;
mod saving;
mod schedule;
mod sections;
mod snapshot;
mod spike;
mod start;
mod stop;
mod summary;
mod tensor_list;
#[cfg(test)]
mod testing;
mod train;
mod trial;
mod tune;
mod update;
mod upload;
mod watchdog;

pub use crate::sections::{LogConfig, OptimConfig, TrainConfig};
pub use adamw::{AdamW, AdamWConfig, OptimizerStateError, load_optimizer, save_optimizer};
pub use curves::{History, draw_curves, draw_runs};
pub use deferred::Deferred;
pub use ema::{Ema, EmaDecay};
pub use error::{NotFiniteUpdate, TrainError};
pub use evaluation::EvaluationPlan;
pub use experiment::{
    Context, Cost, Data, Experiment, Fit, Input, Memory, Network, NotCounted, Settings, Weights,
};
pub use gradients::Gradients;
pub use groups::{ParameterGroup, ParameterRule, decays, parameter_groups};
pub use health::{HealthConfig, HealthPlan};
pub use log::RunLog;
pub use machine::{MACHINE_FILE, RunMachine};
pub use memory::peak_rss_mib;
pub use non_finite::NotFinite;
pub use number::{readable, readable_speed};
pub use objective::{BoxError, Evaluation, Objective, Picture};
pub use outlook::Outlook;
pub use plan::Plan;
pub use progress::{Bar, Progress, ProgressKind, Screen, StepReport, Unit, progress};
pub use results::{BestNetwork, Ending, RESULTS_FILE, Results};
pub use run::{Run, Trained, Training};
pub use run_directory::Resume;
pub use saving::Beginning;
pub use schedule::CosineSchedule;
pub use spike::{OnSpike, Spike};
pub use start::{Init, ReadCheckpoint, Start};
pub use stop::StopSignal;
pub use summary::Summary;
pub use train::{Outcome, Trainer};
pub use tune::{BatchSizes, BatchTrial, RateRange, RateTrial, suggested_rate};
pub use update::State;
pub use upload::{Images, ImagesAt};
pub use watchdog::BatchesWaitFor;
