//! Stochastic depth: whole residual branches dropped per sample (arXiv:1603.09382).

use burn::tensor::{Device, Tensor};
use host::{Arena, At, Uploaded};
use rand::{Rng, RngExt};

/// Which samples keep which residual branches in one training step.
///
/// Drawn outside the network, from one random stream per sample, so that a sample's draw does
/// not depend on its place in the batch, on the process or on the device.
#[derive(Debug, Clone)]
pub struct DropPath {
    /// `[blocks, N, 1]`: 0 where dropped, 1 / (1 − rate) where kept.
    scales: Tensor<3>,
}

/// A draw on its way to the device.
#[derive(Debug)]
pub struct DropPathAt {
    scales: At,
    shape: [usize; 3],
}

impl DropPathAt {
    /// The draw on the device.
    pub fn arrived(self, uploaded: &mut Uploaded) -> DropPath {
        DropPath { scales: uploaded.floats(self.scales, self.shape) }
    }
}

impl DropPath {
    /// Draws for blocks with these drop rates, one random stream per sample.
    pub fn sample<R: Rng>(rates: &[f64], streams: impl IntoIterator<Item = R>, device: &Device) -> Self {
        let mut arena = Arena::new(device);
        let draw = Self::draw(rates, streams, &mut arena);
        draw.arrived(&mut arena.upload())
    }

    /// The draw of a training step, to be uploaded with the rest of the step; none where nothing is ever
    /// dropped.
    pub fn for_training<R: Rng>(
        rates: &[f64],
        streams: impl IntoIterator<Item = R>,
        arena: &mut Arena,
    ) -> Option<DropPathAt> {
        rates.last().is_some_and(|rate| *rate > 0.0).then(|| Self::draw(rates, streams, arena))
    }

    fn draw<R: Rng>(rates: &[f64], streams: impl IntoIterator<Item = R>, arena: &mut Arena) -> DropPathAt {
        let keep_or_drop = |rng: &mut R, rate: &f64| {
            let keep = 1.0 - rate;
            if rng.random::<f64>() < keep { (1.0 / keep) as f32 } else { 0.0 }
        };
        let draws: Vec<Vec<f32>> = streams
            .into_iter()
            .map(|mut rng| rates.iter().map(|rate| keep_or_drop(&mut rng, rate)).collect())
            .collect();
        let by_block = (0..rates.len()).flat_map(|block| draws.iter().map(move |sample| sample[block]));
        DropPathAt { scales: arena.floats(by_block.collect()), shape: [rates.len(), draws.len(), 1] }
    }

    /// The factor `[N, 1, 1]` on the residual branch of block number `block`.
    pub(crate) fn scale(&self, block: usize) -> Tensor<3> {
        let samples = self.scales.dims()[1];
        self.scales.clone().narrow(0, block, 1).reshape([samples, 1, 1])
    }
}
