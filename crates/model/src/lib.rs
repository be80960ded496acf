//! ConvNeXt V2 ([arXiv:2301.00808](https://arxiv.org/abs/2301.00808)) on Burn: encoder with Global
//! Response Normalization, FCMAE decoder, backbone and classifier.
//!
//! Start at [`Block`](block::Block) for the paper's figure 5, at
//! [`Encoder`] for the network, and at [`sites`] for how masked images skip the
//! work of hidden patches.
//!
//! Tensors are `[N, C, H, W]` at the borders of the crate and tokens `[N, T, C]` inside.

pub mod activation;
#[cfg_attr(not(feature = "tch"), path = "no_aten.rs")]
mod aten;
pub mod block;
mod block_weights;
pub mod config;
pub mod conv;
pub mod convnextv2;
pub mod cost;
pub mod decoder;
pub mod drop_path;
pub mod encoder;
pub mod engine;
pub mod epsilon;
pub mod grn;
mod grn_stats;
pub mod init;
mod inspect;
pub mod layer_norm;
pub mod linear;
#[cfg_attr(not(feature = "tch"), path = "no_map_rows.rs")]
mod map_rows;
pub mod names;
mod nodes;
mod ops;
pub mod patch_mask;
mod prepared;
mod section;
pub mod sites;

pub use config::{ConfigError, ConvNextV2Config, Size};
pub use convnextv2::{
    ConvNextV2Backbone, ConvNextV2ForImageClassification, ConvNextV2Model, ConvNextV2Output,
};
pub use decoder::{Decoder, Predict};
pub use encoder::{Encoder, Features, Observe};
pub use engine::{Compute, ComputeError, Engine, Kernels};
pub use grn_stats::GrnStats;
/// The numbers that a prepared network multiplies.
pub use kernels::Format;
pub use names::{STEM, is_decoder, is_encoder, is_grn, official_name};
pub use patch_mask::PatchMask;
pub use prepared::{PreparedClassifier, Unprepared};
pub use section::ModelConfig;
pub use sites::{Execution, Sites};
