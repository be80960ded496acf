//! Judging features without training anything: the classes of their nearest neighbours.

use kernels::Arch;
use kernels::gemm::{Packed, Start, product};
use rayon::prelude::*;

use crate::tally::Tally;

/// Test images compared with all training images at a time.
const BLOCK: usize = 64;
/// What similarities are divided by before they become weights.
const TEMPERATURE: f64 = 0.07;

/// Features of images, row by row, and their classes.
#[derive(Debug, Clone, Copy)]
pub struct Features<'a> {
    /// `[images, width]`.
    pub values: &'a [f32],
    /// A class index an image.
    pub labels: &'a [u32],
}

/// Weighted k-nearest-neighbour classification by cosine similarity: each of the `k` nearest
/// training images votes for its class with exp(similarity / 0.07) (arXiv:1805.01978, section 3.4).
///
/// ```
/// use finetune::{Features, knn};
///
/// let training = Features { values: &[1.0, 0.0, 0.0, 1.0], labels: &[0, 1] };
/// let test = Features { values: &[0.9, 0.1], labels: &[0] };
/// assert_eq!(knn(training, test, 2, 1).top1_accuracy(), 1.0);
/// ```
pub fn knn(training: Features, test: Features, classes: usize, k: usize) -> Tally {
    let width = training.values.len() / training.labels.len().max(1);
    let (neighbours, queries) = (normalized(training.values, width), normalized(test.values, width));
    let count = training.labels.len();
    let neighbours = Packed::transposed(Arch::new(), &neighbours, width, count);
    let votes: Vec<Vec<f32>> = queries
        .par_chunks(BLOCK * width)
        .map(|queries| {
            let rows = queries.len() / width;
            let mut similarities = vec![0.0; rows * count];
            product(Arch::new(), queries, &neighbours, &mut similarities, Start::Zero);
            similarities.chunks_exact(count).flat_map(|row| vote(row, training.labels, classes, k)).collect()
        })
        .collect();
    let mut tally = Tally::new(classes);
    tally.add(&votes.concat(), test.labels);
    tally
}

/// Rows of length 1; a row of zeros stays as it is.
fn normalized(values: &[f32], width: usize) -> Vec<f32> {
    let mut out = values.to_vec();
    for row in out.chunks_exact_mut(width) {
        let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
        }
    }
    out
}

/// Logarithms of every class's share of the votes, so that they are logits.
fn vote(similarities: &[f32], labels: &[u32], classes: usize, k: usize) -> Vec<f32> {
    let mut order: Vec<usize> = (0..similarities.len()).collect();
    // Of equal similarities the earlier image.
    order.sort_by(|a, b| similarities[*b].total_cmp(&similarities[*a]).then(a.cmp(b)));
    let mut votes = vec![0.0f64; classes];
    for index in order.into_iter().take(k) {
        votes[labels[index] as usize] += (f64::from(similarities[index]) / TEMPERATURE).exp();
    }
    let sum: f64 = votes.iter().sum();
    votes.into_iter().map(|votes| (votes / sum).max(1e-12).ln() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_vote_by_their_similarity() {
        // Directions in the plane, in degrees; lengths must not matter.
        let at = |degrees: f32, length: f32| {
            [length * degrees.to_radians().cos(), length * degrees.to_radians().sin()]
        };
        let training = [at(0.0, 1.0), at(30.0, 5.0), at(40.0, 0.1), at(180.0, 2.0)].concat();
        let labels = [0, 1, 1, 2];
        let training = Features { values: &training, labels: &labels };
        let test = [at(10.0, 3.0), at(10.0, 3.0), at(170.0, 1.0)].concat();
        let test = Features { values: &test, labels: &[0, 1, 2] };
        assert_eq!(knn(training, test, 3, 1).top1, 2);
        // With three neighbours the two of class 1 (cos 20°, cos 30°) outweigh the one of class 0
        // (cos 10°): e^13.42 + e^12.37 > e^14.07 is false, so class 0 still wins.
        let tally = knn(training, test, 3, 3);
        assert_eq!(tally.confusion, [1, 0, 0, 1, 0, 0, 0, 0, 1]);
        let weights: Vec<f64> =
            [10f64, 20.0, 30.0].iter().map(|d| (d.to_radians().cos() / TEMPERATURE).exp()).collect();
        let share = weights[0] / weights.iter().sum::<f64>();
        let expected = -(share.ln() + (1.0 - share).ln()) / 3.0;
        let last: f64 = -vote(&[-0.98, -0.94, -0.86, 0.98], &labels, 3, 3)[2] as f64 / 3.0;
        assert!((tally.loss() - expected - last).abs() < 1e-3, "{} {expected}", tally.loss());
    }
}
