//! Looking at all images of a data set: how many there are and what they are like, and what is wrong with
//! them.

mod channels;
mod check;
mod duplicates;
mod fingerprint;
mod overview;

use rayon::iter::{IntoParallelRefIterator, ParallelExtend, ParallelIterator};

use crate::parts::Part;

pub use channels::Channels;
pub use check::{Alike, Findings, check};
pub use duplicates::{Group, groups};
pub use fingerprint::Fingerprint;
pub use overview::{Overview, overview};

/// Images of several parts that are looked at together on all cores, before progress is told.
const TOGETHER: usize = 16;

/// The number of a part, and that of an image in it.
type Place = (usize, usize);

/// Every image of all parts, in order.
fn places(parts: &[Part]) -> Vec<Place> {
    let of_part = |(number, part): (usize, &Part)| (0..part.images.len()).map(move |index| (number, index));
    parts.iter().enumerate().flat_map(of_part).collect()
}

/// What `look` sees of images, in their order; `progress` hears how many have been looked at.
fn look_at<T: Send>(
    places: &[Place],
    look: impl Fn(Place) -> T + Sync,
    progress: &mut dyn FnMut(usize),
) -> Vec<T> {
    let mut seen = Vec::with_capacity(places.len());
    for some in places.chunks(TOGETHER * rayon::current_num_threads()) {
        seen.par_extend(some.par_iter().map(|place| look(*place)));
        progress(seen.len());
    }
    seen
}
