//! How often a classifier is right.

use serde::Serialize;

/// Counts over images whose class is known. The same for any division into batches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tally {
    /// Number of classes.
    pub classes: usize,
    /// Number of images counted.
    pub images: u64,
    /// Images whose class had the highest score.
    pub top1: u64,
    /// Images whose class was among the five highest scores (or all, where there are fewer).
    pub top5: u64,
    /// Σ −log p(class).
    loss: f64,
    /// True class × predicted class.
    pub confusion: Vec<u64>,
}

impl Tally {
    /// Starts with nothing counted.
    pub fn new(classes: usize) -> Self {
        Self { classes, images: 0, top1: 0, top5: 0, loss: 0.0, confusion: vec![0; classes * classes] }
    }

    /// Counts images by their logits `[N, classes]`. Of equal scores the lower class wins; a score that is
    /// no number never does, nor does −∞, a class that is impossible.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) {
        for (logits, label) in logits.chunks_exact(self.classes).zip(labels) {
            let label = *label as usize;
            let order = |v: f32| if v.is_nan() { f32::NEG_INFINITY } else { v };
            let own = order(logits[label]);
            let above = (logits.iter().enumerate())
                .filter(|(class, v)| {
                    let v = order(**v);
                    v > own || (v == own && *class < label)
                })
                .count();
            let wrong = own == f32::NEG_INFINITY;
            let predicted = (0..self.classes)
                .fold(0, |best, class| if order(logits[class]) > order(logits[best]) { class } else { best });
            self.images += 1;
            self.top1 += u64::from(above == 0 && !wrong);
            self.top5 += u64::from(above < 5 && !wrong);
            self.loss -= log_probability(logits, label);
            self.confusion[label * self.classes + predicted] += 1;
        }
    }

    fn share(&self, count: u64) -> f64 {
        count as f64 / self.images.max(1) as f64
    }

    /// Top-1 accuracy, 0 to 1.
    pub fn top1_accuracy(&self) -> f64 {
        self.share(self.top1)
    }

    /// Top-5 accuracy, 0 to 1.
    pub fn top5_accuracy(&self) -> f64 {
        self.share(self.top5)
    }

    /// Mean cross-entropy.
    pub fn loss(&self) -> f64 {
        self.loss / self.images.max(1) as f64
    }

    /// Share of every class's images that are recognised; none of a class without images.
    pub fn class_accuracy(&self) -> Vec<Option<f64>> {
        let rows = self.confusion.chunks_exact(self.classes).enumerate();
        rows.map(|(class, row)| {
            let images: u64 = row.iter().sum();
            (images > 0).then(|| row[class] as f64 / images as f64)
        })
        .collect()
    }
}

fn log_probability(logits: &[f32], label: usize) -> f64 {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |m, v| m.max(f64::from(*v)));
    let sum: f64 = logits.iter().map(|v| (f64::from(*v) - largest).exp()).sum();
    f64::from(logits[label]) - largest - sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 12] = [3.0, 1.0, 2.0, 0.0, 0.0, 0.0, -1.0, f32::NAN, 5.0, f32::NAN, 0.0, 1.0];

    #[test]
    fn counts_by_hand() {
        let mut tally = Tally::new(3);
        tally.add(&LOGITS, &[2, 0, 1, 0]);
        // The second ties and the lower class wins; the third and fourth are no numbers.
        assert_eq!((tally.images, tally.top1), (4, 1));
        assert_eq!(tally.confusion, [1, 0, 1, 0, 0, 1, 1, 0, 0]);
        assert_eq!(tally.top5, 2);
        let mut sound = Tally::new(3);
        sound.add(&LOGITS[..6], &[2, 0]);
        let first = (1f64.exp() + 2f64.exp() + 3f64.exp()).ln() - 2.0;
        assert!((sound.loss() - (first + 3f64.ln()) / 2.0).abs() < 1e-12);
        assert_eq!(sound.class_accuracy(), [Some(1.0), None, Some(0.0)]);
    }

    #[test]
    fn an_impossible_class_is_never_right() {
        let mut tally = Tally::new(3);
        tally.add(&[0.0, f32::NEG_INFINITY, f32::NEG_INFINITY], &[1]);
        assert_eq!((tally.top1, tally.top5, tally.loss()), (0, 0, f64::INFINITY));
        tally.add(&[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY], &[1]);
        assert_eq!((tally.top1, tally.top5), (1, 1));
    }

    #[test]
    fn batches_do_not_matter() {
        let logits: Vec<f32> = (0..70).map(|i| ((i * 37 % 23) as f32).sin()).collect();
        let labels: Vec<u32> = (0..10).map(|i| i % 7).collect();
        let mut whole = Tally::new(7);
        whole.add(&logits, &labels);
        let mut parts = Tally::new(7);
        for i in [0..3, 3..4, 4..10] {
            parts.add(&logits[7 * i.start..7 * i.end], &labels[i]);
        }
        assert_eq!(whole, parts);
        assert!(whole.top5 < whole.images && whole.top1 < whole.top5);
    }
}
