//! What the images of a data set are like.

use std::collections::BTreeMap;

use crate::decode::DecodeOptions;
use crate::error::DataError;
use crate::parts::Part;
use crate::source::image_of;
use crate::survey::channels::Channels;
use crate::survey::{Place, look_at, places};
use crate::transform::Raster;

/// What images are like.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Images that were tried, readable or not.
    pub tried: usize,
    /// Name of every one of them that cannot be, and why.
    pub corrupt: Vec<(String, DataError)>,
    /// How many there are of each size, width and height.
    pub sizes: BTreeMap<(u32, u32), usize>,
    /// Means and deviations over their pixels.
    pub channels: Channels,
}

impl Overview {
    /// The median of the shorter sides; none without an image.
    pub fn usual_side(&self) -> Option<u32> {
        let mut sides = BTreeMap::new();
        self.sizes
            .iter()
            .for_each(|((width, height), count)| *sides.entry(width.min(height)).or_insert(0) += count);
        let (mut before, images) = (0, self.sizes.values().sum::<usize>());
        sides
            .into_iter()
            .find(|(_, count)| {
                before += count;
                2 * before > images
            })
            .map(|(side, _)| *side)
    }
}

/// Reads so many images, evenly spaced over all parts, or all of them; `progress` hears how many have been
/// read.
pub fn overview(
    parts: &[Part],
    most: Option<usize>,
    options: DecodeOptions,
    progress: &mut dyn FnMut(usize),
) -> Overview {
    let mut places = places(parts);
    if let Some(most) = most.filter(|most| *most < places.len()) {
        places = (0..most).map(|number| places[number * places.len() / most]).collect();
    }
    let look = |(part, index): Place| {
        let image = image_of(&*parts[part].images, index, options)?;
        Ok((image.dimensions(), Channels::of(&image, options.channels)))
    };
    let mut overview = Overview { tried: places.len(), ..Overview::default() };
    for ((part, index), seen) in places.iter().zip(look_at(&places, look, progress)) {
        match seen {
            Ok((size, channels)) => {
                *overview.sizes.entry(size).or_default() += 1;
                overview.channels.add(&channels);
            }
            Err(error) => overview.corrupt.push((parts[*part].images.name(*index), error)),
        }
    }
    overview
}
