//! The feature collapse meter of ConvNeXt V2 (arXiv:2301.00808, section 4 and figure 3).

use burn::tensor::Tensor;

/// The mean cosine distance between the channels of each image's features, one number an image: for an
/// image X of `[T, C]`, 1/C² Σᵢ Σⱼ (1 − cos(Xᵢ, Xⱼ)) / 2 over all pairs of channels. 0 where all channels
/// say the same, about 0.5 where they have nothing to do with each other. A channel of zeros has a cosine of
/// 0 with every other.
///
/// # Shapes
/// `features`: `[N, T, C]`, the channels of T sites.
///
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// // Two channels at right angles: half of the four pairs are at distance 0, the others at 1/2.
/// let features = Tensor::<3>::from_floats([[[1.0, 0.0], [0.0, 2.0]]], &Device::flex());
/// assert_eq!(trainer::health::channel_distances(features), [0.25]);
/// ```
pub fn channel_distances(features: Tensor<3>) -> Vec<f64> {
    let channels = features.dims()[2];
    // By the largest first: squares of large numbers would overflow.
    let largest = features.clone().abs().max_dim(1);
    let is_zero = largest.clone().equal_elem(0.0).float();
    let scaled = features / (largest + is_zero.clone());
    let lengths = scaled.clone().square().sum_dim(1).sqrt() + is_zero;
    // Σᵢ Σⱼ cos(Xᵢ, Xⱼ) is the square of the length of the sum of all channels brought to length 1.
    let sums: Tensor<3> = (scaled / lengths).sum_dim(2).square().sum_dim(1);
    let pairs = (channels * channels) as f64;
    sums.into_data().iter::<f64>().map(|sum| (1.0 - sum / pairs) / 2.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    /// Channels of waves, with a common part that grows with the image; a channel of zeros in the last one.
    fn features() -> Tensor<3> {
        let [images, sites, channels] = [3, 20, 6];
        let value = |i: usize| {
            let (image, site, channel) = (i / (sites * channels), i / channels % sites, i % channels);
            let wave = (0.37 * (site * (channel + 1)) as f64 + image as f64).sin();
            let common = image as f64 * (0.9 * site as f64).cos();
            if image == 2 && channel == 4 { 0.0 } else { (wave + common) as f32 }
        };
        let values: Vec<f32> = (0..images * sites * channels).map(value).collect();
        Tensor::from_data(TensorData::new(values, [images, sites, channels]), &Device::flex())
    }

    /// By NumPy in double precision: `((1 - c) / 2).mean()` of `c = u.T @ u`, `u` the columns by their norms.
    const BY_NUMPY: [f64; 3] = [0.39380746166833047, 0.19654493537853035, 0.20199062449856575];

    #[test]
    fn distances_are_those_of_numpy() {
        let found = channel_distances(features());
        for (found, expected) in found.iter().zip(BY_NUMPY) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        // Lengths do not matter, not even those whose squares overflow.
        for factor in [1e-20, 1e25] {
            let scaled = channel_distances(features() * factor);
            assert!(scaled.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-6), "{scaled:?}");
        }
    }

    #[test]
    fn channels_that_say_the_same_have_collapsed() {
        let same = features().slice([0..3, 0..20, 0..1]).repeat_dim(2, 8);
        assert!(channel_distances(same).iter().all(|distance| distance.abs() < 1e-6));
        let opposite = Tensor::<3>::from_floats([[[1.0, -3.0], [2.0, -6.0]]], &Device::flex());
        assert!((channel_distances(opposite)[0] - 0.5).abs() < 1e-6);
    }
}
