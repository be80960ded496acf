//! How well several classes an image are recognised.

/// Scores over images that show any number of classes.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelTally {
    /// Of each class: every image's logit, and whether it shows the class.
    scores: Vec<Vec<(f32, bool)>>,
    /// Σ binary cross-entropy.
    loss: f64,
    /// Right, found and existing labels, where a class counts as found from probability 1/2 on.
    right: u64,
    found: u64,
    existing: u64,
}

impl LabelTally {
    /// Starts with nothing counted.
    pub fn new(classes: usize) -> Self {
        Self { scores: vec![Vec::new(); classes], loss: 0.0, right: 0, found: 0, existing: 0 }
    }

    /// Counts images by their logits `[N, classes]` and by what they show (1) and do not show (0).
    pub fn add(&mut self, logits: &[f32], values: &[f32]) {
        let classes = self.scores.len();
        for (place, (logit, value)) in logits.iter().zip(values).enumerate() {
            let (x, shown) = (f64::from(*logit), *value > 0.5);
            self.scores[place % classes].push((*logit, shown));
            self.loss += x.max(0.0) - x * f64::from(*value) + (-x.abs()).exp().ln_1p();
            self.right += u64::from(shown && x >= 0.0);
            self.found += u64::from(x >= 0.0);
            self.existing += u64::from(shown);
        }
    }

    /// Number of images counted.
    pub fn images(&self) -> u64 {
        self.scores.first().map_or(0, Vec::len) as u64
    }

    /// Mean binary cross-entropy over images and classes.
    pub fn loss(&self) -> f64 {
        self.loss / (self.images() * self.scores.len() as u64).max(1) as f64
    }

    /// F1 of all labels together (micro), at probability 1/2; none where no label exists and none was
    /// found.
    pub fn f1(&self) -> Option<f64> {
        let labels = self.found + self.existing;
        (labels > 0).then(|| 2.0 * self.right as f64 / labels as f64)
    }

    /// Average precision of each class; none of a class that no image shows.
    pub fn average_precision(&self) -> Vec<Option<f64>> {
        self.scores.iter().map(|scores| average_precision(scores.clone())).collect()
    }

    /// Mean of the average precision over the classes that any image shows; none where there are none.
    pub fn mean_average_precision(&self) -> Option<f64> {
        let known: Vec<f64> = self.average_precision().into_iter().flatten().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }
}

/// Σ (recall − recall before) · precision over falling thresholds, as scikit-learn's
/// `average_precision_score`; equal scores share a threshold.
fn average_precision(mut scores: Vec<(f32, bool)>) -> Option<f64> {
    let positives = scores.iter().filter(|(_, shown)| *shown).count();
    scores.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut seen, mut right, mut sum) = (0, 0, 0.0);
    for tied in scores.chunk_by(|a, b| a.0 == b.0) {
        let new = tied.iter().filter(|(_, shown)| *shown).count();
        (seen, right) = (seen + tied.len(), right + new);
        sum += new as f64 * right as f64 / seen as f64;
    }
    (positives > 0).then(|| sum / positives as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_scikit_learn() {
        let mut tally = LabelTally::new(3);
        // average_precision_score([0,1,0,1], [-1,.5,.5,2]) = 0.8333…; the last class is never shown.
        tally.add(&[-1.0, 3.0, 0.0, 0.5, -3.0, 1.0], &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
        tally.add(&[0.5, -2.0, -1.0, 2.0, 1.0, -1.0], &[0.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
        let found = tally.average_precision();
        let expected = [0.5 * 1.0 + 0.5 * (2.0 / 3.0), 0.5 * 1.0 + 0.5 * (2.0 / 3.0)];
        assert!((found[0].unwrap() - expected[0]).abs() < 1e-12, "{found:?}");
        assert!((found[1].unwrap() - expected[1]).abs() < 1e-12, "{found:?}");
        assert_eq!(found[2], None);
        assert!((tally.mean_average_precision().unwrap() - 5.0 / 6.0).abs() < 1e-12);
        // Found: 3, .5, 1, .5, 2, 1 and 0 (probability 1/2); right among them: 3, .5 and 2.
        assert_eq!((tally.images(), tally.f1()), (4, Some(2.0 * 3.0 / (7.0 + 4.0))));
        assert!(LabelTally::new(2).loss().abs() < 1e-12);
    }
}
