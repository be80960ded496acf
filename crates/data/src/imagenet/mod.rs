//! The 1000 classes of ImageNet (ILSVRC 2012), whose folders are called by WordNet id and whose
//! networks by words, or by nothing.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Id and words of every class, in the order of the outputs. Its source and licence stand beside it.
const TABLE: &str = include_str!("imagenet_1k.txt");

static CLASSES: LazyLock<Vec<(&str, &str)>> =
    LazyLock::new(|| TABLE.lines().filter_map(|line| line.split_once('\t')).collect());

/// Classes by id, by all their words, and by the first of these; two are called `crane`.
static BY_NAME: LazyLock<HashMap<&str, Vec<usize>>> = LazyLock::new(|| {
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, (id, words)) in CLASSES.iter().enumerate() {
        let mut names = vec![*id, words, first(words)];
        names.dedup();
        names.into_iter().for_each(|name| by_name.entry(name).or_default().push(index));
    }
    by_name
});

/// `tench` of `tench, Tinca tinca`.
fn first(words: &str) -> &str {
    words.split(", ").next().unwrap_or(words)
}

/// Names of the classes as transformers has them: `tench, Tinca tinca`.
pub fn imagenet_names() -> Vec<String> {
    CLASSES.iter().map(|(_, words)| (*words).to_owned()).collect()
}

/// WordNet ids of the classes: `n01440764`.
pub fn imagenet_ids() -> Vec<String> {
    CLASSES.iter().map(|(id, _)| (*id).to_owned()).collect()
}

/// Whether this is the id of one of the classes: `n01440764`.
pub(crate) fn is_imagenet_id(name: &str) -> bool {
    name.starts_with('n') && CLASSES.binary_search_by(|(id, _)| (*id).cmp(name)).is_ok()
}

/// The classes that a name may mean: none, one, or the two that it is the first word of.
fn may_mean(name: &str) -> &'static [usize] {
    let known = |name: &str| BY_NAME.get(name).map(|classes| &classes[..]);
    known(name).or_else(|| known(first(name))).unwrap_or_default()
}

/// The same, but the one of which it is all words where there is one: 638 of `maillot`, which is also
/// the first word of 639.
fn means(name: &str) -> &'static [usize] {
    let all = may_mean(name);
    let mut whole = all.iter().enumerate().filter(|(_, class)| CLASSES[**class].1 == name);
    match (whole.next(), whole.next()) {
        (Some((at, _)), None) => &all[at..=at],
        _ => all,
    }
}

/// Where the classes that `wanted` means stand among `names`, which may spell them otherwise; none
/// for those that mean no class of ImageNet, are not among them, or could be several.
pub(crate) fn imagenet_positions(wanted: &[String], names: &[String]) -> Vec<Option<usize>> {
    let mut at: HashMap<usize, Vec<usize>> = HashMap::new();
    for (position, name) in names.iter().enumerate() {
        means(name).iter().for_each(|class| at.entry(*class).or_default().push(position));
    }
    // In the order that all networks have, two may be called the same.
    let is_in_place =
        |class: &usize| names.len() == CLASSES.len() && may_mean(&names[*class]).contains(class);
    let find = |name: &String| {
        let &[class] = means(name) else { return None };
        match at.get(&class).map(|positions| &positions[..]) {
            _ if is_in_place(&class) => Some(class),
            Some([position]) => Some(*position),
            _ => None,
        }
    };
    let found: Vec<Option<usize>> = wanted.iter().map(find).collect();
    let mut uses: HashMap<usize, usize> = HashMap::new();
    found.iter().flatten().for_each(|position| *uses.entry(*position).or_default() += 1);
    found.into_iter().map(|position| position.filter(|position| uses[position] == 1)).collect()
}

/// Whether two lists name the same classes of ImageNet in the same order.
pub fn are_same_imagenet_classes(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && imagenet_positions(a, b).iter().enumerate().all(|(at, found)| *found == Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_id_has_its_place_among_the_names() {
        let (names, ids) = (imagenet_names(), imagenet_ids());
        assert_eq!((names.len(), &names[0][..], &ids[999][..]), (1000, "tench, Tinca tinca", "n15075141"));
        assert!(ids.is_sorted() && ids.iter().all(|id| is_imagenet_id(id)) && !is_imagenet_id("n00000001"));
        assert!(are_same_imagenet_classes(&ids, &names) && !are_same_imagenet_classes(&ids, &names[1..]));
        let first_words: Vec<String> = names.iter().map(|name| first(name).to_owned()).collect();
        assert!(are_same_imagenet_classes(&ids, &first_words));
    }

    #[test]
    fn some_of_the_classes_are_found_by_either_name() {
        let names = owned(&["church, church building", "tench", "n03888257"]);
        let wanted =
            owned(&["n01440764", "n03028079", "parachute, chute", "n02979186", "tench, Tinca tinca"]);
        assert_eq!(imagenet_positions(&wanted[..4], &names), [Some(1), Some(0), Some(2), None]);
        // Two of them are one class.
        assert_eq!(imagenet_positions(&wanted, &names)[0], None);
        let cranes = owned(&["n02012849", "n03126707", "crane", "n03710721"]);
        let found = imagenet_positions(&cranes, &imagenet_names());
        assert_eq!(found, [Some(134), Some(517), None, Some(639)]);
        assert_eq!(imagenet_positions(&cranes[..2], &owned(&["crane"])), [None, None]);
    }
}
