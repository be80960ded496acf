//! FCMAE, fully convolutional masked-autoencoder pretraining
//! ([arXiv:2301.00808](https://arxiv.org/abs/2301.00808), section 3): hide patches, encode what is
//! visible, predict the pixels of what is not.
//!
//! Differs from the official PyTorch code in its defaults, never in its options: GRN statistics
//! are per sample (`grn_stats = "batch"` for the official ones) and weights start at σ = 0.02
//! (`init = "official"`). Images may have any shape and number of channels.
//!
//! [`PretrainExperiment`] is a pretraining as one configuration; [`trainer::Run`] trains it:
#![doc = "\n```no_run"]
#![doc = include_str!("../examples/pretrain.rs")]
#![doc = "```"]

mod configuration;
mod cost;
mod experiment;
mod loss;
pub mod mask;
mod network;
mod objective;
pub mod picture;
mod section;
pub mod target;

pub use crate::section::{FcmaeConfig, FcmaeError, MaskShape};
pub use configuration::PretrainExperiment;
pub use cost::{PretrainCost, StageRow};
pub use mask::random_mask;
pub use network::Fcmae;
pub use objective::{FcmaeObjective, ObjectiveError};
pub use picture::{ReconstructError, Reconstruction, Score, reconstruct, usual_bands};
