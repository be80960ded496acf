//! Which images are the same, exactly or nearly.
//!
//! Two images are exactly the same if all their pixels are, and nearly the same if their perceptual hashes
//! differ in at most [`DISTANCE`] of 63 bits and their thumbnails by little of their contrast. Hashes that
//! differ in so few bits have a quarter in which they differ in one bit at most, so that an image is compared
//! with those alone that such a quarter is listed for, by 17 values of each quarter (multi-index hashing,
//! Norouzi et al., CVPR 2012).

use std::collections::HashMap;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::survey::fingerprint::Fingerprint;

/// Bits in which the hashes of nearly the same images differ, at most.
const DISTANCE: u32 = 7;
/// Parts of a hash; one of them differs in at most one bit where all differ in at most seven.
const QUARTERS: usize = 4;
/// Values of a quarter.
const VALUES: usize = 1 << 16;
/// Images that are compared with all others before what they were found to be like is noted.
const TOGETHER: usize = 1024;

/// Images that are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Their numbers, at least two, in order.
    pub images: Vec<usize>,
    /// Whether all their pixels are the same.
    pub is_exact: bool,
}

/// Groups of images that are the same, exactly or nearly, by the first of each. An image is in one group at
/// most; one that could not be read is in none. Plain images are only compared exactly.
pub fn groups(fingerprints: &[Option<Fingerprint>]) -> Vec<Group> {
    let known = || fingerprints.iter().enumerate().filter_map(|(at, found)| Some((at, found.as_ref()?)));
    let (mut links, mut first, mut distinct) = (Links::new(fingerprints.len()), HashMap::new(), Vec::new());
    for (at, found) in known() {
        match first.get(&found.content()) {
            Some(same) => links.join(*same, at),
            None => {
                first.insert(found.content(), at);
                distinct.extend(found.hash().map(|hash| Hashed { at, hash, found }));
            }
        }
    }
    join_alike(&distinct, &mut links);
    let mut members: HashMap<usize, Vec<usize>> = HashMap::new();
    known().for_each(|(at, _)| members.entry(links.root(at)).or_default().push(at));
    let content = |at: &usize| fingerprints[*at].as_ref().map(Fingerprint::content);
    let group = |images: Vec<usize>| {
        let is_exact = images.iter().all(|at| content(at) == content(&images[0]));
        Group { images, is_exact }
    };
    let mut groups: Vec<_> = members.into_values().filter(|images| images.len() > 1).map(group).collect();
    groups.sort_by_key(|group| group.images[0]);
    groups
}

/// An image with its hash.
struct Hashed<'a> {
    at: usize,
    hash: u64,
    found: &'a Fingerprint,
}

/// Joins images that are nearly the same.
fn join_alike(images: &[Hashed], links: &mut Links) {
    let tables: Vec<_> = (0..QUARTERS).map(|quarter| Table::of(images, quarter)).collect();
    for start in (0..images.len()).step_by(TOGETHER) {
        let some = start..(start + TOGETHER).min(images.len());
        let known = &*links;
        let alike = |number: usize| {
            let image = &images[number];
            let is_new = |other: &Hashed| known.root(other.at) != known.root(image.at);
            let others = candidates(&tables, image.hash).filter(move |other| *other < number);
            let near = others.map(|other| &images[other]);
            let near = near.filter(move |other| is_new(other) && other.found.is_like(image.found));
            near.map(|other| (other.at, image.at)).collect::<Vec<_>>()
        };
        let pairs: Vec<_> = some.into_par_iter().flat_map_iter(alike).collect();
        pairs.into_iter().for_each(|(a, b)| links.join(a, b));
    }
}

/// Images whose hashes differ from one in [`DISTANCE`] bits at most; some more than once.
fn candidates(tables: &[Table], hash: u64) -> impl Iterator<Item = usize> {
    tables.iter().enumerate().flat_map(move |(number, table)| {
        let value = quarter(hash, number);
        let values = [value].into_iter().chain((0..16).map(move |bit| value ^ 1 << bit));
        let listed = values.flat_map(|value| table.listed(value));
        let near = listed.filter(move |(other, _)| (other ^ hash).count_ones() <= DISTANCE);
        near.map(|(_, image)| *image as usize)
    })
}

fn quarter(hash: u64, number: usize) -> usize {
    (hash >> (16 * number)) as usize % VALUES
}

/// Images by one quarter of their hashes.
struct Table {
    /// Where the images of each value begin, and where the last one's end.
    starts: Vec<u32>,
    /// Hash and number of each image: side by side, since most are looked at for their hash alone.
    images: Vec<(u64, u32)>,
}

impl Table {
    fn of(images: &[Hashed], number: usize) -> Self {
        let mut starts = vec![0; VALUES + 1];
        images.iter().for_each(|image| starts[quarter(image.hash, number) + 1] += 1);
        (0..VALUES).for_each(|value| starts[value + 1] += starts[value]);
        let (mut next, mut listed) = (starts.clone(), vec![(0, 0); images.len()]);
        for (at, image) in images.iter().enumerate() {
            let place = &mut next[quarter(image.hash, number)];
            listed[*place as usize] = (image.hash, at as u32);
            *place += 1;
        }
        Self { starts, images: listed }
    }

    fn listed(&self, value: usize) -> &[(u64, u32)] {
        &self.images[self.starts[value] as usize..self.starts[value + 1] as usize]
    }
}

/// Which images belong together: each points to an earlier one that it is joined to (union-find).
struct Links(Vec<usize>);

impl Links {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// The first image of a group.
    fn root(&self, mut at: usize) -> usize {
        while self.0[at] != at {
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a_root, b_root) = (self.root(a), self.root(b));
        let root = a_root.min(b_root);
        // Also those that were asked for, so that ways stay short.
        for at in [a, b, a_root, b_root] {
            self.0[at] = root;
        }
    }
}
