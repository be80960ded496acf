//! Global Response Normalization (paper, section 4 and algorithm 1).

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::epsilon;
use crate::grn_stats::GrnStats;
use crate::sites::Sites;

/// y = γ · (x · n) + β + x, where n is a channel's L2 norm over sites, divided by the mean of
/// these norms over channels.
#[derive(Module, Debug)]
pub struct Grn {
    /// `[1, 1, 1, C]`.
    pub gamma: Param<Tensor<4>>,
    /// `[1, 1, 1, C]`.
    pub beta: Param<Tensor<4>>,
    #[module(skip)]
    stats: GrnStats,
}

impl Grn {
    /// γ and β start at zero, so that the layer starts as the identity.
    pub fn new(channels: usize, stats: GrnStats, device: &Device) -> Self {
        Self {
            gamma: Param::from_tensor(Tensor::zeros([1, 1, 1, channels], device)),
            beta: Param::from_tensor(Tensor::zeros([1, 1, 1, channels], device)),
            stats,
        }
    }

    /// Over which sites its norms are taken.
    pub fn stats(&self) -> GrnStats {
        self.stats
    }

    /// Tokens `[N, T, C]` → the same; hidden sites do not enter the statistics.
    pub fn forward(&self, x: Tensor<3>, sites: &Sites) -> Tensor<3> {
        let squares = sites.hide(x.clone()).square().sum_dim(1); // [N, 1, C]
        let squares = match self.stats {
            GrnStats::Sample => squares,
            GrnStats::Batch => squares.sum_dim(0),
        };
        let norm = sqrt_with_zero_gradient_at_zero(squares);
        let response = norm.clone() / (norm.mean_dim(2) + epsilon::GRN);
        let channels = x.dims()[2];
        let gamma = self.gamma.val().reshape([1, 1, channels]);
        let beta = self.beta.val().reshape([1, 1, channels]);
        x.clone() * (gamma * response) + beta + x
    }
}

/// √x, whose gradient is 0 instead of ∞ where x = 0: a dead channel must not turn every gradient
/// into NaN (PyTorch's `vector_norm` chooses the same subgradient).
fn sqrt_with_zero_gradient_at_zero(x: Tensor<3>) -> Tensor<3> {
    let is_zero = x.clone().equal_elem(0.0).float();
    (x + is_zero.clone()).sqrt() - is_zero
}
