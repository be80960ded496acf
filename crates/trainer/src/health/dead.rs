//! Channels that no image moves.

use burn::tensor::Tensor;

/// A channel is dead if it deviates by no more than this share of what the channels of its layer deviate
/// by on average. Small networks that learnt at usual rates had no such channel, those that a too high
/// learning rate had pushed to the flat side of GELU many (docs/health.md).
const SHARE: f64 = 0.01;

/// Mean and deviation of every channel of a layer, over all sites of all images that were shown.
#[derive(Debug, Clone, Default)]
pub struct Deviations {
    rows: f64,
    means: Vec<f64>,
    /// Σ (x − mean)².
    squares: Vec<f64>,
}

impl Deviations {
    /// Adds the sites of images, `[N, T, C]`.
    pub fn add(&mut self, features: Tensor<3>) {
        let [images, sites, channels] = features.dims();
        let rows = (images * sites) as f64;
        if self.means.is_empty() {
            (self.means, self.squares) = (vec![0.0; channels], vec![0.0; channels]);
        }
        // The mean first, which keeps the deviation exact where it is small.
        let features = features.reshape([images * sites, channels]);
        let means = features.clone().mean_dim(0);
        let squares: Tensor<2> = (features - means.clone()).square().sum_dim(0);
        let all = self.rows + rows;
        let (means, squares) = (means.into_data(), squares.into_data());
        let own = self.means.iter_mut().zip(&mut self.squares);
        for ((mean, sum), (other, square)) in own.zip(means.iter::<f64>().zip(squares.iter::<f64>())) {
            let apart = other - *mean;
            *sum += square + apart * apart * self.rows * rows / all;
            *mean += apart * rows / all;
        }
        self.rows = all;
    }

    /// Share of dead channels; all of them where none deviates.
    pub fn dead(&self) -> f64 {
        let deviations = self.squares.iter().map(|sum| (sum / self.rows).sqrt());
        let limit = SHARE * deviations.clone().sum::<f64>() / self.squares.len() as f64;
        deviations.filter(|deviation| *deviation <= limit).count() as f64 / self.squares.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    /// Four channels of which the second deviates by a thousandth of the first, the third not at all.
    fn features(images: usize) -> Tensor<3> {
        let sizes = [1.0, 1e-3, 0.0, 0.2];
        let value = |i: usize| (7.0 + sizes[i % 4] * (1.3 * (i / 4) as f64).sin()) as f32;
        let values: Vec<f32> = (0..images * 5 * 4).map(value).collect();
        Tensor::from_data(TensorData::new(values, [images, 5, 4]), &Device::flex())
    }

    #[test]
    fn channels_that_hardly_deviate_are_dead_however_images_are_divided() {
        let mut whole = Deviations::default();
        whole.add(features(6));
        assert_eq!(whole.dead(), 0.5);
        let mut parts = Deviations::default();
        for images in [0..1, 1..4, 4..6] {
            parts.add(features(6).slice([images, 0..5, 0..4]));
        }
        for (a, b) in whole.squares.iter().zip(&parts.squares) {
            assert!((a - b).abs() <= 1e-4 * a, "{a} {b}");
        }
        // Σ (x − mean)² of the first, by NumPy.
        assert!((whole.squares[0] - FIRST).abs() < 1e-4, "{}", whole.squares[0]);
        assert_eq!(parts.dead(), 0.5);
    }

    const FIRST: f64 = 14.499876791652856;

    #[test]
    fn a_layer_that_says_nothing_is_dead() {
        let mut silent = Deviations::default();
        silent.add(Tensor::full([2, 3, 4], 5.0, &Device::flex()));
        assert_eq!(silent.dead(), 1.0);
    }
}
