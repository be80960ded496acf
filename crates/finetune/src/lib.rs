//! From a pretrained encoder to a classifier: layer-wise learning rates, losses, head, metrics, and
//! where in an image a class score comes from.

mod config;
mod heatmap;
mod knn;
mod label_tally;
mod layer_decay;
mod linear_probe;
mod loss;
mod metrics;
mod number_tally;
mod problem;
mod tally;

pub use config::{FinetuneConfig, Freeze, InvalidConfig};
pub use heatmap::heatmap;
pub use knn::{Features, knn};
pub use label_tally::LabelTally;
pub use layer_decay::{LayerDecay, LayerIds};
pub use linear_probe::linear_probe;
pub use loss::{binary_cross_entropy, mean_squared_error, scale_head, soft_cross_entropy};
pub use metrics::Metrics;
pub use number_tally::NumberTally;
pub use problem::ProblemType;
pub use tally::Tally;
