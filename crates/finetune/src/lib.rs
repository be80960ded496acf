//! Fine-tuning, from a pretrained encoder to a classifier: objective, losses, recipe, evaluation,
//! prediction, probes, and where in an image a class score comes from.
//!
//! [`FinetuneExperiment`] is a fine-tuning as one configuration; [`trainer::Run`] trains it:
#![doc = "\n```no_run"]
#![doc = include_str!("../examples/finetune.rs")]
#![doc = "```"]

mod agreement;
mod class_weights;
mod classifier;
mod configuration;
mod confusion;
mod cost;
mod embedded;
mod error;
mod evaluate;
mod experiment;
mod feature_file;
mod features;
mod heatmap;
mod inference;
mod initialize;
mod knn;
mod label_tally;
mod layer_decay;
mod linear_probe;
mod loss;
mod metrics;
mod mistakes;
mod number_tally;
mod objective;
mod problem;
mod recipe;
mod section;
mod tally;

pub use crate::section::{FinetuneConfig, Freeze};
pub use agreement::Agreement;
pub use class_weights::{ClassWeights, WeightRule};
pub use classifier::Classifier;
pub use configuration::FinetuneExperiment;
pub use confusion::Confusion;
pub use cost::ClassifierCost;
pub use embedded::Embedded;
pub use error::FinetuneError;
pub use evaluate::for_every_batch;
pub use feature_file::{FeatureFile, FeatureFormat};
pub use features::FeatureExtractor;
pub use heatmap::{Explained, MOST_HEATMAPS, draw_heatmaps, heatmap};
pub use inference::{Inference, Tta};
pub use knn::knn;
pub use label_tally::LabelTally;
pub use layer_decay::{LayerDecay, LayerIds};
pub use linear_probe::linear_probe;
pub use loss::{binary_cross_entropy, mean_squared_error, scale_head, soft_cross_entropy};
pub use metrics::Metrics;
pub use mistakes::{Mistaken, Mistakes};
pub use number_tally::NumberTally;
pub use objective::ClassificationObjective;
pub use problem::ProblemType;
pub use tally::Tally;
