//! The loss of FCMAE: mean squared error of predicted patches (paper, section 3).

use rayon::prelude::*;

use crate::buffer::Buffer;

/// Added to the variance of a patch.
const EPSILON: f64 = 1e-6;

/// Which pixels are predicted.
#[derive(Debug, Clone)]
pub struct Target {
    /// Samples.
    pub samples: usize,
    /// Patches of an image: rows, columns.
    pub grid: [usize; 2],
    /// Pixels per patch side.
    pub patch: usize,
    /// Channels of the images.
    pub channels: usize,
    /// Predicted patches of all samples, the same number of each.
    pub picked: Vec<u32>,
    /// Whether every patch is brought to mean 0 and (unbiased) variance 1.
    pub normalize: bool,
}

impl Target {
    fn values(&self) -> usize {
        self.patch * self.patch * self.channels
    }

    fn image_len(&self) -> usize {
        self.grid[0] * self.grid[1] * self.values()
    }

    /// The pixels of one patch of an image `[C, H, W]`, in the order row, column, channel.
    fn gather(&self, image: &[f32], patch: usize, pixels: &mut [f32]) {
        let (side, columns) = (self.patch, self.grid[1] * self.patch);
        let (top, left) = (patch / self.grid[1] * side, patch % self.grid[1] * side);
        for channel in 0..self.channels {
            for y in 0..side {
                let start = (channel * self.grid[0] * side + top + y) * columns + left;
                for (x, value) in image[start..start + side].iter().enumerate() {
                    pixels[(y * side + x) * self.channels + channel] = *value;
                }
            }
        }
        if self.normalize {
            normalize(pixels);
        }
    }
}

fn normalize(pixels: &mut [f32]) {
    let count = pixels.len() as f64;
    let mean = sum(pixels, |v| v) / count;
    let variance = sum(pixels, |v| (v - mean) * (v - mean)) / (count - 1.0);
    let scale = (1.0 / (variance + EPSILON).sqrt()) as f32;
    pixels.iter_mut().for_each(|v| *v = (*v - mean as f32) * scale);
}

/// Several sums at once, because each addition waits for the one before it.
fn sum(values: &[f32], f: impl Fn(f64) -> f64) -> f64 {
    let (chunks, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, v)| *lane += f(f64::from(*v)));
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|v| f(f64::from(*v))).sum::<f64>()
}

/// The loss of predictions `[N, K, P·P·C]` for images `[N, C, H, W]`, and its gradient.
pub fn forward(target: &Target, predicted: &[f32], images: &[f32]) -> (f32, Buffer) {
    let values = target.values();
    assert_eq!(predicted.len(), target.picked.len() * values);
    assert_eq!(images.len(), target.samples * target.image_len());
    let per_sample = target.picked.len() / target.samples;
    let scale = 2.0 / predicted.len() as f32;
    let mut gradient = Buffer::take(predicted.len());
    let sums: Vec<f64> = (gradient.par_chunks_mut(values))
        .zip(predicted.par_chunks(values))
        .enumerate()
        .map(|(index, (gradient, predicted))| {
            let image = &images[index / per_sample * target.image_len()..][..target.image_len()];
            target.gather(image, target.picked[index] as usize, gradient);
            gradient.iter_mut().zip(predicted).for_each(|(g, p)| *g = p - *g);
            let squares = sum(gradient, |error| error * error);
            gradient.iter_mut().for_each(|g| *g *= scale);
            squares
        })
        .collect();
    ((sums.iter().sum::<f64>() / predicted.len() as f64) as f32, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers};

    #[test]
    fn loss_and_gradient_equal_the_definition() {
        for normalize in [false, true] {
            let (samples, grid, patch, channels) = (2, [2, 3], 4, 3);
            let target = Target { samples, grid, patch, channels, picked: vec![0, 4, 2, 5], normalize };
            let images = numbers(samples * target.image_len(), 1);
            let predicted = numbers(4 * target.values(), 2);
            let mut wanted = Vec::new();
            for (index, p) in target.picked.iter().enumerate() {
                let (sample, row, column) = (index / 2, *p as usize / 3 * 4, *p as usize % 3 * 4);
                let mut pixels: Vec<f64> = Vec::new();
                for (y, x) in (0..4).flat_map(|y| (0..4).map(move |x| (y, x))) {
                    for c in 0..3 {
                        let at = ((sample * 3 + c) * 8 + row + y) * 12 + column + x;
                        pixels.push(f64::from(images[at]));
                    }
                }
                if normalize {
                    let mean = pixels.iter().sum::<f64>() / 48.0;
                    let var = pixels.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 47.0;
                    pixels.iter_mut().for_each(|v| *v = (*v - mean) / (var + 1e-6).sqrt());
                }
                wanted.extend(pixels);
            }
            let errors: Vec<f64> = predicted.iter().zip(&wanted).map(|(p, w)| f64::from(*p) - w).collect();
            let loss = errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64;
            let (found, gradient) = forward(&target, &predicted, &images);
            assert_close(&[found], &[loss], 1e-6, "loss");
            let slope: Vec<f64> = errors.iter().map(|e| 2.0 * e / errors.len() as f64).collect();
            assert_close(&gradient, &slope, 1e-5, "gradient");
        }
    }
}
