//! Judging features without training anything: the classes of their nearest neighbours.

use kernels::Arch;
use kernels::gemm::{Packed, Start, product};
use rayon::prelude::*;

use crate::health::features::Features;

/// Test images compared with training images at a time, by a thread.
const TEST_BLOCK: usize = 64;
/// Training images that they are compared with at a time.
const TRAINING_BLOCK: usize = 4096;
/// What similarities are divided by before they become weights.
const TEMPERATURE: f64 = 0.07;

/// Weighted k-nearest-neighbour classification by cosine similarity: each of the `k` nearest
/// training images votes for its class with exp(similarity / 0.07) (arXiv:1805.01978, section 3.4). `judge`
/// is told of every test image the logarithms of the classes' shares of the votes, which are logits, and its
/// class. A class without a vote has −∞: it is not told, however few others have one. Beside the features,
/// memory is taken for `k` neighbours of every test image and for a block of similarities.
///
/// ```
/// use trainer::health::{Features, knn};
///
/// let training = Features { values: &[1.0, 0.0, 0.0, 1.0], labels: &[0, 1] };
/// let test = Features { values: &[0.9, 0.1], labels: &[0] };
/// knn(training, test, 2, 1, |votes, label| assert!(votes[label as usize] == 0.0));
/// ```
pub fn knn(training: Features, test: Features, classes: usize, k: usize, mut judge: impl FnMut(&[f32], u32)) {
    for (neighbours, label) in nearest(training, test, k).iter().zip(test.labels) {
        judge(&vote(neighbours, training.labels, classes), *label);
    }
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
    use crate::health::features::tests::images;

    /// The shares of the votes for the first two of 25 images, and how many are right, by NumPy.
    const BY_NUMPY: ([f64; 6], usize) = (
        [
            0.4424214571988414,
            0.19702840390259502,
            0.36055013889856363,
            0.16703316703089852,
            0.18476001693703403,
            0.6482068160320675,
        ],
        11,
    );

    #[test]
    fn votes_are_those_of_numpy() {
        let ((known, known_labels), (asked, asked_labels)) = (images(40, 0.0, 6), images(25, 0.5, 6));
        let training = Features { values: &known, labels: &known_labels };
        let test = Features { values: &asked, labels: &asked_labels };
        let (mut shares, mut right) = (Vec::new(), 0);
        knn(training, test, 3, 5, |votes, label| {
            shares.extend(votes.iter().map(|vote| f64::from(vote.exp())));
            right += usize::from(votes.iter().all(|vote| *vote <= votes[label as usize]));
        });
        for (found, expected) in shares.iter().zip(BY_NUMPY.0) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        assert_eq!((shares.len(), right), (75, BY_NUMPY.1));
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
