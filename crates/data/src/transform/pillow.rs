//! Pixel operations with Pillow's arithmetic, which timm's augmentations are made of.

use image::{Rgb, RgbImage};
use pulp::Arch;

/// Applies a function of the intensity to every channel.
pub fn point(image: &RgbImage, f: impl Fn(u8) -> u8) -> RgbImage {
    let table: [u8; 256] = std::array::from_fn(|v| f(v as u8));
    let mut out = image.clone();
    out.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
    out
}

/// Applies a table of its own to every channel, made from the channel's histogram.
fn point_by_histogram(image: &RgbImage, table: impl Fn(&[u32; 256]) -> [u8; 256]) -> RgbImage {
    let tables: [[u8; 256]; 3] = std::array::from_fn(|channel| {
        let mut histogram = [0u32; 256];
        image.pixels().for_each(|pixel| histogram[usize::from(pixel[channel])] += 1);
        table(&histogram)
    });
    let mut out = image.clone();
    for pixel in out.pixels_mut() {
        (0..3).for_each(|channel| pixel[channel] = tables[channel][usize::from(pixel[channel])]);
    }
    out
}

const IDENTITY: fn(usize) -> u8 = |v| v as u8;

/// Stretches every channel to the whole range (`ImageOps.autocontrast`).
pub fn auto_contrast(image: &RgbImage) -> RgbImage {
    point_by_histogram(image, |histogram| {
        let low = histogram.iter().position(|count| *count > 0).unwrap_or(0);
        let high = histogram.iter().rposition(|count| *count > 0).unwrap_or(0);
        if high <= low {
            return std::array::from_fn(IDENTITY);
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        std::array::from_fn(|v| (v as f64 * scale + offset) as u8) // saturates, as Pillow clips
    })
}

/// Spreads every channel evenly over the range (`ImageOps.equalize`).
pub fn equalize(image: &RgbImage) -> RgbImage {
    point_by_histogram(image, |histogram| {
        let present: Vec<u32> = histogram.iter().copied().filter(|count| *count > 0).collect();
        let step = match present.last() {
            Some(last) if present.len() > 1 => (present.iter().sum::<u32>() - last) / 255,
            _ => 0,
        };
        if step == 0 {
            return std::array::from_fn(IDENTITY);
        }
        let mut sum = step / 2;
        std::array::from_fn(|v| {
            let level = (sum / step).min(255) as u8;
            sum += histogram[v];
            level
        })
    })
}

/// Intensities from `threshold` on, inverted (`ImageOps.solarize`).
pub fn solarize(image: &RgbImage, threshold: u32) -> RgbImage {
    point(image, |v| if u32::from(v) < threshold { v } else { 255 - v })
}

/// Adds to intensities below 128 (timm's `solarize_add`).
pub fn solarize_add(image: &RgbImage, add: u32) -> RgbImage {
    point(image, |v| if v < 128 { (u32::from(v) + add).min(255) as u8 } else { v })
}

/// Keeps the highest bits (`ImageOps.posterize`).
pub fn posterize(image: &RgbImage, bits: u32) -> RgbImage {
    let mask = if bits >= 8 { 0xff } else { !(0xff_u8 >> bits) };
    point(image, |v| v & mask)
}

/// The luma of a pixel (`convert("L")`): ITU-R 601 in Pillow's fixed point.
pub(crate) fn luma(pixel: &Rgb<u8>) -> u8 {
    let [r, g, b] = pixel.0.map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

/// `from` + factor · (intensity − from) (`Image.blend`); truncates and saturates.
fn blend(from: u8, factor: f32, v: u8) -> u8 {
    let from = f32::from(from);
    (from + factor * (f32::from(v) - from)) as u8
}

/// 0: grey, 1: as it is (`ImageEnhance.Color`).
pub fn color(image: &RgbImage, factor: f64) -> RgbImage {
    let mut out = image.clone();
    for pixel in out.pixels_mut() {
        let grey = luma(pixel);
        pixel.0 = pixel.0.map(|v| blend(grey, factor as f32, v));
    }
    out
}

/// 0: uniform in the mean luma, 1: as it is (`ImageEnhance.Contrast`).
pub fn contrast(image: &RgbImage, factor: f64) -> RgbImage {
    let sum: u64 = image.pixels().map(|pixel| u64::from(luma(pixel))).sum();
    let mean = (sum as f64 / f64::from(image.width() * image.height()) + 0.5) as u8;
    point(image, |v| blend(mean, factor as f32, v))
}

/// 0: black, 1: as it is (`ImageEnhance.Brightness`).
pub fn brightness(image: &RgbImage, factor: f64) -> RgbImage {
    point(image, |v| blend(0, factor as f32, v))
}

/// 0: smoothed, 1: as it is (`ImageEnhance.Sharpness`).
pub fn sharpness(image: &RgbImage, factor: f64) -> RgbImage {
    let mut out = smooth(image);
    out.iter_mut().zip(image.as_raw()).for_each(|(v, sharp)| *v = blend(*v, factor as f32, *sharp));
    out
}

/// The 3×3 filter `SMOOTH`; the border stays as it is.
fn smooth(image: &RgbImage) -> RgbImage {
    let divided: [u8; 13 * 255 + 1] = std::array::from_fn(|sum| ((sum as f64 / 13.0) + 0.5) as u8);
    let (length, height) = (3 * image.width() as usize, image.height() as usize);
    let mut out = image.clone();
    if length < 9 {
        return out;
    }
    let row = |y: usize| &image.as_raw()[y * length..][..length];
    for y in 1..height.saturating_sub(1) {
        let (above, here, below) = (row(y - 1), row(y), row(y + 1));
        let column = |x: usize| [above[x], here[x], below[x]].into_iter().map(usize::from).sum::<usize>();
        for x in 3..length - 3 {
            let around = column(x - 3) + column(x) + column(x + 3);
            out.as_mut()[y * length + x] = divided[around + 4 * usize::from(here[x])];
        }
    }
    out
}

/// The pixel at (x, y) is taken from (a·x + b·y + c, d·x + e·y + f), counted from the upper left
/// corner, bicubically; `fill` where that lies outside (`Image.transform` with `AFFINE`).
pub fn affine(image: &RgbImage, [a, b, c, d, e, f]: [f64; 6], fill: [u8; 3]) -> RgbImage {
    let (width, height) = image.dimensions();
    let mut out = RgbImage::from_pixel(width, height, Rgb(fill));
    // A fourth byte, so that the channels of a pixel fill a register.
    let padded: Vec<[u8; 4]> = image.pixels().map(|&Rgb([r, g, b])| [r, g, b, 0]).collect();
    let size = [width, height].map(|side| side as usize);
    let rows = out.chunks_exact_mut(3 * size[0].max(1)).enumerate();
    // The widest instructions of the processor; they give the same numbers.
    Arch::new().dispatch(|| {
        for (row, pixels) in rows {
            let y = row as f64 + 0.5;
            for (column, pixel) in pixels.as_chunks_mut().0.iter_mut().enumerate() {
                let x = column as f64 + 0.5;
                let (x, y) = (a * x + b * y + c, d * x + e * y + f);
                let is_inside = (0.0..f64::from(width)).contains(&x) && (0.0..f64::from(height)).contains(&y);
                if is_inside {
                    *pixel = bicubic(&padded, size, x - 0.5, y - 0.5);
                }
            }
        }
    });
    out
}

/// Turned by degrees, counterclockwise, about the centre (`Image.rotate`).
pub fn rotate(image: &RgbImage, degrees: f64, fill: [u8; 3]) -> RgbImage {
    if degrees == 0.0 {
        return image.clone();
    }
    let (sin, cos) = (-degrees.rem_euclid(360.0).to_radians()).sin_cos();
    let round = |v: f64| (v * 1e15).round_ties_even() / 1e15;
    let (sin, cos) = (round(sin), round(cos));
    let (x, y) = (f64::from(image.width()) / 2.0, f64::from(image.height()) / 2.0);
    affine(image, [cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y], fill)
}

/// Pillow's bicubic (a = −1) at a position counted between pixel centres; what lies beyond the image
/// repeats its border.
#[inline(always)]
fn bicubic(pixels: &[[u8; 4]], [width, height]: [usize; 2], x: f64, y: f64) -> [u8; 3] {
    let (left, top) = (x.floor(), y.floor());
    let (dx, dy) = (x - left, y - top);
    let within = |at: isize, end: usize| at.clamp(0, end as isize - 1) as usize;
    let columns: [usize; 4] = std::array::from_fn(|i| within(left as isize + i as isize - 1, width));
    let along: [[f64; 4]; 4] = std::array::from_fn(|i| {
        let row = &pixels[within(top as isize + i as isize - 1, height) * width..][..width];
        cubic(columns.map(|column| row[column].map(f64::from)), dx)
    });
    let [r, g, b, _] = cubic(along, dy);
    [r, g, b].map(|v| v as u8) // truncates and saturates
}

/// For each channel.
#[inline(always)]
fn cubic([v1, v2, v3, v4]: [[f64; 4]; 4], d: f64) -> [f64; 4] {
    std::array::from_fn(|c| {
        let (v1, v2, v3, v4) = (v1[c], v2[c], v3[c], v4[c]);
        let (p2, p3, p4) = (-v1 + v3, 2.0 * (v1 - v2) + v3 - v4, -v1 + v2 - v3 + v4);
        v2 + d * (p2 + d * (p3 + d * p4))
    })
}
