//! Judging features by the linear classifier that has a closed form: ridge regression to the classes.

use rayon::prelude::*;

use crate::health::features::{Features, Standardize};

/// The penalty on squared weights, for each image that is fitted to: beside features of variance 1.
const RIDGE: f64 = 0.1;

/// The scores of every class for every test image, `[test images, classes]`, by ridge regression: features
/// are brought to mean 0 and variance 1 over the training images, and W minimises
/// ‖X W − (Y − mean of Y)‖² + 0.1 · n · ‖W‖² over the n of them, Y being 1 at an image's class and 0
/// elsewhere. Takes the smaller of two systems of equations, one in features and one in images.
pub fn ridge_scores(training: Features, test: Features, classes: usize) -> Vec<f64> {
    let (width, images) = (training.width(), training.labels.len());
    let scale = Standardize::of(training.values, width);
    let x = Matrix { rows: images, columns: width, values: scale.apply(training.values).collect() };
    let mut shares = vec![0.0; classes];
    training.labels.iter().for_each(|label| shares[*label as usize] += 1.0 / images as f64);
    let mut y = Matrix { rows: images, columns: classes, values: vec![0.0; images * classes] };
    for (row, label) in y.values.chunks_exact_mut(classes.max(1)).zip(training.labels) {
        row.iter_mut().zip(&shares).for_each(|(value, share)| *value = -share);
        row[*label as usize] += 1.0;
    }
    let (transposed, penalty) = (x.transposed(), RIDGE * images as f64);
    let weights = match width <= images {
        true => transposed.gram(penalty).solve(transposed.times(&y)),
        false => transposed.times(&x.gram(penalty).solve(y)),
    };
    let asked =
        Matrix { rows: test.labels.len(), columns: width, values: scale.apply(test.values).collect() };
    let mut scores = asked.times(&weights).values;
    for row in scores.chunks_exact_mut(classes.max(1)) {
        row.iter_mut().zip(&shares).for_each(|(score, share)| *score += share);
    }
    scores
}

/// Share of test images whose class has the highest [score](ridge_scores), 0 to 1; of equal scores the lower
/// class wins.
pub fn ridge_probe(training: Features, test: Features, classes: usize) -> f64 {
    let scores = ridge_scores(training, test, classes);
    let best =
        |row: &[f64]| (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
    let rows = scores.chunks_exact(classes.max(1)).zip(test.labels);
    let right = rows.filter(|(row, label)| best(row) == **label as usize).count();
    right as f64 / test.labels.len().max(1) as f64
}

/// Rows of numbers.
struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    fn transposed(&self) -> Self {
        let values = (0..self.columns).flat_map(|column| (0..self.rows).map(move |row| (row, column)));
        let values = values.map(|(row, column)| self.values[row * self.columns + column]).collect();
        Self { rows: self.columns, columns: self.rows, values }
    }

    /// A · B.
    fn times(&self, other: &Self) -> Self {
        let mut values = vec![0.0; self.rows * other.columns];
        values.par_chunks_mut(other.columns.max(1)).enumerate().for_each(|(row, out)| {
            for (factor, line) in self.row(row).iter().zip(other.values.chunks_exact(other.columns)) {
                out.iter_mut().zip(line).for_each(|(sum, value)| *sum += factor * value);
            }
        });
        Self { rows: self.rows, columns: other.columns, values }
    }

    /// A · Aᵀ + `penalty` · I.
    fn gram(&self, penalty: f64) -> Self {
        let side = self.rows;
        let mut values = vec![0.0; side * side];
        values.par_chunks_mut(side.max(1)).enumerate().for_each(|(row, out)| {
            let own = self.row(row);
            for (column, value) in out.iter_mut().enumerate() {
                *value = own.iter().zip(self.row(column)).map(|(a, b)| a * b).sum();
            }
            out[row] += penalty;
        });
        Self { rows: side, columns: side, values }
    }

    /// X of A · X = B, for a symmetric positive definite A, by Cholesky's decomposition A = L · Lᵀ.
    fn solve(mut self, mut b: Self) -> Self {
        let (side, width) = (self.rows, b.columns);
        for row in 0..side {
            let (above, own) = self.values.split_at_mut(row * side);
            let own = &mut own[..side];
            for (column, line) in above.chunks_exact(side).enumerate() {
                let sum: f64 = own[..column].iter().zip(line).map(|(a, b)| a * b).sum();
                own[column] = (own[column] - sum) / line[column];
            }
            let sum: f64 = own[..row].iter().map(|value| value * value).sum();
            own[row] = (own[row] - sum).sqrt();
        }
        // L · Z = B from the top, then Lᵀ · X = Z from the bottom.
        for row in 0..side {
            let (above, own) = b.values.split_at_mut(row * width);
            let factors = self.row(row);
            for (factor, line) in factors.iter().zip(above.chunks_exact(width)) {
                own[..width].iter_mut().zip(line).for_each(|(value, z)| *value -= factor * z);
            }
            own[..width].iter_mut().for_each(|value| *value /= factors[row]);
        }
        for row in (0..side).rev() {
            let (own, below) = b.values[row * width..].split_at_mut(width);
            for (line, lower) in below.chunks_exact(width).zip(row + 1..side) {
                let factor = self.values[lower * side + row];
                own.iter_mut().zip(line).for_each(|(value, x)| *value -= factor * x);
            }
            own.iter_mut().for_each(|value| *value /= self.values[row * side + row]);
        }
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::features::tests::images;

    /// The scores of the first two of 25 images and how many are right, by `numpy.linalg.solve`: of more
    /// images than features, and of fewer.
    type Expected = (usize, usize, [f64; 6], f64);

    const BY_NUMPY: [Expected; 2] = [
        (
            40,
            6,
            [
                0.5296358099773701,
                0.6436832645615588,
                -0.1733190745389292,
                -0.019166326084043006,
                0.13264276940256328,
                0.88652355668148,
            ],
            15.0,
        ),
        (
            15,
            24,
            [
                0.5475265771276887,
                0.48354561874273017,
                -0.03107219587041976,
                -0.6551760922861074,
                0.33550218253844244,
                1.3196739097476646,
            ],
            21.0,
        ),
    ];

    #[test]
    fn scores_are_those_of_numpy() {
        for (count, width, expected, right) in BY_NUMPY {
            let ((known, known_labels), (asked, asked_labels)) =
                (images(count, 0.0, width), images(25, 0.5, width));
            let training = Features { values: &known, labels: &known_labels };
            let test = Features { values: &asked, labels: &asked_labels };
            let scores = ridge_scores(training, test, 3);
            for (found, expected) in scores.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
            assert_eq!(ridge_probe(training, test, 3), right / 25.0);
        }
    }

    #[test]
    fn features_that_say_nothing_leave_the_most_frequent_class() {
        let training = Features { values: &[2.0; 10], labels: &[1, 0, 1, 1, 0] };
        let test = Features { values: &[2.0; 8], labels: &[1, 1, 0, 2] };
        assert_eq!(ridge_probe(training, test, 3), 0.5);
    }
}
