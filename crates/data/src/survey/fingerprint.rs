//! What is kept of an image to find others that are the same.

use sha2::{Digest, Sha256};

use crate::any_image::AnyImage;
use crate::bands::Bands;
use crate::transform::pillow::luma;
use crate::transform::{Interpolation, Raster};

/// Side of a thumbnail.
const SIDE: usize = 16;
/// Frequencies of a thumbnail in each direction that its hash is made of.
const FREQUENCIES: usize = 8;
/// Variance of a thumbnail's intensities below which an image is plain.
const PLAIN: f64 = 4.0;
/// Mean squared difference of two thumbnails, as a share of their variance, up to which they show the same.
const SAME: f64 = 0.01;

/// What is kept of an image: a digest of its pixels, and a thumbnail of 16×16 grey ones. 272 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    content: [u8; 16],
    thumbnail: [u8; SIDE * SIDE],
}

impl Fingerprint {
    /// That of an image.
    pub fn of(image: &AnyImage) -> Self {
        let (width, height) = image.dimensions();
        let bytes = match image {
            AnyImage::Rgb(image) => image.as_raw(),
            AnyImage::Bands(bands) => bytemuck::cast_slice(bands.values()),
        };
        let digest = Sha256::new()
            .chain_update(width.to_le_bytes())
            .chain_update(height.to_le_bytes())
            .chain_update(bytes)
            .finalize();
        let grey: Vec<u8> = match image.resample([SIDE, SIDE], Interpolation::Box) {
            AnyImage::Rgb(small) => small.pixels().map(luma).collect(),
            AnyImage::Bands(small) => stretched(&small),
        };
        Self { content: std::array::from_fn(|at| digest[at]), thumbnail: std::array::from_fn(|at| grey[at]) }
    }

    /// A digest of size and pixels: equal for images that are the same pixel for pixel, however they are
    /// stored.
    pub(super) fn content(&self) -> [u8; 16] {
        self.content
    }

    /// The perceptual hash (pHash): which of the 63 lowest frequencies of the thumbnail are above their
    /// median. None for a plain image, where noise alone would decide.
    pub(super) fn hash(&self) -> Option<u64> {
        if self.variance() < PLAIN {
            return None;
        }
        let frequencies = self.frequencies();
        let mut sorted = frequencies;
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let bit = |hash: u64, value: &f64| hash << 1 | u64::from(*value > median);
        Some(frequencies.iter().fold(0, bit))
    }

    /// Whether two images look the same. Differences count by the contrast of the images: pages of text
    /// differ in little of what they have.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let difference = |(a, b): (&u8, &u8)| u32::from(a.abs_diff(*b)).pow(2);
        let sum: u32 = self.thumbnail.iter().zip(&other.thumbnail).map(difference).sum();
        f64::from(sum) / self.thumbnail.len() as f64 <= SAME * self.variance().min(other.variance())
    }

    fn variance(&self) -> f64 {
        let (mut sum, mut squares) = (0u32, 0u32);
        for value in self.thumbnail.map(u32::from) {
            sum += value;
            squares += value * value;
        }
        let count = self.thumbnail.len() as f64;
        f64::from(squares) / count - (f64::from(sum) / count).powi(2)
    }

    /// The lowest frequencies of the thumbnail (DCT-II), without its mean.
    fn frequencies(&self) -> [f64; FREQUENCIES * FREQUENCIES - 1] {
        let waves: [[f64; SIDE]; FREQUENCIES] = std::array::from_fn(|frequency| {
            let angle = std::f64::consts::PI * frequency as f64 / SIDE as f64;
            std::array::from_fn(|at| (angle * (at as f64 + 0.5)).cos())
        });
        let dot = |wave: &[f64; SIDE], value: &dyn Fn(usize) -> f64| -> f64 {
            wave.iter().enumerate().map(|(at, weight)| weight * value(at)).sum()
        };
        let rows: [[f64; SIDE]; FREQUENCIES] = std::array::from_fn(|down| {
            std::array::from_fn(|x| dot(&waves[down], &|y| f64::from(self.thumbnail[y * SIDE + x])))
        });
        std::array::from_fn(|at| {
            let (down, across) = ((at + 1) / FREQUENCIES, (at + 1) % FREQUENCIES);
            dot(&waves[across], &|x| rows[down][x])
        })
    }
}

/// The mean of all channels as grey, from its smallest to its largest value, wherever those lie.
fn stretched(bands: &Bands) -> Vec<u8> {
    let pixels = bands.values().len() / bands.channels();
    let mut sums = vec![0.0f32; pixels];
    bands.planes().for_each(|plane| sums.iter_mut().zip(plane).for_each(|(sum, value)| *sum += value));
    let low = sums.iter().copied().fold(f32::INFINITY, f32::min);
    let high = sums.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // One without contrast stays black.
    sums.into_iter().map(|sum| (255.0 * (sum - low) / (high - low).max(f32::MIN_POSITIVE)) as u8).collect()
}
