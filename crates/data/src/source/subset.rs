//! Part of a source, and its division into training and validation images.

use std::sync::Arc;

use burn_dataset::Dataset;
use rand::seq::SliceRandom;

use crate::error::DataError;
use crate::rng::{Stream, rng};
use crate::source::{ImageSource, Sample, Task};

/// Some images of a source, with the classes of the whole.
pub struct Subset {
    source: Arc<dyn ImageSource>,
    indices: Vec<usize>,
}

impl Subset {
    /// The images of a source for whose index `keep` holds.
    pub fn new(source: &Arc<dyn ImageSource>, keep: impl Fn(usize) -> bool) -> Self {
        let indices = (0..source.len()).filter(|index| keep(*index)).collect();
        Self { source: Arc::clone(source), indices }
    }

    /// Where its images stand in the source.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl Dataset<Sample, DataError> for Subset {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        self.source.get(self.indices[index])
    }

    fn len(&self) -> usize {
        self.indices.len()
    }
}

impl ImageSource for Subset {
    fn classes(&self) -> &[String] {
        self.source.classes()
    }

    fn task(&self) -> Task {
        self.source.task()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.source.label(self.indices[index])
    }

    fn name(&self, index: usize) -> String {
        self.source.name(self.indices[index])
    }
}

/// Divides a source at random into (training, validation), `fraction` of every class going to the
/// latter, rounded; every class keeps at least one image for training. Images without a class of
/// their own are divided like one more class. No image is lost, and the division depends on nothing
/// but the source and the seed.
pub fn stratified_split(source: &Arc<dyn ImageSource>, fraction: f64, seed: u64) -> (Subset, Subset) {
    let (mut training, mut validation) = (Vec::new(), Vec::new());
    let classes = source.classes().len() as u32;
    for (number, class) in (0..classes).map(Some).chain([None]).enumerate() {
        let mut images: Vec<usize> =
            (0..source.len()).filter(|index| source.label(*index) == class).collect();
        images.shuffle(&mut rng(seed, Stream::Split, 0, number as u64));
        let held_out = (images.len() as f64 * fraction).round() as usize;
        let kept = images.split_off(held_out.min(images.len().saturating_sub(1)));
        training.extend(kept);
        validation.extend(images);
    }
    training.sort_unstable();
    validation.sort_unstable();
    let subset = |indices| Subset { source: Arc::clone(source), indices };
    (subset(training), subset(validation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Target;
    use std::collections::BTreeSet;

    /// Class `index % 10 / 9`: nine of ten images in the first.
    struct Numbers(usize, Vec<String>);

    impl Dataset<Sample, DataError> for Numbers {
        fn get(&self, index: usize) -> Result<Sample, DataError> {
            let target = self.label(index).map_or(Target::None, Target::Class);
            Ok(Sample { image: image::RgbImage::new(1, 1), target })
        }

        fn len(&self) -> usize {
            self.0
        }
    }

    impl ImageSource for Numbers {
        fn classes(&self) -> &[String] {
            &self.1
        }

        fn label(&self, index: usize) -> Option<u32> {
            Some(u32::from(index % 10 == 9))
        }

        fn name(&self, index: usize) -> String {
            index.to_string()
        }
    }

    #[test]
    fn every_class_is_divided_and_no_image_lost() {
        let source = |count| -> Arc<dyn ImageSource> {
            Arc::new(Numbers(count, vec!["many".to_owned(), "few".to_owned()]))
        };
        let names = |subset: &Subset| (0..subset.len()).map(|i| subset.name(i)).collect::<BTreeSet<_>>();
        let all = source(200);
        let (training, validation) = stratified_split(&all, 0.2, 1);
        assert_eq!((training.len(), validation.len()), (160, 40));
        let few = (0..validation.len()).filter(|i| validation.label(*i) == Some(1)).count();
        assert_eq!(few, 4);
        assert_eq!(names(&training).union(&names(&validation)).count(), 200);
        let again = stratified_split(&all, 0.2, 1).1;
        assert_eq!(names(&validation), names(&again));
        assert_ne!(names(&validation), names(&stratified_split(&all, 0.2, 2).1));
        // The only image of a class stays where it is trained on.
        let (training, _) = stratified_split(&source(10), 0.9, 0);
        assert!((0..training.len()).any(|i| training.label(i) == Some(1)));
    }
}
