//! FCMAE, fully convolutional masked-autoencoder pretraining
//! ([arXiv:2301.00808](https://arxiv.org/abs/2301.00808), section 3): hide patches, encode what is
//! visible, predict the pixels of what is not.
//!
//! Differs from the official PyTorch code in its defaults, never in its options: GRN statistics
//! are per sample (`grn_stats = "batch"` for the official ones) and weights start at σ = 0.02
//! (`init = "official"`). Images may have any shape and number of channels.

#[cfg(feature = "tch")]
mod aten;
pub mod config;
pub mod mask;
pub mod objective;
mod ops;
pub mod picture;
pub mod target;

pub use config::{FcmaeConfig, FcmaeError, MaskShape};
pub use mask::random_mask;
pub use objective::Fcmae;
pub use picture::{Reconstruction, Score, reconstruct};
