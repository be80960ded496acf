//! Which images health is measured on: the same all through a run, and after it was interrupted.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use data::{ImageSource, Subset, Task, order, with_classes};

use crate::experiment::Data;
use crate::health::section::HealthConfig;

/// Images of a class that the probes are fitted to, on average, at least: of more classes than leave so many,
/// some are chosen. Neighbours that are not there cannot be found.
const OF_A_CLASS: usize = 10;
/// The epoch whose order decides which images are chosen; no run comes so far.
const CHOICE: u64 = u64::MAX;

/// The images that health is measured on.
#[derive(Clone)]
pub struct Subjects {
    /// Those whose loss and features are measured.
    pub(crate) images: Arc<dyn ImageSource>,
    /// Whether nothing is learnt from them.
    pub(crate) held_out: bool,
    /// Images that they were taken from.
    pool: usize,
    pub(crate) probed: Option<Probed>,
}

/// Labelled images of the same classes, for probes.
#[derive(Clone)]
pub(crate) struct Probed {
    /// Those that probes are fitted to.
    pub(crate) known: Labelled,
    /// Those that they are judged on.
    pub(crate) asked: Labelled,
    pub(crate) classes: usize,
}

/// Images with a class each.
#[derive(Clone)]
pub(crate) struct Labelled(Vec<(Arc<dyn ImageSource>, Vec<u32>)>);

impl Subjects {
    /// Chooses the images by a seed: those to be measured evenly spread over what is held out, or over the
    /// training images where nothing is; those of the probes at random, to fit among the training images
    /// and to judge among those held out, as far as there are enough. None where nothing is to be measured.
    pub fn of(data: &Data, config: &HealthConfig, seed: u64) -> Option<Self> {
        if !config.enabled {
            return None;
        }
        let held_out = data.validation.as_ref().filter(|images| !images.is_empty());
        let pool = held_out.unwrap_or(&data.training);
        let (images, count) = (pool.len(), config.images.min(pool.len()));
        let chosen: HashSet<usize> = (0..count).map(|place| place * images / count).collect();
        Some(Self {
            images: Arc::new(Subset::new(pool, |index| chosen.contains(&index))),
            held_out: held_out.is_some(),
            pool: images,
            probed: Probed::of(data, config.probed_of(data.training.len()), seed),
        })
    }

    /// Images that are measured, and images that the probes see beside them.
    pub(crate) fn counts(&self) -> [usize; 2] {
        let probed = self.probed.as_ref();
        [self.images.len(), probed.map_or(0, |probed| probed.known.len() + probed.asked.len())]
    }

    /// In words: `128 of 500 held-out images, probes fitted to 250 and judged on 250`.
    pub fn describe(&self) -> String {
        let what = if self.held_out { "held-out" } else { "training" };
        let none = if self.held_out { "" } else { ", none being held out" };
        let probes = self.probed.as_ref().map_or(String::new(), |Probed { known, asked, .. }| {
            format!("; probes fitted to {} images and judged on {}", known.len(), asked.len())
        });
        format!("loss and features of {} of {} {what} images{none}{probes}", self.images.len(), self.pool)
    }
}

impl Probed {
    /// None where images have no class, or only one.
    fn of(data: &Data, images: usize, seed: u64) -> Option<Self> {
        let training = &data.training;
        if training.task() != Task::Class {
            return None;
        }
        let held_out = data.validation.clone().and_then(|held_out| {
            // Their numbers must mean the same.
            with_classes(held_out, training.classes()).ok()
        });
        let there: BTreeSet<u32> = (0..training.len()).filter_map(|index| training.label(index)).collect();
        let chosen: Vec<u32> = {
            let (there, most) = (there.into_iter().collect::<Vec<_>>(), images / (2 * OF_A_CLASS));
            let order = order(seed, CHOICE, there.len()).into_iter().take(most.max(2));
            order.map(|place| there[place as usize]).collect()
        };
        if chosen.len() < 2 {
            return None;
        }
        let of_them = |source: &Arc<dyn ImageSource>| -> Vec<usize> {
            let order = order(seed, CHOICE, source.len()).into_iter().map(|index| index as usize);
            order.filter(|index| source.label(*index).is_some_and(|label| chosen.contains(&label))).collect()
        };
        let (half, mut trained_on) = (images / 2, of_them(training));
        let mut held: Vec<usize> = held_out.as_ref().map_or(Vec::new(), of_them);
        held.truncate(half);
        // Where too few are held out, others that the probes are not fitted to.
        let missing = (half - held.len()).min(trained_on.len() / 2);
        let others = trained_on.split_off(trained_on.len() - missing);
        trained_on.truncate(half);
        let asked = held_out.as_ref().map(|source| (source, held)).into_iter().chain([(training, others)]);
        let (known, asked) = (Labelled::of([(training, trained_on)], &chosen), Labelled::of(asked, &chosen));
        (known.len() > 0 && asked.len() > 0).then_some(Self { known, asked, classes: chosen.len() })
    }
}

impl Labelled {
    /// Images of sources by index; their classes are numbered by their place in `classes`.
    fn of<'a>(
        parts: impl IntoIterator<Item = (&'a Arc<dyn ImageSource>, Vec<usize>)>,
        classes: &[u32],
    ) -> Self {
        let part = |(source, indices): (&Arc<dyn ImageSource>, Vec<usize>)| {
            let indices: HashSet<usize> = indices.into_iter().collect();
            let images: Arc<dyn ImageSource> =
                Arc::new(Subset::new(source, |index| indices.contains(&index)));
            let class = |label| classes.iter().position(|class| *class == label).unwrap_or_default() as u32;
            let labels = (0..images.len()).map(|index| class(images.label(index).unwrap_or_default()));
            let labels = labels.collect();
            (images, labels)
        };
        Self(parts.into_iter().map(part).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|(_, labels)| labels.len()).sum()
    }

    /// The sources of the images, and the class of each.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&Arc<dyn ImageSource>, &[u32])> {
        self.0.iter().map(|(images, labels)| (images, &labels[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::{DataConfig, Labels};
    use image::RgbImage;
    use std::path::Path;

    /// Images of three classes by turns.
    fn source(folder: &Path, images: usize) -> Arc<dyn ImageSource> {
        for index in 0..images {
            let path = folder.join(format!("class{}/{index:03}.png", index % 3));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::new(1, 1).save(path).unwrap();
        }
        let data = DataConfig { path: Some(folder.to_owned()), ..DataConfig::default() };
        data.open(Labels::Ignored).unwrap()
    }

    fn data(training: &Arc<dyn ImageSource>, validation: Option<&Arc<dyn ImageSource>>) -> Data {
        let (training, validation) = (Arc::clone(training), validation.map(Arc::clone));
        Data { training, validation, remarks: Vec::new() }
    }

    fn names(images: &Labelled) -> Vec<String> {
        let of =
            |images: &Arc<dyn ImageSource>| (0..images.len()).map(|at| images.name(at)).collect::<Vec<_>>();
        images.parts().flat_map(|(images, _)| of(images)).collect()
    }

    #[test]
    fn held_out_images_are_measured_and_judge_the_probes() {
        let dir = tempfile::tempdir().unwrap();
        let [training, held] =
            [("a", 60), ("b", 12)].map(|(name, count)| source(&dir.path().join(name), count));
        let config = HealthConfig { images: 4, probe_images: Some(40), ..HealthConfig::default() };
        let all = data(&training, Some(&held));
        let subjects = Subjects::of(&all, &config, 1).unwrap();
        let expected = "loss and features of 4 of 12 held-out images; probes fitted to";
        assert!(subjects.describe().starts_with(expected), "{}", subjects.describe());
        let measured: Vec<_> = (0..4).map(|at| subjects.images.name(at)).collect();
        assert_eq!(measured, [0, 3, 6, 9].map(|at| held.name(at)));
        let probed = subjects.probed.as_ref().unwrap();
        // 40 images are for two classes of the three, of which 40 are trained on and 8 are held out.
        assert_eq!((probed.classes, probed.known.len(), probed.asked.len()), (2, 20, 20));
        let (known, asked) = (names(&probed.known), names(&probed.asked));
        assert_eq!(asked.iter().filter(|name| name.contains("/b/")).count(), 8);
        assert!(asked.iter().all(|name| !known.contains(name)), "{known:?} {asked:?}");
        // Both have both classes, numbered from 0.
        for part in [&probed.known, &probed.asked] {
            let labels: BTreeSet<u32> = part.parts().flat_map(|(_, labels)| labels.to_vec()).collect();
            assert_eq!(labels.into_iter().collect::<Vec<_>>(), [0, 1]);
        }
        let again = Subjects::of(&all, &config, 1).unwrap().probed.unwrap();
        assert_eq!((names(&again.known), names(&again.asked)), (known, asked));
        assert_ne!(
            names(&Subjects::of(&all, &config, 2).unwrap().probed.unwrap().known),
            names(&again.known)
        );
    }

    #[test]
    fn where_nothing_is_held_out_training_images_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let training = source(dir.path(), 10);
        let subjects = Subjects::of(&data(&training, None), &HealthConfig::default(), 1).unwrap();
        assert!(!subjects.held_out && subjects.images.len() == 10);
        assert!(subjects.describe().contains("10 of 10 training images, none being held out"));
        assert_eq!(subjects.counts(), [10, 10]);
        let Probed { known, asked, classes } = subjects.probed.unwrap();
        assert_eq!((known.len(), asked.len(), classes), (5, 5, 3));
        assert!(names(&asked).iter().all(|name| !names(&known).contains(name)));
        let off = HealthConfig { enabled: false, ..HealthConfig::default() };
        assert!(Subjects::of(&data(&training, None), &off, 1).is_none());
        let without = HealthConfig { probe_images: Some(0), ..HealthConfig::default() };
        assert!(Subjects::of(&data(&training, None), &without, 1).unwrap().probed.is_none());
    }
}
