//! Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899) over a batch, and the soft targets that
//! go with them; timm's `Mixup` in batch mode.

use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution};

use crate::loader::Batch;
use crate::rng::{Stream, rng};

/// How batches are mixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixup {
    /// Both parameters of the Beta distribution of mixup's λ; 0 turns it off.
    pub mixup_alpha: f64,
    /// Both parameters of the Beta distribution of CutMix's λ; 0 turns it off.
    pub cutmix_alpha: f64,
    /// Probability that a batch is mixed at all.
    pub probability: f64,
    /// Probability of CutMix where both are on.
    pub switch_probability: f64,
}

/// What is done to one batch: every image is mixed with the one as far from the end of the batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// The batch is left as it is.
    None,
    /// λ · x + (1 − λ) · other.
    Mixup(f64),
    /// A box of the other image: rows and columns, first and one past the last.
    Cutmix([usize; 4]),
}

impl Mixup {
    /// What to do to a batch. It depends on seed, epoch and the batch's first image, which no other batch
    /// of the epoch has.
    pub fn draw_for(&self, seed: u64, batch: &Batch) -> Mix {
        let [_, _, height, width] = batch.shape;
        self.draw([height, width], &mut rng(seed, Stream::Mixup, batch.epoch, batch.draws[0]))
    }

    /// Draws what to do to a batch of images of `[height, width]`.
    pub fn draw(&self, size: [usize; 2], rng: &mut impl Rng) -> Mix {
        let [mixup, cutmix] = [self.mixup_alpha > 0.0, self.cutmix_alpha > 0.0];
        if !(mixup || cutmix) || rng.random::<f64>() >= self.probability {
            return Mix::None;
        }
        let cut = cutmix && (!mixup || rng.random::<f64>() < self.switch_probability);
        let alpha = if cut { self.cutmix_alpha } else { self.mixup_alpha };
        let lambda = Beta::new(alpha, alpha).map_or(1.0, |beta| beta.sample(rng));
        match cut {
            false => Mix::Mixup(lambda),
            true => {
                let centre = [rng.random_range(0..size[0]), rng.random_range(0..size[1])];
                Mix::Cutmix(cut_box(size, lambda, centre))
            }
        }
    }
}

/// The box around `centre` that would leave λ of the image, cut off at the border: rows and
/// columns, first and one past the last.
pub fn cut_box([height, width]: [usize; 2], lambda: f64, [y, x]: [usize; 2]) -> [usize; 4] {
    let ratio = (1.0 - lambda).sqrt();
    let range = |side: usize, centre: usize| {
        let half = (side as f64 * ratio) as usize / 2;
        [centre.saturating_sub(half), (centre + half).min(side)]
    };
    let ([top, bottom], [left, right]) = (range(height, y), range(width, x));
    [top, bottom, left, right]
}

impl Mix {
    /// Share of every image that stays.
    pub fn lambda(&self, [height, width]: [usize; 2]) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Mixup(lambda) => *lambda,
            Self::Cutmix([top, bottom, left, right]) => {
                1.0 - ((bottom - top) * (right - left)) as f64 / (height * width) as f64
            }
        }
    }

    /// Mixes images `[N, C, H, W]`.
    pub fn apply(&self, images: &mut [f32], [count, channels, height, width]: [usize; 4]) {
        let len = channels * height * width;
        // Pairs from both ends; the one in the middle is mixed with itself, which changes nothing.
        let (front, back) = images.split_at_mut(count.div_ceil(2) * len);
        for (a, b) in front.chunks_exact_mut(len).zip(back.chunks_exact_mut(len).rev()) {
            match *self {
                Self::None => {}
                Self::Mixup(lambda) => {
                    let (keep, take) = (lambda as f32, (1.0 - lambda) as f32);
                    for (a, b) in a.iter_mut().zip(b) {
                        (*a, *b) = (*a * keep + *b * take, *b * keep + *a * take);
                    }
                }
                Self::Cutmix([top, bottom, left, right]) => {
                    let rows = a.chunks_exact_mut(width).zip(b.chunks_exact_mut(width)).enumerate();
                    for (row, (a, b)) in rows {
                        if (top..bottom).contains(&(row % height)) {
                            a[left..right].swap_with_slice(&mut b[left..right]);
                        }
                    }
                }
            }
        }
    }
}

/// Targets `[N, classes]` of labels mixed by λ, smoothed: of a sample that stays whole, the class
/// gets 1 − smoothing and every class smoothing / classes.
pub fn soft_targets(labels: &[u32], classes: usize, lambda: f64, smoothing: f64) -> Vec<f32> {
    let off = smoothing / classes as f64;
    let on = 1.0 - smoothing + off;
    let value = |label: u32, class: usize| if label as usize == class { on } else { off };
    let pairs = labels.iter().zip(labels.iter().rev());
    pairs
        .flat_map(|(a, b)| {
            (0..classes).map(move |c| (lambda * value(*a, c) + (1.0 - lambda) * value(*b, c)) as f32)
        })
        .collect()
}

/// Targets `[N, width]` that are numbers, mixed by λ.
pub fn mixed_values(values: &[f32], width: usize, lambda: f64) -> Vec<f32> {
    let pairs = values.chunks_exact(width).zip(values.chunks_exact(width).rev());
    let mixed = |(a, b): (&f32, &f32)| (lambda * f64::from(*a) + (1.0 - lambda) * f64::from(*b)) as f32;
    pairs.flat_map(|(a, b)| a.iter().zip(b).map(mixed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, rng};

    #[test]
    fn both_kinds_are_drawn_as_often_as_told() {
        let mixup = Mixup { mixup_alpha: 0.8, cutmix_alpha: 1.0, probability: 0.8, switch_probability: 0.25 };
        let draws: Vec<Mix> =
            (0..4000).map(|i| mixup.draw([32, 48], &mut rng(0, Stream::Mixup, 0, i))).collect();
        let share = |f: &dyn Fn(&Mix) -> bool| draws.iter().filter(|mix| f(mix)).count() as f64 / 4000.0;
        let error = 5.0 * 0.5 / 4000f64.sqrt();
        assert!((share(&|mix| matches!(mix, Mix::Mixup(_))) - 0.6).abs() < error);
        assert!((share(&|mix| matches!(mix, Mix::Cutmix(_))) - 0.2).abs() < error);
        // Beta(α, α) has mean 1/2 and variance 1 / (4 (2α + 1)).
        let lambdas: Vec<f64> =
            draws.iter().filter_map(|mix| if let Mix::Mixup(l) = mix { Some(*l) } else { None }).collect();
        let n = lambdas.len() as f64;
        let mean = lambdas.iter().sum::<f64>() / n;
        let variance = lambdas.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n;
        assert!((mean - 0.5).abs() < 0.04 && (variance - 1.0 / 10.4).abs() < 0.01, "{mean} {variance}");
        let off = Mixup { mixup_alpha: 0.0, cutmix_alpha: 0.0, ..mixup };
        assert_eq!(off.draw([32, 48], &mut rng(0, Stream::Mixup, 0, 0)), Mix::None);
    }

    #[test]
    fn an_odd_batch_leaves_the_middle_as_it_is() {
        let mut images = vec![1.0, 2.0, 4.0];
        Mix::Mixup(0.75).apply(&mut images, [3, 1, 1, 1]);
        assert_eq!(images, [1.75, 2.0, 3.25]);
        let targets = soft_targets(&[0, 1, 0], 2, 0.75, 0.0);
        assert_eq!(targets, [1.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
        let values = mixed_values(&[1.0, 10.0, 2.0, 20.0, 5.0, 30.0], 2, 0.75);
        assert_eq!(values, [2.0, 15.0, 2.0, 20.0, 4.0, 25.0]);
    }
}
