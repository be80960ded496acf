//! Why a network cannot be fine-tuned or used.

use std::path::PathBuf;

use checkpoint::{CheckpointError, StateDictError};
use config::SettingError;
use data::DataError;
use distributed::DistributedError;
use model::{ComputeError, ConfigError};
use trainer::NotFinite;
use whole::Unwritten;

/// Why a network cannot be fine-tuned or used.
#[derive(Debug, thiserror::Error)]
pub enum FinetuneError {
    /// The configuration names other classes than the data have.
    #[error(
        "finetune.classes differs from the {0} classes of the data; leave it out, it is filled in from them"
    )]
    OtherClasses(usize),
    /// The configuration says that the classes have no names.
    #[error("finetune.unnamed is for imported checkpoints; here the data name the classes, so leave it out")]
    Unnamed,
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
    /// Fine-tuning that is to go on from a pretraining run.
    #[error(
        "the run to go on with is one of pretraining; --init starts from its weights, in a --run-dir of its own"
    )]
    ResumesPretraining,
    /// Label smoothing where there are no labels.
    #[error("finetune.label_smoothing is for classes; to predict numbers, --set finetune.label_smoothing=0")]
    SmoothedNumbers,
    /// Weights of classes where an image has not just one.
    #[error("finetune.class_weights is for images of one class each; leave it out")]
    WeightedTargets,
    /// Weights for other classes than there are.
    #[error("finetune.class_weights has {weights} numbers for {classes} classes")]
    OtherWeights {
        /// Weights in the configuration.
        weights: usize,
        /// Classes of the data.
        classes: usize,
    },
    /// A class without training images has no balanced weight.
    #[error(
        "finetune.class_weights = \"balanced\": class {0} has no training image; add some, or give the \
         weights as a list"
    )]
    NothingToWeigh(String),
    /// Targets of another kind than the network was trained for.
    #[error("the images have targets of another kind than the network tells")]
    OtherTargets,
    /// An image that the network has no channels for.
    #[error("{0}")]
    OtherChannels(String),
    /// An evaluation that was told to stop.
    #[error("the evaluation was stopped")]
    Stopped,
    /// Images that are not normalised, which cannot be evaluated.
    #[error("batches to evaluate on have to be normalised by the loader")]
    NotNormalized,
    /// A checkpoint that has no head.
    #[error(
        "{path} is a pretraining checkpoint and knows no classes; fine-tune it first: \
         train-cli finetune --config finetune_custom --data DIR --init {path}",
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
    /// A network whose outputs are NaN or infinite.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// A network without a head has no score to explain.
    #[error("the network has no head to explain")]
    NoHead,
    /// A file that cannot be written.
    #[error(transparent)]
    Write(#[from] Unwritten),
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
