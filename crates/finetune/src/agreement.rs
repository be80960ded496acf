//! How alike two networks judge the same images.

use crate::problem::ProblemType;

/// How alike two networks judge the same images; the same for any division into batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    problem: ProblemType,
    /// Outputs of an image.
    outputs: usize,
    /// Judgements that were compared: an image's class, each of its labels, or each of its numbers.
    compared: u64,
    /// How many of them are the same; of numbers, Σ |difference|.
    sum: f64,
}

impl Agreement {
    /// Starts with nothing compared.
    pub fn new(problem: ProblemType, outputs: usize) -> Self {
        Self { problem, outputs, compared: 0, sum: 0.0 }
    }

    /// Compares two networks' outputs of the same images, `[N, outputs]`.
    pub fn add(&mut self, a: &[f32], b: &[f32]) {
        let pairs = || a.iter().zip(b);
        let (compared, sum) = match self.problem {
            ProblemType::SingleLabelClassification => {
                let rows = || a.chunks_exact(self.outputs).zip(b.chunks_exact(self.outputs));
                (rows().count(), rows().filter(|(a, b)| first(a) == first(b)).count() as f64)
            }
            // A label is told from a probability of 0.5 on.
            ProblemType::MultiLabelClassification => {
                (pairs().count(), pairs().filter(|(a, b)| (**a >= 0.0) == (**b >= 0.0)).count() as f64)
            }
            ProblemType::Regression => {
                (pairs().count(), pairs().map(|(a, b)| f64::from((a - b).abs())).sum())
            }
        };
        self.compared += compared as u64;
        self.sum += sum;
    }

    /// Name and value of what says it: the share of images whose most likely class is the same, or of
    /// labels that are told alike; of numbers, their mean absolute difference.
    pub fn named(&self) -> (&'static str, f64) {
        let name = match self.problem {
            ProblemType::SingleLabelClassification | ProblemType::MultiLabelClassification => "agreement",
            ProblemType::Regression => "mean_difference",
        };
        (name, self.sum / self.compared.max(1) as f64)
    }
}

/// The most likely class, of equal ones the lower.
fn first(outputs: &[f32]) -> usize {
    (0..outputs.len()).fold(0, |best, class| if outputs[class] > outputs[best] { class } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(problem: ProblemType, a: &[f32], b: &[f32]) -> (&'static str, f64) {
        let mut agreement = Agreement::new(problem, 2);
        agreement.add(&a[..2], &b[..2]);
        agreement.add(&a[2..], &b[2..]);
        agreement.named()
    }

    #[test]
    fn counts_by_hand() {
        let (a, b) = ([1.0, 2.0, 0.5, -0.5, -3.0, -1.0], [1.5, 2.0, 0.25, 0.0, -3.0, -4.0]);
        let classes = named(ProblemType::SingleLabelClassification, &a, &b);
        assert_eq!(classes, ("agreement", 2.0 / 3.0));
        assert_eq!(named(ProblemType::MultiLabelClassification, &a, &b), ("agreement", 5.0 / 6.0));
        assert_eq!(named(ProblemType::Regression, &a, &b), ("mean_difference", 4.25 / 6.0));
    }
}
