//! The images of a run, in numbers.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use data::{ImageList, Split};
use finetune::ProblemType;
use serde::Serialize;

use crate::plan::Stored;

/// Classes that are listed one by one.
const LISTED: usize = 200;
/// Characters of a name that are shown.
pub(crate) const NAME: usize = 120;

/// The images of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Images {
    path: Option<String>,
    pub(crate) train: usize,
    val: usize,
    train_bytes: u64,
    val_bytes: u64,
    /// Height and width that the network gets.
    size: Option<[usize; 2]>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    /// Name, images that are trained on, images that are held out.
    classes: Vec<(String, usize, usize)>,
    more_classes: usize,
}

impl Images {
    pub(crate) fn of(list: &ImageList, stored: Option<&Stored>) -> Self {
        let config = stored.map(Stored::data);
        let mut classes = match stored.is_some_and(has_classes) {
            true => classes(list),
            false => Vec::new(),
        };
        let more_classes = classes.len().saturating_sub(LISTED);
        if more_classes > 0 {
            classes.sort_by_key(|(_, train, _)| Reverse(*train));
            classes.truncate(LISTED);
        }
        Self {
            path: config.and_then(|data| data.path.as_ref()).map(data::shown),
            train: list.count(Split::Train),
            val: list.count(Split::Val),
            train_bytes: list.bytes(Split::Train),
            val_bytes: list.bytes(Split::Val),
            size: config.map(|data| data.image_size.pixels()),
            mean: config.map(|data| data.mean.clone()),
            std: config.map(|data| data.std.clone()),
            classes,
            more_classes,
        }
    }
}

/// Whether the targets of the list are classes, one an image.
fn has_classes(stored: &Stored) -> bool {
    stored.problem().is_none_or(|problem| problem == ProblemType::SingleLabelClassification)
}

/// By name; none where targets are none or, as those of a pretraining may be, something else than classes.
fn classes(list: &ImageList) -> Vec<(String, usize, usize)> {
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (column, split) in [Split::Train, Split::Val].into_iter().enumerate() {
        for (target, images) in list.targets(split) {
            counts.entry(target).or_default()[column] += images;
        }
    }
    let is_class = |target: &&str| !target.is_empty() && !target.contains('=');
    match counts.keys().all(is_class) {
        true => counts.into_iter().map(|(name, [train, val])| (shortened(name), train, val)).collect(),
        false => Vec::new(),
    }
}

/// A name that may be of any length, as far as it is shown.
pub(crate) fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"ü".repeat(500));
        assert_eq!((long.chars().count(), long.ends_with("ü…")), (NAME + 1, true));
    }
}
