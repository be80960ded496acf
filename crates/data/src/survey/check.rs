//! What is wrong with the images of a data set.

use std::collections::BTreeSet;

use crate::decode::DecodeOptions;
use crate::error::DataError;
use crate::parts::Part;
use crate::source::{ImageSource, Split, Task, image_of};
use crate::survey::duplicates::{Group, groups};
use crate::survey::fingerprint::Fingerprint;
use crate::survey::{Place, look_at, places};

/// Images that are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alike {
    /// The part and the name of each.
    pub images: Vec<(Option<Split>, String)>,
    /// Whether all their pixels are the same; otherwise they look the same.
    pub is_exact: bool,
}

/// What is wrong with the images of a data set.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Images that were read.
    pub images: usize,
    /// Name of every image that cannot be read, and why.
    pub corrupt: Vec<(String, DataError)>,
    /// Images that are there more than once, in one part.
    pub duplicates: Vec<Alike>,
    /// Images that stand in several parts.
    pub leaks: Vec<Alike>,
    /// Classes of which the training images show one image.
    pub classes_of_one: Vec<String>,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.corrupt.is_empty()
            && self.duplicates.is_empty()
            && self.leaks.is_empty()
            && self.classes_of_one.is_empty()
    }
}

/// Reads and decodes all images; `progress` hears how many have been read. Of each 272 bytes are kept.
pub fn check(parts: &[Part], options: DecodeOptions, progress: &mut dyn FnMut(usize)) -> Findings {
    let places = places(parts);
    let look = |(part, index): Place| {
        image_of(&*parts[part].images, index, options).map(|image| Fingerprint::of(&image))
    };
    let seen = look_at(&places, look, progress);
    let name = |(part, index): Place| parts[part].images.name(index);
    let mut findings = Findings { images: places.len(), ..Findings::default() };
    let mut fingerprints = Vec::with_capacity(seen.len());
    for (place, seen) in places.iter().zip(seen) {
        fingerprints.push(seen.map_err(|error| findings.corrupt.push((name(*place), error))).ok());
    }
    for Group { images, is_exact } in groups(&fingerprints) {
        let of = |at: &usize| (parts[places[*at].0].split, name(places[*at]));
        let alike = Alike { images: images.iter().map(of).collect(), is_exact };
        let among: BTreeSet<_> = alike.images.iter().map(|(split, _)| *split).collect();
        if among.len() > 1 { findings.leaks.push(alike) } else { findings.duplicates.push(alike) }
    }
    findings.classes_of_one = parts.first().map_or(Vec::new(), |part| classes_of_one(&*part.images));
    findings
}

/// Classes that one image has.
fn classes_of_one(images: &dyn ImageSource) -> Vec<String> {
    if images.task() != Task::Class {
        return Vec::new();
    }
    let mut counts = vec![0; images.classes().len()];
    (0..images.len()).filter_map(|index| images.label(index)).for_each(|class| counts[class as usize] += 1);
    let of_one = images.classes().iter().zip(counts).filter(|(_, count)| *count == 1);
    of_one.map(|(class, _)| class.clone()).collect()
}
