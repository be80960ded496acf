//! Random erasing (arXiv:1708.04896) as timm has it, mode `pixel`.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

/// Smallest and largest share of the area.
const AREA: [f64; 2] = [0.02, 1.0 / 3.0];
/// Height by width of the narrowest box.
const ASPECT: f64 = 0.3;

/// Overwrites a random box of a normalised image with noise, value by value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomErasing {
    /// Probability that an image loses a box.
    pub probability: f64,
}

/// A box of an image and the noise in it, to be put there where the image is normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct Erased {
    /// Top, left, height, width.
    pub area: [usize; 4],
    /// `[C, height, width]` of the box.
    pub noise: Vec<f32>,
}

impl RandomErasing {
    /// `image`: normalised, `[C, H, W]`.
    pub fn apply(&self, image: &mut [f32], size: [usize; 2], rng: &mut impl Rng) {
        if let Some(area) = self.area(size, rng) {
            for_every_value(image, size, area, |value| *value = StandardNormal.sample(rng));
        }
    }

    /// What [`RandomErasing::apply`] would do to an image of so many channels.
    pub fn draw(&self, channels: usize, size: [usize; 2], rng: &mut impl Rng) -> Option<Erased> {
        let area @ [_, _, height, width] = self.area(size, rng)?;
        let noise = (0..channels * height * width).map(|_| StandardNormal.sample(rng)).collect();
        Some(Erased { area, noise })
    }

    /// Erases a box of normalised values, or says what is to be erased where there are none yet.
    pub(crate) fn now_or_later(
        &self,
        values: Option<&mut [f32]>,
        channels: usize,
        size: [usize; 2],
        rng: &mut impl Rng,
    ) -> Option<Erased> {
        let Some(values) = values else { return self.draw(channels, size, rng) };
        self.apply(values, size, rng);
        None
    }

    fn area(&self, size: [usize; 2], rng: &mut impl Rng) -> Option<[usize; 4]> {
        if rng.random::<f64>() >= self.probability {
            return None;
        }
        draw_box(size, rng)
    }
}

impl Erased {
    /// `image`: normalised, `[C, H, W]`.
    pub fn apply(&self, image: &mut [f32], size: [usize; 2]) {
        let mut noise = self.noise.iter();
        for_every_value(image, size, self.area, |value| *value = noise.next().copied().unwrap_or_default());
    }
}

/// Visits the values of a box, channel by channel and row by row.
fn for_every_value(
    image: &mut [f32],
    [height, width]: [usize; 2],
    [top, left, h, w]: [usize; 4],
    mut visit: impl FnMut(&mut f32),
) {
    for channel in image.chunks_exact_mut(height * width) {
        for row in channel.chunks_exact_mut(width).skip(top).take(h) {
            row[left..left + w].iter_mut().for_each(&mut visit);
        }
    }
}

/// Top, left, height, width: the first of ten draws that fits.
fn draw_box([height, width]: [usize; 2], rng: &mut impl Rng) -> Option<[usize; 4]> {
    let between = |[low, high]: [f64; 2], x: f64| low + (high - low) * x;
    (0..10).find_map(|_| {
        let area = between(AREA, rng.random()) * (height * width) as f64;
        let aspect = between([ASPECT.ln(), -ASPECT.ln()], rng.random()).exp();
        let h = (area * aspect).sqrt().round_ties_even() as usize;
        let w = (area / aspect).sqrt().round_ties_even() as usize;
        (h < height && w < width)
            .then(|| [rng.random_range(0..=height - h), rng.random_range(0..=width - w), h, w])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, rng};

    #[test]
    fn what_is_drawn_is_what_would_be_applied() {
        let (erase, size) = (RandomErasing { probability: 0.5 }, [14, 9]);
        let mut erased = 0;
        for index in 0..40 {
            let mut now = vec![100.0; 3 * 14 * 9];
            let mut later = now.clone();
            erase.apply(&mut now, size, &mut rng(0, Stream::Augment, 0, index));
            if let Some(drawn) = erase.draw(3, size, &mut rng(0, Stream::Augment, 0, index)) {
                drawn.apply(&mut later, size);
                erased += 1;
            }
            assert_eq!(now, later);
        }
        assert!((5..35).contains(&erased), "{erased} of 40");
    }

    #[test]
    fn a_box_of_noise_replaces_a_share_of_the_image() {
        let erase = RandomErasing { probability: 0.25 };
        let (mut erased, mut noise) = (0, Vec::new());
        for index in 0..2000 {
            // A value that noise never takes.
            let mut image = vec![100.0; 3 * 20 * 30];
            erase.apply(&mut image, [20, 30], &mut rng(0, Stream::Augment, 0, index));
            let changed: Vec<usize> = (0..image.len()).filter(|i| image[*i] != 100.0).collect();
            if changed.is_empty() {
                continue;
            }
            erased += 1;
            noise.extend(changed.iter().map(|i| f64::from(image[*i])));
            // The same box in every channel, within the bounds of area.
            let area = changed.len() / 3;
            assert!((8..=210).contains(&area), "{area}");
            let in_channel =
                |c: usize| changed.iter().filter(|i| **i / 600 == c).map(|i| i % 600).collect::<Vec<_>>();
            assert_eq!(in_channel(0), in_channel(2));
            let rows = in_channel(0).iter().map(|i| i / 30).collect::<std::collections::BTreeSet<_>>().len();
            assert_eq!(area % rows, 0, "not a box");
        }
        let share = f64::from(erased) / 2000.0;
        assert!((share - 0.25).abs() < 5.0 * (0.25f64 * 0.75 / 2000.0).sqrt(), "{share}");
        let mean = noise.iter().sum::<f64>() / noise.len() as f64;
        let variance = noise.iter().map(|v| v * v).sum::<f64>() / noise.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}
