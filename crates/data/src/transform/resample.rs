//! Resizing as Pillow computes it, value for value.
//!
//! Slower than [`resize`](super::resize), whose coefficients have fewer bits and which training uses: a
//! score is held against that of another program, so the pixels behind it have to be the same.

use std::f64::consts::PI;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::crop_box::{CropBox, crop};

/// Bits of a coefficient behind the point.
const PRECISION: u32 = 32 - 8 - 2;
/// One half, to round by.
const HALF: i32 = 1 << (PRECISION - 1);

/// Pillow's filters, by the names that timm gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The pixel that lies there, without antialiasing.
    Nearest,
    /// A triangle.
    Bilinear,
    /// Keys' cubic with a = −0.5.
    #[default]
    Bicubic,
    /// A windowed sinc of three lobes.
    Lanczos,
    /// The mean of the pixels that are covered.
    Box,
    /// A windowed sinc of one lobe.
    Hamming,
}

impl Interpolation {
    /// Half the width of the filter in pixels of the smaller image.
    fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let distance = x.abs();
        match self {
            Self::Nearest | Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - distance).max(0.0),
            Self::Bicubic if distance < 1.0 => (1.5 * distance - 2.5) * distance * distance + 1.0,
            Self::Bicubic if distance < 2.0 => (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5,
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Hamming if distance < 1.0 => sinc(x) * (0.54 + 0.46 * (PI * distance).cos()),
            Self::Bicubic | Self::Lanczos | Self::Hamming => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// An image of `[height, width]`, as `PIL.Image.resize` makes it.
pub fn resample(image: &RgbImage, size: [usize; 2], interpolation: Interpolation) -> RgbImage {
    let [height, width] = size.map(|side| side as u32);
    resample_part(image, size, interpolation, CropBox { left: 0, top: 0, width, height })
}

/// A box of that image; no pixel outside of it is computed.
pub(crate) fn resample_part(
    image: &RgbImage,
    [height, width]: [usize; 2],
    interpolation: Interpolation,
    area: CropBox,
) -> RgbImage {
    if image.dimensions() == (width as u32, height as u32) {
        return crop(image, area);
    }
    if interpolation == Interpolation::Nearest {
        let (xs, ys) = (nearest(image.width(), width), nearest(image.height(), height));
        let pixel = |x, y| *image.get_pixel(xs[(area.left + x) as usize], ys[(area.top + y) as usize]);
        return RgbImage::from_fn(area.width, area.height, pixel);
    }
    let across = Axis::new(image.width(), width, interpolation, [area.left, area.width]);
    let down = Axis::new(image.height(), height, interpolation, [area.top, area.height]);
    let area = CropBox { left: across.first, top: down.first, width: across.count, height: down.count };
    match rows_first(image, [height, width]) {
        true => {
            let tall = rows(image, area, &down.taps);
            columns(&tall, whole(&tall), &across.taps)
        }
        false => {
            let wide = columns(image, area, &across.taps);
            rows(&wide, whole(&wide), &down.taps)
        }
    }
}

fn whole(image: &RgbImage) -> CropBox {
    CropBox { left: 0, top: 0, width: image.width(), height: image.height() }
}

/// Whether the height changes first, which moves single values by a level: in Pillow from version 13 on,
/// if it loses more than twice as many pixels as the width does; earlier versions begin with the width.
fn rows_first(image: &RgbImage, [height, width]: [usize; 2]) -> bool {
    let lost = |from: u32, to: usize| i64::from(from) - to as i64;
    let (rows, columns) = (lost(image.height(), height), lost(image.width(), width));
    rows > 0 && rows > 2 * columns
}

/// The pixel, of so many in a row or column, that lies where each of the result does.
fn nearest(input: u32, output: usize) -> Vec<u32> {
    let step = f64::from(input) / output as f64;
    // Summed up as Pillow does, which is not the same as multiplied.
    let position = std::iter::successors(Some(step * 0.5), move |at| Some(at + step));
    position.take(output).map(|at| (at as u32).min(input - 1)).collect()
}

/// The pixels that one pixel of the result is made of.
struct Taps<T> {
    first: usize,
    weights: Vec<T>,
}

/// Some neighbouring pixels of the result along one side, for intensities in bytes.
struct Axis {
    /// The first pixel of the image that one of them takes.
    first: u32,
    /// Pixels from there on to the last one that is taken.
    count: u32,
    /// What each is made of, counted from `first`; the weights have a fixed point.
    taps: Vec<Taps<i32>>,
}

impl Axis {
    /// So many of the `output` pixels that `input` ones become, from the one called `start` on.
    fn new(input: u32, output: usize, interpolation: Interpolation, [start, count]: [u32; 2]) -> Self {
        let fixed = |weight: f64| (weight * f64::from(1 << PRECISION) + 0.5f64.copysign(weight)) as i32;
        let mut taps: Vec<_> = match input as usize == output {
            true => (0..output).map(|first| Taps { first, weights: vec![1 << PRECISION] }).collect(),
            false => taps(input as usize, output, interpolation)
                .into_iter()
                .map(|Taps { first, weights }| Taps {
                    first,
                    weights: weights.into_iter().map(fixed).collect(),
                })
                .collect(),
        };
        taps.truncate((start + count) as usize);
        taps.drain(..start as usize);
        let first = taps.iter().map(|taps| taps.first).min().unwrap_or_default();
        let end = taps.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or_default();
        taps.iter_mut().for_each(|taps| taps.first -= first);
        Self { first: first as u32, count: (end - first) as u32, taps }
    }
}

fn taps(input: usize, output: usize, interpolation: Interpolation) -> Vec<Taps<f64>> {
    let scale = input as f64 / output as f64;
    let stretch = scale.max(1.0);
    let support = interpolation.support() * stretch;
    let of = |index: usize| {
        let center = (index as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(input);
        let weight = |at: usize| interpolation.weight((at as f64 - center + 0.5) * (1.0 / stretch));
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let normed = |weight: &f64| if sum == 0.0 { *weight } else { weight / sum };
        Taps { first, weights: weights.iter().map(normed).collect() }
    };
    (0..output).map(of).collect()
}

fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Pixels of a box, side by side.
fn lines(image: &RgbImage, area: CropBox) -> impl Iterator<Item = &[u8]> {
    let [left, width] = [area.left, area.width].map(|pixels| 3 * pixels as usize);
    let rows = image.chunks_exact(3 * image.width().max(1) as usize);
    rows.skip(area.top as usize).take(area.height as usize).map(move |row| &row[left..left + width])
}

/// A box of an image in another width.
fn columns(image: &RgbImage, area: CropBox, taps: &[Taps<i32>]) -> RgbImage {
    let mut resized = RgbImage::new(taps.len() as u32, area.height);
    for (from, to) in lines(image, area).zip(resized.chunks_exact_mut((3 * taps.len()).max(1))) {
        for (Taps { first, weights }, pixel) in taps.iter().zip(to.as_chunks_mut().0) {
            let mut sums = [HALF; 3];
            for (weight, [r, g, b]) in weights.iter().zip(&from.as_chunks().0[*first..]) {
                sums[0] += weight * i32::from(*r);
                sums[1] += weight * i32::from(*g);
                sums[2] += weight * i32::from(*b);
            }
            *pixel = sums.map(rounded);
        }
    }
    resized
}

/// A box of an image in another height.
fn rows(image: &RgbImage, area: CropBox, taps: &[Taps<i32>]) -> RgbImage {
    let mut resized = RgbImage::new(area.width, taps.len() as u32);
    let from: Vec<_> = lines(image, area).collect();
    let length = 3 * area.width as usize;
    let mut sums = vec![HALF; length];
    for (Taps { first, weights }, to) in taps.iter().zip(resized.chunks_exact_mut(length.max(1))) {
        sums.fill(HALF);
        for (weight, from) in weights.iter().zip(&from[*first..]) {
            sums.iter_mut().zip(*from).for_each(|(sum, value)| *sum += weight * i32::from(*value));
        }
        to.iter_mut().zip(&sums).for_each(|(value, sum)| *value = rounded(*sum));
    }
    resized
}

/// A plane of floats of another size, as Pillow's mode `F`: nothing is rounded to a level.
pub(crate) fn resample_plane(
    plane: &[f32],
    [rows, columns]: [usize; 2],
    [height, width]: [usize; 2],
    interpolation: Interpolation,
) -> Vec<f32> {
    if interpolation == Interpolation::Nearest {
        let (xs, ys) = (nearest(columns as u32, width), nearest(rows as u32, height));
        let row = |y: u32| xs.iter().map(move |x| plane[y as usize * columns + *x as usize]);
        return ys.into_iter().flat_map(row).collect();
    }
    let (across, down) = (taps(columns, width, interpolation), taps(rows, height, interpolation));
    let sum = |row: &[f32], Taps { first, weights }: &Taps<f64>| -> f32 {
        weights.iter().zip(&row[*first..]).map(|(weight, value)| weight * f64::from(*value)).sum::<f64>()
            as f32
    };
    let wide: Vec<f32> =
        plane.chunks_exact(columns).flat_map(|row| across.iter().map(move |taps| sum(row, taps))).collect();
    let mut resized = Vec::with_capacity(height * width);
    let mut sums = vec![0.0f64; width];
    for Taps { first, weights } in &down {
        sums.fill(0.0);
        for (weight, row) in weights.iter().zip(wide.chunks_exact(width).skip(*first)) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        }
        resized.extend(sums.iter().map(|sum| *sum as f32));
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn a_part_is_cut_out_of_the_whole() {
        let image = RgbImage::from_fn(37, 23, |x, y| Rgb([(x * 41) as u8, (y * 67) as u8, (x * y) as u8]));
        for interpolation in [Interpolation::Nearest, Interpolation::Bicubic, Interpolation::Lanczos] {
            // Smaller, larger, higher first, one side as it was, both.
            for size in [[11, 17], [50, 60], [5, 36], [23, 20], [9, 37], [23, 37]] {
                let whole = resample(&image, size, interpolation);
                let [height, width] = size.map(|side| side as u32);
                for (left, top, right, bottom) in
                    [(0, 0, 0, 0), (3, 1, 2, 3), (width - 1, 4, 0, 0), (width, 0, 0, 0)]
                {
                    let area =
                        CropBox { left, top, width: width - left - right, height: height - top - bottom };
                    let part = resample_part(&image, size, interpolation, area);
                    assert_eq!(part, crop(&whole, area), "{size:?}, {area:?}, {interpolation:?}");
                }
            }
        }
    }
}
