//! How well numbers are predicted.

/// Errors over images, for each number.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberTally {
    numbers: Vec<Sums>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Sums {
    images: u64,
    /// Of the true values, relative to the first one, which keeps the variance exact.
    first: f64,
    sum: f64,
    squares: f64,
    absolute_error: f64,
    squared_error: f64,
}

impl Sums {
    /// Σ (value − mean)² of the true values.
    fn spread(&self) -> f64 {
        self.squares - self.sum.powi(2) / self.images.max(1) as f64
    }
}

impl NumberTally {
    /// Starts with nothing counted.
    pub fn new(numbers: usize) -> Self {
        Self { numbers: vec![Sums::default(); numbers] }
    }

    /// Counts images by predictions and true values, both `[N, numbers]`.
    pub fn add(&mut self, predictions: &[f32], values: &[f32]) {
        let count = self.numbers.len();
        for (place, (prediction, value)) in predictions.iter().zip(values).enumerate() {
            let sums = &mut self.numbers[place % count];
            let (value, error) = (f64::from(*value), f64::from(*prediction) - f64::from(*value));
            if sums.images == 0 {
                sums.first = value;
            }
            sums.images += 1;
            sums.sum += value - sums.first;
            sums.squares += (value - sums.first).powi(2);
            sums.absolute_error += error.abs();
            sums.squared_error += error.powi(2);
        }
    }

    fn mean(&self, of: impl Fn(&Sums) -> f64) -> f64 {
        self.numbers.iter().map(of).sum::<f64>() / self.numbers.len().max(1) as f64
    }

    /// Number of images counted.
    pub fn images(&self) -> u64 {
        self.numbers.first().map_or(0, |sums| sums.images)
    }

    /// Mean squared error.
    pub fn mse(&self) -> f64 {
        self.mean(|sums| sums.squared_error / sums.images.max(1) as f64)
    }

    /// Mean absolute error.
    pub fn mae(&self) -> f64 {
        self.mean(|sums| sums.absolute_error / sums.images.max(1) as f64)
    }

    /// 1 − squared error / variance, averaged over numbers, as scikit-learn's `r2_score`: a number whose
    /// true values are all alike counts as 1 where it was met exactly, and else as 0. None where no number
    /// varies.
    pub fn r2(&self) -> Option<f64> {
        self.numbers.iter().any(|sums| sums.spread() > 0.0).then(|| {
            self.mean(|sums| match (sums.spread() > 0.0, sums.squared_error > 0.0) {
                (true, _) => 1.0 - sums.squared_error / sums.spread(),
                (false, wrong) => f64::from(u8::from(!wrong)),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_scikit_learn() {
        let mut tally = NumberTally::new(2);
        // r2_score([3, −0.5, 2, 7], [2.5, 0, 2, 8]) = 0.9486081370449679; the second is constant.
        tally.add(&[2.5, 4.0, 0.0, 4.0], &[3.0, 4.0, -0.5, 4.0]);
        tally.add(&[2.0, 4.0, 8.0, 4.0], &[2.0, 4.0, 7.0, 4.0]);
        assert!((tally.r2().unwrap() - (0.9486081370449679 + 1.0) / 2.0).abs() < 1e-12, "{:?}", tally.r2());
        assert!((tally.mse() - 0.375 / 2.0).abs() < 1e-12 && (tally.mae() - 0.25).abs() < 1e-12);
        assert_eq!(tally.images(), 4);
        tally.add(&[0.0, 5.0], &[0.0, 4.0]);
        assert!(tally.r2().unwrap() < 0.5);
    }
}
