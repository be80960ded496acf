//! From a pretrained encoder to a classifier: layer-wise learning rates, losses, head, metrics, and
//! where in an image a class score comes from.

mod config;
mod heatmap;
mod knn;
mod layer_decay;
mod loss;
mod tally;

pub use config::{FinetuneConfig, Freeze, InvalidConfig};
pub use heatmap::heatmap;
pub use knn::{Features, knn};
pub use layer_decay::{LayerDecay, LayerIds};
pub use loss::{binary_cross_entropy, mean_squared_error, scale_head, soft_cross_entropy};
pub use tally::{Judgement, Tally};
