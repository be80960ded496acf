//! What AdamW is told, and what it remembers of a parameter.

use burn::optim::{RecordState, StateSink, StateSource};
use burn::store::burn_pack::Scalar;
use burn::tensor::{Device, Tensor};

/// Settings shared by all parameter groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// Moments of one parameter.
#[derive(Debug, Clone)]
pub struct Moments<const D: usize> {
    /// First moment, the running mean of the gradient.
    pub first: Tensor<D>,
    /// Second moment, the running mean of the gradient's square.
    pub second: Tensor<D>,
    /// Updates done.
    pub steps: i64,
}

// By hand: the derive macro works inside Burn only.
impl<const D: usize> RecordState for Moments<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(prefix, "first", self.first.to_data());
        out.push_tensor(prefix, "second", self.second.to_data());
        out.push_scalar(prefix, "steps", Scalar::from(self.steps));
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let mut tensor = |leaf| src.take_tensor(prefix, leaf).map(|data| Tensor::from_data(data, device));
        let (first, second) = (tensor("first")?, tensor("second")?);
        Some(Self { first, second, steps: src.take_scalar(prefix, "steps")?.try_into().ok()? })
    }
}
