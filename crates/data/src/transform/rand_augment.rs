//! RandAugment (arXiv:1909.13719) as timm has it.

use std::fmt;
use std::str::FromStr;

use image::RgbImage;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Normal};
use serde::{Deserialize, Serialize};

use crate::transform::pillow;

/// The largest magnitude, on which all strengths are measured.
const MAX_MAGNITUDE: f64 = 10.0;

/// Some random operations of random strength, in timm's notation: `rand-m9-mstd0.5-inc1`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RandAugment {
    /// Mean strength, 0 to 10 (`m`).
    pub magnitude: f64,
    /// Standard deviation of the strength (`mstd`).
    pub magnitude_std: f64,
    /// Operations drawn for an image (`n`).
    pub layers: usize,
    /// Probability that a drawn operation is applied (`p`).
    pub probability: f64,
}

impl FromStr for RandAugment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = |what: String| {
            format!(
                "`{text}`: {what}; expected something like rand-m9-mstd0.5-inc1, from m, mstd, n, p and inc1"
            )
        };
        let mut parts = text.split('-');
        if parts.next() != Some("rand") {
            return Err(error("does not begin with rand".to_owned()));
        }
        let mut found = Self { magnitude: 10.0, magnitude_std: 0.0, layers: 2, probability: 0.5 };
        let mut increasing = false;
        for part in parts {
            let digits = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
            let (key, value) = part.split_at(digits);
            let number: f64 = value.parse().map_err(|_| error(format!("`{part}` has no number")))?;
            match key {
                "m" if number <= MAX_MAGNITUDE => found.magnitude = number,
                "mstd" => found.magnitude_std = number,
                "n" if number >= 1.0 && number.fract() == 0.0 => found.layers = number as usize,
                "p" if number <= 1.0 => found.probability = number,
                "inc" if number == 1.0 => increasing = true,
                "m" | "n" | "p" | "inc" => return Err(error(format!("`{part}` is out of range"))),
                _ => return Err(error(format!("`{key}` is unknown"))),
            }
        }
        // timm's other set, where some operations get weaker as the magnitude grows, is not built.
        if increasing { Ok(found) } else { Err(error("inc1 is missing".to_owned())) }
    }
}

impl TryFrom<String> for RandAugment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RandAugment> for String {
    fn from(augment: RandAugment) -> Self {
        augment.to_string()
    }
}

impl fmt::Display for RandAugment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { magnitude, magnitude_std, layers, probability } = self;
        write!(f, "rand-m{magnitude}-mstd{magnitude_std}-n{layers}-p{probability}-inc1")
    }
}

/// One of timm's increasing operations: the higher the magnitude, the stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// See [`pillow::auto_contrast`].
    AutoContrast,
    /// See [`pillow::equalize`].
    Equalize,
    /// Light and dark exchanged.
    Invert,
    /// Rotation by up to 30°.
    Rotate,
    /// Fewer bits a channel, 4 down to 0.
    Posterize,
    /// Inversion of intensities from a threshold on, 256 down to 0.
    Solarize,
    /// Brightening of dark pixels by up to 110.
    SolarizeAdd,
    /// Saturation by up to ±0.9.
    Color,
    /// Contrast by up to ±0.9.
    Contrast,
    /// Brightness by up to ±0.9.
    Brightness,
    /// Sharpness by up to ±0.9.
    Sharpness,
    /// By up to ±0.3.
    ShearX,
    /// By up to ±0.3.
    ShearY,
    /// Shift by up to ±45 % of the width.
    TranslateX,
    /// Shift by up to ±45 % of the height.
    TranslateY,
}

impl Operation {
    /// All of them, each as likely as the others.
    pub const ALL: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::Posterize,
        Self::Solarize,
        Self::SolarizeAdd,
        Self::Color,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
    ];

    /// Applies it at a magnitude from 0 to 10, to the other side if `negative` where there are two.
    /// `fill` is the colour of what comes from outside.
    pub fn apply(self, image: &RgbImage, magnitude: f64, negative: bool, fill: [u8; 3]) -> RgbImage {
        let level = magnitude / MAX_MAGNITUDE;
        let signed = |most: f64| if negative { -level * most } else { level * most };
        // At least 0.1, so that no picture turns black or grey altogether.
        let enhancement = (1.0 + signed(0.9)).max(0.1);
        let steps = |most: f64| (level * most) as u32;
        match self {
            Self::AutoContrast => pillow::auto_contrast(image),
            Self::Equalize => pillow::equalize(image),
            Self::Invert => pillow::point(image, |v| 255 - v),
            Self::Rotate => pillow::rotate(image, signed(30.0), fill),
            Self::Posterize => pillow::posterize(image, 4 - steps(4.0)),
            Self::Solarize => pillow::solarize(image, 256 - steps(256.0)),
            Self::SolarizeAdd => pillow::solarize_add(image, steps(110.0)),
            Self::Color => pillow::color(image, enhancement),
            Self::Contrast => pillow::contrast(image, enhancement),
            Self::Brightness => pillow::brightness(image, enhancement),
            Self::Sharpness => pillow::sharpness(image, enhancement),
            Self::ShearX => pillow::affine(image, [1.0, signed(0.3), 0.0, 0.0, 1.0, 0.0], fill),
            Self::ShearY => pillow::affine(image, [1.0, 0.0, 0.0, signed(0.3), 1.0, 0.0], fill),
            Self::TranslateX => {
                let pixels = signed(0.45) * f64::from(image.width());
                pillow::affine(image, [1.0, 0.0, pixels, 0.0, 1.0, 0.0], fill)
            }
            Self::TranslateY => {
                let pixels = signed(0.45) * f64::from(image.height());
                pillow::affine(image, [1.0, 0.0, 0.0, 0.0, 1.0, pixels], fill)
            }
        }
    }
}

impl RandAugment {
    /// Draws operations, with replacement, and applies them one after the other.
    pub fn apply(&self, image: RgbImage, fill: [u8; 3], rng: &mut impl Rng) -> RgbImage {
        (0..self.layers).fold(image, |image, _| {
            let operation = Operation::ALL[rng.random_range(0..Operation::ALL.len())];
            let (applies, negative) = (rng.random::<f64>() < self.probability, rng.random::<bool>());
            let magnitude = self.draw_magnitude(rng);
            if applies { operation.apply(&image, magnitude, negative, fill) } else { image }
        })
    }

    fn draw_magnitude(&self, rng: &mut impl Rng) -> f64 {
        let drawn = match Normal::new(self.magnitude, self.magnitude_std) {
            Ok(normal) => normal.sample(rng),
            Err(_) => self.magnitude,
        };
        drawn.clamp(0.0, MAX_MAGNITUDE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, rng};

    #[test]
    fn timms_notation_is_read_and_written() {
        let found: RandAugment = "rand-m9-mstd0.5-inc1".parse().unwrap();
        let expected = RandAugment { magnitude: 9.0, magnitude_std: 0.5, layers: 2, probability: 0.5 };
        assert_eq!(found, expected);
        assert_eq!(found.to_string().parse(), Ok(found));
        let bad = ["augmix-m3", "rand-m11-inc1", "rand-m9", "rand-mx-inc1", "rand-q3-inc1", "rand-n0-inc1"];
        for text in bad {
            let error = text.parse::<RandAugment>().unwrap_err();
            assert!(error.contains(text) && error.contains("rand-m9-mstd0.5-inc1"), "{error}");
        }
    }

    #[test]
    fn half_of_the_drawn_operations_are_applied() {
        // A ramp that every operation of magnitude 9 changes.
        let image = RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 3, y as u8 * 2, 40 + x as u8]));
        let one = RandAugment { magnitude: 9.0, magnitude_std: 0.0, layers: 1, probability: 0.5 };
        let changed = (0..2000)
            .filter(|i| one.apply(image.clone(), [0; 3], &mut rng(0, Stream::Augment, 0, *i)) != image)
            .count() as f64;
        // Five standard errors of 2000 draws.
        assert!((changed / 2000.0 - 0.5).abs() < 5.0 * 0.5 / 2000f64.sqrt(), "{changed}");
    }

    #[test]
    fn magnitudes_vary_as_told() {
        let augment: RandAugment = "rand-m5-mstd0.5-inc1".parse().unwrap();
        let drawn: Vec<f64> =
            (0..4000).map(|i| augment.draw_magnitude(&mut rng(0, Stream::Augment, 0, i))).collect();
        let mean = drawn.iter().sum::<f64>() / 4000.0;
        let std = (drawn.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 3999.0).sqrt();
        assert!((mean - 5.0).abs() < 5.0 * 0.5 / 4000f64.sqrt() && (std - 0.5).abs() < 0.03, "{mean} {std}");
    }
}
