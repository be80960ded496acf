//! Pictures that are like photos: structure of every size, the larger the stronger.

use image::{Rgb, RgbImage};
use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};

/// A number between −1 and 1 for each point of a grid.
fn grid(x: u32, y: u32, seed: u32) -> f32 {
    let mut hash = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca6b) ^ seed.wrapping_mul(0xc2b2_ae35);
    for _ in 0..2 {
        hash = (hash ^ hash >> 15).wrapping_mul(0x2c1b_3c6d);
    }
    (hash >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// The grid of points `cell` pixels apart, linear between them.
fn noise(x: u32, y: u32, cell: u32, seed: u32) -> f32 {
    let (column, row) = (x / cell, y / cell);
    let (right, down) = ((x % cell) as f32 / cell as f32, (y % cell) as f32 / cell as f32);
    let between = |a: f32, b: f32, t: f32| a + (b - a) * t;
    between(
        between(grid(column, row, seed), grid(column + 1, row, seed), right),
        between(grid(column, row + 1, seed), grid(column + 1, row + 1, seed), right),
        down,
    )
}

/// A picture of up to 1000×750 pixels; larger ones are mirrored at its edges.
pub(crate) fn photo(width: u32, height: u32, seed: u32) -> RgbImage {
    let tile = RgbImage::from_fn(width.min(1000), height.min(750), |x, y| {
        let sum = |cells: &[u32], seed| -> f32 {
            cells.iter().map(|&cell| (cell as f32).powf(0.8) * noise(x, y, cell, seed)).sum()
        };
        let light = 128.0 + 0.9 * sum(&[128, 64, 32, 16, 8, 4, 2, 1], 4 * seed);
        let colours = [1, 2, 3].map(|channel| light + 0.4 * sum(&[128, 32, 8], 4 * seed + channel));
        Rgb(colours.map(|value| value as u8))
    });
    let mirrored =
        |at: u32, side: u32| if (at / side).is_multiple_of(2) { at % side } else { side - 1 - at % side };
    RgbImage::from_fn(width, height, |x, y| tile[(mirrored(x, tile.width()), mirrored(y, tile.height()))])
}

/// The picture as a JPEG.
pub(crate) fn jpeg(image: &RgbImage, quality: u8, subsampling: Subsampling) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    compress(image.as_raw(), width, height, PixelFormat::Rgb, quality, subsampling).unwrap()
}
