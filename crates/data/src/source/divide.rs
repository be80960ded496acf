//! Holding images out for validation.

use std::collections::BTreeMap;
use std::sync::Arc;

use flate2::Crc;
use rand::RngExt;

use crate::image_list::ImageList;
use crate::rng::{Stream, rng};
use crate::source::{ImageSource, Split, Subset};

/// Divides a source into (training, validation), about `fraction` of it going to the latter.
///
/// The side of an image follows from the seed and its name, so that others may come and go without
/// moving it; `recorded` ones stay where they were. In a class that would have none on one side, the
/// image that is nearest to it goes there, though the last one of a class is always trained on.
pub fn divide(
    source: &Arc<dyn ImageSource>,
    fraction: f64,
    seed: u64,
    name: impl Fn(usize) -> String,
    recorded: Option<&ImageList>,
) -> (Subset, Subset) {
    let mut classes: BTreeMap<Option<u32>, Vec<Candidate>> = BTreeMap::new();
    for index in 0..source.len() {
        let name = name(index);
        let recorded = recorded.and_then(|list| list.split(&name));
        let candidate = Candidate { index, draw: draw(seed, &name), recorded };
        classes.entry(source.label(index)).or_default().push(candidate);
    }
    let mut held_out = vec![false; source.len()];
    for class in classes.values() {
        class.iter().for_each(|image| held_out[image.index] = image.is_held_out(fraction));
        balance(class, &mut held_out);
    }
    (Subset::new(source, |index| !held_out[index]), Subset::new(source, |index| held_out[index]))
}

/// An image to be put on one side.
struct Candidate {
    index: usize,
    /// In [0, 1); small ones are held out.
    draw: f64,
    recorded: Option<Split>,
}

impl Candidate {
    fn is_held_out(&self, fraction: f64) -> bool {
        match self.recorded {
            Some(split) => split != Split::Train,
            None => self.draw < fraction,
        }
    }
}

/// Sees to it that a class has an image to train on and, of two or more, one to validate on.
fn balance(class: &[Candidate], held_out: &mut [bool]) {
    let free = || class.iter().filter(|image| image.recorded.is_none());
    let count = class.iter().filter(|image| held_out[image.index]).count();
    let chosen = match count {
        _ if count == class.len() => free().max_by(|a, b| a.draw.total_cmp(&b.draw)),
        0 if class.len() > 1 => free().min_by(|a, b| a.draw.total_cmp(&b.draw)),
        _ => None,
    };
    if let Some(image) = chosen {
        held_out[image.index] = count == 0;
    }
}

fn draw(seed: u64, name: &str) -> f64 {
    let mut crc = Crc::new();
    crc.update(name.as_bytes());
    rng(seed, Stream::Split, 0, u64::from(crc.sum())).random()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DataError;
    use crate::source::{Sample, Stored, decoded};
    use burn_dataset::Dataset;
    use std::collections::BTreeSet;

    /// Images of these names; the first letter is the class.
    struct Named(Vec<&'static str>, Vec<String>);

    impl Dataset<Sample, DataError> for Named {
        fn get(&self, index: usize) -> Result<Sample, DataError> {
            decoded(self, index)
        }

        fn len(&self) -> usize {
            self.0.len()
        }
    }

    impl ImageSource for Named {
        fn classes(&self) -> &[String] {
            &self.1
        }

        fn label(&self, index: usize) -> Option<u32> {
            Some(u32::from(self.0[index].as_bytes()[0] - b'a'))
        }

        fn name(&self, index: usize) -> String {
            self.0[index].to_owned()
        }

        fn bytes(&self, index: usize) -> u64 {
            index as u64
        }

        fn read(&self, _: usize) -> Result<Stored, DataError> {
            Ok(Stored::Decoded(image::RgbImage::new(1, 1).into()))
        }
    }

    fn source(names: Vec<&'static str>) -> Arc<dyn ImageSource> {
        let names: Vec<_> = names.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        Arc::new(Named(names, ["a", "b", "c"].map(str::to_owned).to_vec()))
    }

    fn held_out(
        source: &Arc<dyn ImageSource>,
        fraction: f64,
        seed: u64,
        recorded: Option<&ImageList>,
    ) -> BTreeSet<String> {
        let (training, validation) = divide(source, fraction, seed, |i| source.name(i), recorded);
        assert_eq!(training.len() + validation.len(), source.len());
        (0..validation.len()).map(|i| validation.name(i)).collect()
    }

    fn many(count: usize) -> Vec<&'static str> {
        (0..count).map(|i| -> &'static str { format!("{}{i}", ["a", "b"][i % 2]).leak() }).collect()
    }

    #[test]
    fn other_images_move_none() {
        let all = many(400);
        let before = held_out(&source(all.clone()), 0.2, 1, None);
        assert!((55..105).contains(&before.len()), "{}", before.len());
        assert_eq!(before, held_out(&source(all.clone()), 0.2, 1, None));
        assert_ne!(before, held_out(&source(all.clone()), 0.2, 2, None));
        // One image a class more, at the front, and a third of the others gone.
        let kept: Vec<_> = all.iter().copied().filter(|name| !name.ends_with(['3', '6', '9'])).collect();
        let after = held_out(&source([vec!["a!", "b!"], kept.clone()].concat()), 0.2, 1, None);
        for name in kept {
            assert_eq!(before.contains(name), after.contains(name), "{name}");
        }
        // The same names in any version.
        let first: Vec<_> = before.into_iter().take(4).collect();
        assert_eq!(first, FIRST);
    }

    const FIRST: [&str; 4] = ["a0", "a100", "a102", "a132"];

    #[test]
    fn a_class_of_two_has_one_on_either_side_and_a_single_image_is_trained_on() {
        for seed in 0..20 {
            for fraction in [0.01, 0.99] {
                let found = held_out(&source(vec!["a1", "a2", "b1", "b2", "b3", "c1"]), fraction, seed, None);
                let of = |class: char| found.iter().filter(|name| name.starts_with(class)).count();
                let expected = if fraction < 0.5 { [1, 1, 0] } else { [1, 2, 0] };
                assert_eq!(['a', 'b', 'c'].map(of), expected, "{found:?}");
            }
        }
    }

    #[test]
    fn recorded_images_stay_where_they_were() {
        let three = source(vec!["a1", "a2", "a3"]);
        let (training, validation) = divide(&three, 0.3, 5, |i| three.name(i), None);
        let list = ImageList::of("".as_ref(), &training, Some(&validation));
        let before = held_out(&three, 0.3, 5, None);
        for seed in 0..20 {
            let after = held_out(&source(vec!["a0", "a1", "a2", "a3", "a4"]), 0.3, seed, Some(&list));
            for name in ["a1", "a2", "a3"] {
                assert_eq!(before.contains(name), after.contains(name), "{name}");
            }
        }
    }
}
