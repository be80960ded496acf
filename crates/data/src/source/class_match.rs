//! Which class of some images is which output of a network.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use crate::error::DataError;
use crate::image_list::normal;
use crate::imagenet::{imagenet_positions, is_imagenet_id};
use crate::source::with_classes::{renumbered, with_classes};
use crate::source::{ImageSource, Task};

/// Where the names of a network's outputs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// The checkpoint names them.
    #[default]
    Own,
    /// It does not; there are as many as ImageNet has classes, and they are taken for these.
    ImageNet,
    /// It does not, and they are only numbered.
    Numbers,
}

/// How classes and outputs were matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassMatch {
    /// Their names are equal.
    Name,
    /// They are equal but for capitals, spaces and the like.
    Spelling,
    /// Ids and words of the same classes of ImageNet.
    ImageNet,
    /// The first class is the first output, and so on.
    Order,
    /// A file says which is which.
    Map,
}

/// Images whose classes are numbered as the outputs of a network.
pub struct Matched {
    /// The images.
    pub source: Arc<dyn ImageSource>,
    /// What to call the outputs.
    pub classes: Vec<String>,
    /// How the classes were found among them.
    pub how: ClassMatch,
}

/// Numbers the classes of a source as the outputs of a network: by name where they agree, as classes
/// of ImageNet where one side has ids and the other words, in their order where the network has no
/// names, or other ones, for exactly as many.
///
/// # Errors
/// Names of which only some agree, other numbers of classes, a name that two outputs have.
pub fn match_classes(
    source: Arc<dyn ImageSource>,
    names: &[String],
    naming: Naming,
) -> Result<Matched, DataError> {
    if source.task() != Task::Class {
        let source = with_classes(source, names)?;
        return Ok(Matched { source, classes: names.to_vec(), how: ClassMatch::Name });
    }
    let folders = source.classes().to_vec();
    if naming == Naming::Own {
        refuse_twins(&folders, names)?;
        if let Ok(source) = with_classes(Arc::clone(&source), names) {
            return Ok(Matched { source, classes: names.to_vec(), how: ClassMatch::Name });
        }
    }
    let ways = [
        (ClassMatch::Spelling, if naming == Naming::Own { spelt(&folders, names) } else { Vec::new() }),
        (
            ClassMatch::ImageNet,
            if naming == Naming::Numbers { Vec::new() } else { imagenet_positions(&folders, names) },
        ),
    ];
    for (how, found) in &ways {
        if !found.is_empty()
            && let Some(index) = found.iter().copied().collect()
        {
            let source = renumbered(source, names, index);
            return Ok(Matched { source, classes: names.to_vec(), how: *how });
        }
    }
    let agree = |at: usize| ways.iter().any(|(_, found)| found.get(at).copied().flatten().is_some());
    let agreeing = (0..folders.len()).filter(|at| agree(*at)).count();
    let only_some_agree = match naming {
        Naming::Own => agreeing > 0,
        // Names that a network does not have may be words of ImageNet by chance; ids are not.
        _ => 2 * agreeing > folders.len() || folders.iter().any(|folder| is_imagenet_id(folder)),
    };
    if only_some_agree && naming != Naming::Numbers || folders.len() != names.len() {
        let strangers = folders.iter().enumerate().filter(|(at, _)| !agree(*at));
        return Err(DataError::OtherClasses {
            strangers: strangers.map(|(_, folder)| folder.clone()).collect(),
            classes: folders.len(),
            outputs: names.len(),
            known: if naming == Naming::Own { names.iter().take(3).cloned().collect() } else { Vec::new() },
        });
    }
    let source = renumbered(source, &folders, (0..folders.len()).collect());
    Ok(Matched { source, classes: folders, how: ClassMatch::Order })
}

/// A class whose name two outputs have could be either.
fn refuse_twins(folders: &[String], names: &[String]) -> Result<(), DataError> {
    let mut seen = HashSet::new();
    let twins: HashSet<String> =
        names.iter().map(|name| normal(name)).filter(|name| !seen.insert(name.clone())).collect();
    match folders.iter().find(|folder| twins.contains(&normal(folder))) {
        Some(folder) => Err(DataError::TwinClass(folder.clone())),
        None => Ok(()),
    }
}

/// Where each folder stands among the names, if nothing but letters and digits counts; none for one
/// that is not there, or could be several.
fn spelt(folders: &[String], names: &[String]) -> Vec<Option<usize>> {
    let plain = |name: &String| -> String {
        let letters: String = normal(name).chars().filter(|c| c.is_alphanumeric()).collect();
        letters.to_lowercase()
    };
    let mut at: HashMap<String, Option<usize>> = HashMap::new();
    for (position, name) in names.iter().map(plain).enumerate() {
        at.entry(name).and_modify(|known| *known = None).or_insert(Some(position));
    }
    let mut seen = HashSet::new();
    let folders: Vec<String> = folders.iter().map(plain).collect();
    let twins: HashSet<&String> = folders.iter().filter(|folder| !seen.insert(*folder)).collect();
    let find = |folder: &String| {
        at.get(folder).copied().flatten().filter(|_| !folder.is_empty() && !twins.contains(folder))
    };
    folders.iter().map(find).collect()
}

/// The first name that stands elsewhere if numbers in names count as numbers and capitals do not, as
/// timm sorts folders; torchvision and the official code compare letter by letter.
pub fn sorted_otherwise_by_timm(names: &[String]) -> Option<&str> {
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_by_key(|name| natural_key(name));
    names.iter().zip(sorted).find(|(name, other)| name != other).map(|(name, _)| &name[..])
}

/// Stretches of digits as numbers, others as lower-case text; a text comes before every number.
fn natural_key(name: &str) -> Vec<(String, u128)> {
    let mut parts = vec![(String::new(), 0u128)];
    let mut in_number = false;
    for c in name.to_lowercase().chars() {
        if let Some(digit) = c.to_digit(10) {
            if let Some((_, number)) = parts.last_mut() {
                *number = number.saturating_mul(10).saturating_add(u128::from(digit));
            }
            in_number = true;
            continue;
        }
        if std::mem::take(&mut in_number) {
            parts.push((String::new(), 0));
        }
        if let Some((text, _)) = parts.last_mut() {
            text.push(c);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DataError;
    use crate::imagenet::imagenet_names;
    use crate::source::testing::Named;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// How folders match names, and which output each of them is.
    fn matched(
        folders: &[&str],
        names: &[&str],
        naming: Naming,
    ) -> Result<(ClassMatch, Vec<u32>), DataError> {
        let source = Arc::new(Named(owned(folders)));
        let matched = match_classes(source, &owned(names), naming)?;
        let labels = (0..folders.len()).filter_map(|index| matched.source.label(index)).collect();
        Ok((matched.how, labels))
    }

    #[test]
    fn names_that_agree_count_whatever_their_order() {
        let own = |folders: &[&str], names: &[&str]| matched(folders, names, Naming::Own);
        assert_eq!(own(&["a", "b"], &["b", "c", "a"]).unwrap(), (ClassMatch::Name, vec![2, 0]));
        assert_eq!(
            own(&["Apple", "red_fox"], &["red fox", "apple"]).unwrap(),
            (ClassMatch::Spelling, vec![1, 0])
        );
        assert_eq!(own(&["cafe\u{301}"], &["b", "caf\u{e9}"]).unwrap(), (ClassMatch::Name, vec![1]));
        for (folders, names, said) in [
            (&["a", "b", "x"][..], &["a", "b", "c"][..], "1 of the 3 classes of the data are not among"),
            (&["x", "Apple"], &["apple", "zebra"], "1 of the 2 classes"),
            (&["x"], &["a", "b"], "are not among the 2 of the network (a, b …): x"),
            (&["a", "b"], &["a", "a", "b"], "two outputs of the network are called `a`"),
        ] {
            let error = own(folders, names).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("--class-map"), "{error}");
        }
    }

    #[test]
    fn the_order_counts_where_no_name_does() {
        assert_eq!(matched(&["x", "y"], &["a", "b"], Naming::Own).unwrap(), (ClassMatch::Order, vec![0, 1]));
        // Made-up names are no names: the third folder is LABEL_10, and the third output.
        let folders = ["LABEL_0", "LABEL_1", "LABEL_10", "LABEL_2"];
        let numbered = ["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"];
        let unnamed = matched(&folders, &numbered, Naming::Numbers).unwrap();
        assert_eq!(unnamed, (ClassMatch::Order, vec![0, 1, 2, 3]));
        let error = matched(&["x"], &numbered, Naming::Numbers).unwrap_err().to_string();
        assert!(error.contains("no names for its 4 outputs, the data have 1 class"), "{error}");
    }

    #[test]
    fn ids_and_words_of_imagenet_are_the_same_classes() {
        let names = imagenet_names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for naming in [Naming::Own, Naming::ImageNet] {
            let found = matched(&["n03888257", "n01440764", "n03126707"], &names, naming).unwrap();
            assert_eq!(found, (ClassMatch::ImageNet, vec![701, 0, 517]));
            let mixed = matched(&["n03888257", "somebody"], &names, naming).unwrap_err().to_string();
            assert!(mixed.contains("somebody"), "{mixed}");
        }
        let others: Vec<String> = (0..1000).map(|i| format!("street {i:03}")).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        assert_eq!(matched(&others, &names, Naming::ImageNet).unwrap().0, ClassMatch::Order);
        let wordy: Vec<&str> = names.iter().map(|name| name.split(", ").next().unwrap()).collect();
        let mut sorted = wordy.clone();
        sorted.sort();
        sorted.dedup();
        let error = matched(&sorted, &wordy, Naming::ImageNet).unwrap_err();
        assert!(matches!(error, DataError::OtherClasses { .. }), "{error}");
    }

    #[test]
    fn timm_sorts_numbers_as_numbers() {
        let found = |names: &[&str]| sorted_otherwise_by_timm(&owned(names)).map(str::to_owned);
        assert_eq!(found(&["0", "1", "10", "2"]).as_deref(), Some("10"));
        assert_eq!(found(&["Zebra", "apple"]).as_deref(), Some("Zebra"));
        assert_eq!(found(&["a", "a1", "a2", "b"]), None);
        assert_eq!(found(&["n01440764", "n01443537", "n15075141"]), None);
    }
}
