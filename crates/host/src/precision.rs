//! In which numbers the heavy operations compute.

use serde::{Deserialize, Serialize};

/// Numbers of convolutions, linear layers and what lies between them. Weights, their updates,
/// residual sums and losses are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Eight bits of precision in the range of f32.
    Bf16,
}
