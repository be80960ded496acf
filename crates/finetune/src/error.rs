//! Why a network cannot be fine-tuned or used.

use std::path::PathBuf;

use checkpoint::{CheckpointError, StateDictError};
use config::SettingError;
use data::DataError;
use distributed::DistributedError;
use model::{ComputeError, ConfigError};

/// Why a network cannot be fine-tuned or used.
#[derive(Debug, thiserror::Error)]
pub enum FinetuneError {
    /// The configuration names other classes than the data have.
    #[error(
        "finetune.classes differs from the {0} classes of the data; leave it out, it is filled in from them"
    )]
    OtherClasses(usize),
    /// The configuration states another kind of target than the data have.
    #[error(
        "finetune.problem_type is {stated}, but the data are for {found}; a CSV file says which by its \
         columns: label, labels or target"
    )]
    OtherProblem {
        /// The problem type of the configuration.
        stated: String,
        /// The problem type of the data.
        found: String,
    },
    /// Label smoothing where there are no labels.
    #[error("finetune.label_smoothing is for classes; to predict numbers, --set finetune.label_smoothing=0")]
    SmoothedNumbers,
    /// Targets of another kind than the network was trained for.
    #[error("the images have targets of another kind than the network tells")]
    OtherTargets,
    /// An evaluation that was told to stop.
    #[error("the evaluation was stopped")]
    Stopped,
    /// Images that are not normalised, which cannot be mixed.
    #[error("batches to fine-tune on have to be normalised by the loader")]
    NotNormalized,
    /// A checkpoint that has no head.
    #[error(
        "{path} is a pretraining checkpoint and knows no classes; fine-tune it first: \
         train-cli finetune --config configs/finetune_custom.toml --data DIR --init {path}",
        path = .0.display()
    )]
    NoClasses(PathBuf),
    /// Weights that do not fit the configuration beside them.
    #[error("{} does not fit its own config.toml: {reason}", path.display())]
    Misfit {
        /// The checkpoint.
        path: PathBuf,
        /// The tensors that differ.
        reason: StateDictError,
    },
    /// Weights that no encoder can be made of.
    #[error("cannot take features of {}: {reason}", path.display())]
    NoFeatures {
        /// The checkpoint.
        path: PathBuf,
        /// The tensors that are missing.
        reason: StateDictError,
    },
    /// A setting that is not allowed.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Images that cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint that cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A configuration that describes no network.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Kernels or a precision that the device does not have.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// Other processes have ended or do not answer.
    #[error(transparent)]
    Distributed(#[from] DistributedError),
}
