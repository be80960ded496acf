//! How often the classes of nearest neighbours are right.

use trainer::health::{self, Features};

use crate::tally::Tally;

/// Counts how often [k-nearest-neighbour classification](health::knn) is right.
///
/// ```
/// use finetune::knn;
/// use trainer::health::Features;
///
/// let training = Features { values: &[1.0, 0.0, 0.0, 1.0], labels: &[0, 1] };
/// let test = Features { values: &[0.9, 0.1], labels: &[0] };
/// assert_eq!(knn(training, test, 2, 1).top1_accuracy(), 1.0);
/// ```
pub fn knn(training: Features, test: Features, classes: usize, k: usize) -> Tally {
    let mut tally = Tally::new(classes);
    health::knn(training, test, classes, k, |votes, label| tally.add(votes, &[label]));
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What similarities are divided by before they become weights.
    const TEMPERATURE: f64 = 0.07;

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
}
