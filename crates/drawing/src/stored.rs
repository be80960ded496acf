//! For tests: pictures beside stored ones, which are smaller, so that a repository can hold them.

use std::path::Path;

use image::RgbImage;
use image::imageops::{FilterType, resize};

/// The longer side of a stored picture.
const SIDE: u32 = 480;
/// What a channel of a pixel may differ by, of 255: another machine rounds otherwise.
const TOLERANCE: u8 = 12;
/// The share of channels that may differ by more.
const EXCEPT: f64 = 1e-4;

/// Requires that a picture looks like the one stored in `path`. With `UPDATE=1` in the environment it is
/// stored there instead.
///
/// # Errors
/// How the two differ; there is none, and it cannot be written.
pub fn compare(picture: &RgbImage, path: &Path) -> Result<(), String> {
    let small = shrink(picture);
    match std::env::var_os("UPDATE") {
        Some(_) => {
            crate::save(&small, path).map_err(|error| format!("cannot write {}: {error}", path.display()))
        }
        None => require_alike(&small, path),
    }
}

fn shrink(picture: &RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let side = |length: u32| (length * SIDE).div_ceil(width.max(height).max(SIDE));
    resize(picture, side(width), side(height), FilterType::Triangle)
}

fn require_alike(picture: &RgbImage, path: &Path) -> Result<(), String> {
    let name = path.display();
    let stored = image::open(path).map_err(|error| format!("{name}: {error}"))?.into_rgb8();
    if stored.dimensions() != picture.dimensions() {
        let (stored, size) = (stored.dimensions(), picture.dimensions());
        return Err(format!("{name} has {stored:?} pixels, the picture {size:?}"));
    }
    let differs = |(a, b): (&u8, &u8)| a.abs_diff(*b) > TOLERANCE;
    let different = picture.iter().zip(stored.iter()).filter(|pair| differs(*pair)).count();
    let share = different as f64 / picture.len() as f64;
    match share <= EXCEPT {
        true => Ok(()),
        false => Err(format!("{:.3} % of the picture differ from {name}", 100.0 * share)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn another_size_and_another_picture_are_told_from_another_rounding() {
        let path = std::env::temp_dir().join(format!("drawing-{}.png", std::process::id()));
        let grey = |value| RgbImage::from_pixel(40, 30, Rgb([value; 3]));
        crate::save(&grey(100), &path).unwrap();
        assert_eq!(require_alike(&grey(103), &path), Ok(()));
        assert!(require_alike(&grey(140), &path).unwrap_err().contains("100.000 %"));
        assert!(require_alike(&RgbImage::new(30, 40), &path).unwrap_err().contains("(40, 30) pixels"));
        assert_eq!((shrink(&grey(0)), shrink(&RgbImage::new(960, 333)).dimensions()), (grey(0), (480, 167)));
        std::fs::remove_file(&path).unwrap();
        assert!(require_alike(&grey(100), &path).is_err());
    }
}
