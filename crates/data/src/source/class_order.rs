//! The order of classes that a table or shards name.

use std::collections::BTreeSet;

/// Classes in order: by number if all of them are numbers, so that class 2 comes before class 10, else by
/// name.
pub(super) fn in_order(names: BTreeSet<String>) -> Vec<String> {
    let mut names: Vec<_> = names.into_iter().collect();
    if names.iter().all(|name| name.parse::<u64>().is_ok()) {
        // What are equal numbers, as 7 and 07, stays in the order of names.
        names.sort_by_key(|name| name.parse::<u64>().unwrap_or(u64::MAX));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_and_names_are_spelt() {
        let order = |names: &[&str]| in_order(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(order(&["10", "9", "2", "07"]), ["2", "07", "9", "10"]);
        assert_eq!(order(&["10", "9", "b2", "b10"]), ["10", "9", "b10", "b2"]);
    }
}
