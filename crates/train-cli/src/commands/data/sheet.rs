//! Some images of every class, as a picture.

use anyhow::{Result, bail};
use data::{DecodeOptions, Part, image_of};
use drawing::{Block, PAPER, Sheet};
use image::RgbImage;
use image::imageops::{self, FilterType};

use super::classes::{Class, Classes};

/// Images of the sheet, at most, those in a row, and their side in pixels.
const TILES: usize = 64;
const COLUMNS: usize = 8;
const SIDE: u32 = 112;

/// Some images of every class, or of some classes where there are many, evenly spaced; of all images where there
/// are no classes. What cannot be read is left out.
pub(super) fn sheet(parts: &[Part], classes: Classes, decode: DecodeOptions) -> Result<RgbImage> {
    let mut classes = classes.0;
    classes.retain(|class| !class.places.is_empty());
    if classes.is_empty() {
        let of_part =
            |(number, part): (usize, &Part)| (0..part.images.len()).map(move |image| (number, image));
        let places = parts.iter().enumerate().flat_map(of_part).collect();
        classes.push(Class { name: String::new(), places });
    }
    let mut blocks = Vec::new();
    for Class { name, places } in spaced(&classes, TILES) {
        for (part, index) in spaced(places, (TILES / classes.len()).max(1)) {
            if let Ok(image) = image_of(&*parts[*part].images, *index, decode) {
                blocks.push(Block { tiles: vec![tile(&image.into_rgb())], caption: vec![name.clone()] });
            }
        }
    }
    if blocks.is_empty() {
        bail!("none of the images that would be drawn can be read");
    }
    Ok(Sheet { titles: Vec::new(), columns: COLUMNS, blocks, notes: Vec::new() }.draw())
}

/// Some of a list, evenly spaced.
fn spaced<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let count = all.len().min(most);
    (0..count).map(move |number| &all[number * all.len() / count])
}

/// An image on a square.
fn tile(image: &RgbImage) -> RgbImage {
    let (width, height) = image.dimensions();
    let scale = f64::from(SIDE) / f64::from(width.max(height));
    let [width, height] =
        [width, height].map(|side| ((f64::from(side) * scale).round() as u32).clamp(1, SIDE));
    let small = imageops::resize(image, width, height, FilterType::Triangle);
    let mut tile = RgbImage::from_pixel(SIDE, SIDE, PAPER);
    imageops::replace(&mut tile, &small, i64::from((SIDE - width) / 2), i64::from((SIDE - height) / 2));
    tile
}
