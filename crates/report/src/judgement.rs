//! How well a classifier does on images that it was not trained on, as the page shows it.

use data::AnyImage;
use finetune::Tally;
use serde::Serialize;

use crate::error::ReportError;
use crate::images::shortened;
use crate::jpeg::{data_url, shrunk};

/// Images that are shown of those that are wrong with the highest confidence.
pub const MOST_MISTAKES: usize = 24;
/// Their longer side in the page, in pixels.
const SIDE: u32 = 144;
const QUALITY: u8 = 82;
/// Pairs of classes that are drawn; of more, those with the fewest images are left out and counted.
const PAIRS: usize = 15_000;

/// How well a classifier does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The folder of the network that was judged.
    checkpoint: String,
    /// The part of the data that it was judged by.
    part: String,
    images: u64,
    top1: f64,
    top5: f64,
    loss: f64,
    /// What is to be known of the images, a sentence each.
    remarks: Vec<String>,
    classes: Vec<String>,
    /// Images of each class.
    class_images: Vec<u64>,
    /// True class, predicted class, images; of pairs that have some.
    counts: Vec<(usize, usize, u64)>,
    /// Images of pairs that are not among them.
    left_out: u64,
    mistakes: Vec<Mistake>,
}

/// An image whose class is not the one that the network is sure of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mistake {
    name: String,
    truth: usize,
    predicted: usize,
    confidence: f32,
    /// An address that holds a thumbnail; none if the image could not be shown.
    image: Option<String>,
}

impl Judgement {
    /// What a tally over images of `classes` says; `part` is what they are of their data.
    pub fn new(
        checkpoint: String,
        part: String,
        classes: &[String],
        tally: &Tally,
        mistakes: Vec<Mistake>,
        remarks: Vec<String>,
    ) -> Self {
        let count = classes.len().max(1);
        let rows = tally.confusion.chunks_exact(count);
        let pairs = tally.confusion.iter().enumerate().filter(|(_, images)| **images > 0);
        let mut counts: Vec<_> = pairs.map(|(pair, images)| (pair / count, pair % count, *images)).collect();
        counts.sort_by_key(|(_, _, images)| std::cmp::Reverse(*images));
        let left_out = counts.iter().skip(PAIRS).map(|(_, _, images)| images).sum();
        counts.truncate(PAIRS);
        Self {
            checkpoint,
            part,
            images: tally.images,
            top1: tally.top1_accuracy(),
            top5: tally.top5_accuracy(),
            loss: tally.loss(),
            remarks,
            classes: classes.iter().map(|class| shortened(class)).collect(),
            class_images: rows.map(|row| row.iter().sum()).collect(),
            counts,
            left_out,
            mistakes,
        }
    }
}

impl Mistake {
    /// An image of class `truth` that is taken for `predicted` with a probability of `confidence`; without an
    /// image, its name alone is shown.
    ///
    /// # Errors
    /// A thumbnail that cannot be encoded.
    pub fn new(
        name: &str,
        [truth, predicted]: [usize; 2],
        confidence: f32,
        image: Option<AnyImage>,
    ) -> Result<Self, ReportError> {
        let thumbnail = image.map(|image| data_url(&shrunk(image.into_rgb(), SIDE), QUALITY)).transpose()?;
        Ok(Self { name: shortened(name), truth, predicted, confidence, image: thumbnail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_sparse_and_most_come_first() {
        let classes = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let mut tally = Tally::new(3);
        let logits = [9.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 9.0];
        tally.add(&logits, &[0, 0, 0, 2]);
        let found =
            Judgement::new("c".to_owned(), "val".to_owned(), &classes, &tally, Vec::new(), Vec::new());
        assert_eq!(found.counts, [(0, 1, 2), (0, 0, 1), (2, 2, 1)]);
        assert_eq!((&found.class_images[..], found.left_out, found.top1), (&[3, 0, 1][..], 0, 0.5));
    }

    #[test]
    fn rare_pairs_of_very_many_are_left_out_and_counted() {
        let classes: Vec<String> = (0..130).map(|class| class.to_string()).collect();
        let mut tally = Tally::new(130);
        tally.confusion.fill(1);
        tally.confusion[16_899] = 7;
        let found = Judgement::new(String::new(), String::new(), &classes, &tally, Vec::new(), Vec::new());
        assert_eq!((found.counts[0], found.counts.len(), found.left_out), ((129, 129, 7), 15_000, 1_900));
    }
}
