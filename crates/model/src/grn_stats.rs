//! Over which sites GRN takes its norms.

use serde::{Deserialize, Serialize};

/// Over which sites the channel norms of GRN are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrnStats {
    /// The visible sites of each image: the paper, the JAX code and every dense implementation.
    #[default]
    Sample,
    /// The visible sites of the whole batch together: what the official PyTorch pretraining code
    /// computes through MinkowskiEngine. An image's output then depends on its batch mates.
    Batch,
}
