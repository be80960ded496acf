//! Judging features without training anything: the classes of their nearest neighbours.

use kernels::Arch;
use kernels::gemm::{Packed, Start, product};
use rayon::prelude::*;

use crate::tally::Tally;

/// Test images compared with training images at a time, by a thread.
const TEST_BLOCK: usize = 64;
/// Training images that they are compared with at a time.
const TRAINING_BLOCK: usize = 4096;
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
/// training images votes for its class with exp(similarity / 0.07) (arXiv:1805.01978, section 3.4). A
/// class without a vote is not told, however few others have one. Beside the features, memory is taken
/// for `k` neighbours of every test image and for a block of similarities.
///
/// ```
/// use finetune::{Features, knn};
///
/// let training = Features { values: &[1.0, 0.0, 0.0, 1.0], labels: &[0, 1] };
/// let test = Features { values: &[0.9, 0.1], labels: &[0] };
/// assert_eq!(knn(training, test, 2, 1).top1_accuracy(), 1.0);
/// ```
pub fn knn(training: Features, test: Features, classes: usize, k: usize) -> Tally {
    let mut tally = Tally::new(classes);
    for (neighbours, label) in nearest(training, test, k).iter().zip(test.labels) {
        tally.add(&vote(neighbours, training.labels, classes), &[*label]);
    }
    tally
}

/// The `k` nearest training images of every test image.
fn nearest(training: Features, test: Features, k: usize) -> Vec<Vec<Neighbour>> {
    let width = training.values.len() / training.labels.len().max(1);
    let mut nearest = vec![Vec::new(); test.labels.len()];
    if width == 0 || k == 0 {
        return nearest;
    }
    for (number, block) in training.values.chunks(TRAINING_BLOCK * width).enumerate() {
        let (first, count) = (number * TRAINING_BLOCK, block.len() / width);
        let packed = Packed::transposed(Arch::new(), &normalized(block, width), width, count);
        nearest.par_chunks_mut(TEST_BLOCK).zip(test.values.par_chunks(TEST_BLOCK * width)).for_each(
            |(nearest, queries)| {
                let mut similarities = vec![0.0; nearest.len() * count];
                product(Arch::new(), &normalized(queries, width), &packed, &mut similarities, Start::Zero);
                for (nearest, row) in nearest.iter_mut().zip(similarities.chunks_exact(count)) {
                    keep_nearest(nearest, row, first, k);
                }
            },
        );
    }
    nearest
}

/// A training image, and how similar it is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Neighbour {
    index: usize,
    similarity: f32,
}

/// Adds those of a row of similarities that are among the `k` largest, nearest first; of equal ones the
/// earlier image. `first` is the image that the row begins with, later than all before.
fn keep_nearest(nearest: &mut Vec<Neighbour>, row: &[f32], first: usize, k: usize) {
    let threshold = nearest.get(k - 1).map_or(f32::NEG_INFINITY, |last| last.similarity);
    let is_full = nearest.len() == k;
    let found =
        row.iter().zip(first..).map(|(similarity, index)| Neighbour { index, similarity: *similarity });
    nearest.extend(found.filter(|found| !is_full || found.similarity > threshold));
    let order =
        |a: &Neighbour, b: &Neighbour| b.similarity.total_cmp(&a.similarity).then(a.index.cmp(&b.index));
    if nearest.len() > k {
        nearest.select_nth_unstable_by(k - 1, order);
        nearest.truncate(k);
        // Not what a whole block has taken.
        nearest.shrink_to(k);
    }
    nearest.sort_unstable_by(order);
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

/// Logarithms of every class's share of the votes, so that they are logits: −∞ for a class without one.
fn vote(neighbours: &[Neighbour], labels: &[u32], classes: usize) -> Vec<f32> {
    let mut votes = vec![0.0f64; classes];
    for Neighbour { index, similarity } in neighbours {
        votes[labels[*index] as usize] += (f64::from(*similarity) / TEMPERATURE).exp();
    }
    let sum: f64 = votes.iter().sum();
    votes.into_iter().map(|votes| (votes / sum).ln() as f32).collect()
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
        // The third has one neighbour of its class, at cos 10°, and two far away.
        let far: Vec<f64> =
            [10f64, 130.0, 140.0].iter().map(|d| (d.to_radians().cos() / TEMPERATURE).exp()).collect();
        let last = -(far[0] / far.iter().sum::<f64>()).ln() / 3.0;
        assert!((tally.loss() - expected - last).abs() < 1e-3, "{} {expected}", tally.loss());
    }

    /// With one neighbour there is one class to tell: the others do not come second to fifth.
    #[test]
    fn a_class_without_a_vote_is_never_right() {
        let training = Features { values: &[1.0, 0.0, 0.0, 1.0, -1.0, 0.0], labels: &[2, 0, 1] };
        let test = Features { values: &[0.9, 0.1, 0.1, 0.9, 1.0, 0.2], labels: &[2, 1, 0] };
        let tally = knn(training, test, 3, 1);
        assert_eq!((tally.top1, tally.top5), (1, 1));
        // All of them vote where more are asked for than there are.
        let tally = knn(training, test, 3, 9);
        assert_eq!((tally.top1, tally.top5), (1, 3));
    }

    #[test]
    fn blocks_find_the_neighbours_that_a_full_sort_finds() {
        // More images than a block takes, many of them equally similar, also across its border.
        let count = TRAINING_BLOCK + 700;
        let angle = |i: usize| (i * 37 % 251) as f32 * 0.02;
        let values: Vec<f32> = (0..count).flat_map(|i| [angle(i).cos(), angle(i).sin()]).collect();
        let labels: Vec<u32> = (0..count).map(|i| (i % 5) as u32).collect();
        let test = Features { values: &[1.0, 0.3, -0.2, 1.0], labels: &[0, 0] };
        for k in [1, 7, 40] {
            let found = nearest(Features { values: &values, labels: &labels }, test, k);
            for (found, query) in found.iter().zip(test.values.chunks(2)) {
                let query = normalized(query, 2);
                // The same image has the same similarity, to the last bit, wherever it stands.
                let mut all: Vec<_> = (0..251)
                    .map(|angle| {
                        let at = (angle as f32 * 0.02).sin_cos();
                        (angle, f64::from(query[0] * at.1 + query[1] * at.0))
                    })
                    .collect();
                all.sort_by(|a, b| b.1.total_cmp(&a.1));
                let expected =
                    all.iter().flat_map(|(angle, _)| (0..count).filter(move |i| i * 37 % 251 == *angle));
                let expected: Vec<usize> = expected.take(k).collect();
                assert_eq!(found.iter().map(|n| n.index).collect::<Vec<_>>(), expected, "{k}");
            }
        }
    }
}
