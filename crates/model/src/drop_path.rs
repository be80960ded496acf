//! Stochastic depth: whole residual branches dropped per sample (arXiv:1603.09382).

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};

/// Which samples keep which residual branches in one training step.
///
/// Drawn outside the network, from one random stream per sample, so that a sample's draw does
/// not depend on its place in the batch, on the process or on the device.
#[derive(Debug, Clone)]
pub struct DropPath {
    /// Per block `[N, 1, 1]`: 0 where dropped, 1 / (1 − rate) where kept.
    scales: Vec<Tensor<3>>,
}

impl DropPath {
    /// Draws for blocks with these drop rates, one random stream per sample.
    pub fn sample<R: Rng>(rates: &[f64], streams: impl IntoIterator<Item = R>, device: &Device) -> Self {
        let draws: Vec<Vec<f32>> = streams
            .into_iter()
            .map(|mut rng| {
                rates
                    .iter()
                    .map(|rate| {
                        let keep = 1.0 - rate;
                        if rng.random::<f64>() < keep { (1.0 / keep) as f32 } else { 0.0 }
                    })
                    .collect()
            })
            .collect();
        let scales = (0..rates.len())
            .map(|block| {
                let column: Vec<f32> = draws.iter().map(|sample| sample[block]).collect();
                let shape = [column.len(), 1, 1];
                Tensor::from_data(TensorData::new(column, shape), device)
            })
            .collect();
        Self { scales }
    }

    /// The factor `[N, 1, 1]` on the residual branch of block number `block`.
    pub(crate) fn scale(&self, block: usize) -> Tensor<3> {
        self.scales[block].clone()
    }
}
