//! Images that a network is wrong about with the highest confidence.

use crate::problem::ProblemType;

/// An image that is taken for another class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mistaken {
    /// The image, counted in the order in which images were added.
    pub image: usize,
    /// Its class.
    pub truth: usize,
    /// The class that has the highest score.
    pub predicted: usize,
    /// The probability of that class.
    pub confidence: f32,
}

/// The images that a network is wrong about with the highest confidence, of all that it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistakes {
    classes: usize,
    most: usize,
    seen: usize,
    /// By falling confidence.
    worst: Vec<Mistaken>,
}

impl Mistakes {
    /// Of a network of so many classes, at most so many images.
    pub fn new(classes: usize, most: usize) -> Self {
        Self { classes, most, seen: 0, worst: Vec::new() }
    }

    /// Looks at images by their logits `[N, classes]`. Of equal scores the lower class counts, as in a
    /// [tally](crate::Tally); of equal confidences the image that came first.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) {
        for (logits, label) in logits.chunks_exact(self.classes).zip(labels) {
            let predicted = (0..self.classes)
                .fold(0, |best, class| if logits[class] > logits[best] { class } else { best });
            let (image, truth) = (self.seen, *label as usize);
            self.seen += 1;
            if predicted != truth {
                let confidence = ProblemType::SingleLabelClassification.scores(logits)[predicted];
                self.insert(Mistaken { image, truth, predicted, confidence });
            }
        }
    }

    fn insert(&mut self, mistaken: Mistaken) {
        let place = self.worst.partition_point(|other| other.confidence >= mistaken.confidence);
        if place < self.most {
            self.worst.insert(place, mistaken);
            self.worst.truncate(self.most);
        }
    }

    /// Those images, by falling confidence.
    pub fn worst(&self) -> &[Mistaken] {
        &self.worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_of_the_wrong_ones_are_kept_in_order() {
        let mut mistakes = Mistakes::new(2, 2);
        // Margins of 1, 3 (right), 2, 2 and −4 towards class 0; one that ties is class 0.
        mistakes.add(&[1.0, 0.0, 3.0, 0.0, 2.0, 0.0], &[1, 0, 1]);
        mistakes.add(&[2.0, 0.0, 0.0, 4.0, 5.0, 5.0], &[1, 0, 0]);
        let found: Vec<_> = mistakes.worst().iter().map(|m| (m.image, m.truth, m.predicted)).collect();
        assert_eq!(found, [(4, 0, 1), (2, 1, 0)]);
        // 1 / (1 + e^−4).
        assert!((mistakes.worst()[0].confidence - 0.982_013_8).abs() < 1e-6);
        assert_eq!(Mistakes::new(2, 2).worst(), []);
    }
}
