//! The classes of a data set, and where their images are.

use std::collections::BTreeMap;

use data::{Part, Target, Task};

/// A class of a data set.
pub(super) struct Class {
    pub(super) name: String,
    /// The number of the part, and that of the image in it, of each of its images.
    pub(super) places: Vec<(usize, usize)>,
}

/// The classes of all parts, in the order in which they are found.
pub(super) struct Classes(pub(super) Vec<Class>);

impl Classes {
    pub(super) fn of(parts: &[Part]) -> Self {
        let (mut classes, mut index) = (Vec::new(), BTreeMap::new());
        let with_classes = parts.iter().enumerate().filter(|(_, part)| part.images.task() != Task::Numbers);
        for (number, part) in with_classes {
            let mut of_name = |name: &String| {
                *index.entry(name.clone()).or_insert_with(|| {
                    classes.push(Class { name: name.clone(), places: Vec::new() });
                    classes.len() - 1
                })
            };
            let known: Vec<usize> = part.images.classes().iter().map(&mut of_name).collect();
            for image in 0..part.images.len() {
                let shown = shown(&part.images.target(image));
                shown.into_iter().for_each(|class| classes[known[class]].places.push((number, image)));
            }
        }
        Self(classes)
    }
}

/// The classes that an image shows.
fn shown(target: &Target) -> Vec<usize> {
    match target {
        Target::None => Vec::new(),
        Target::Class(class) => vec![*class as usize],
        Target::Values(values) => (0..values.len()).filter(|class| values[*class] > 0.0).collect(),
    }
}
