//! Odd images, made by `scripts/odd_images.py`: each gives the pixels that Pillow sees, or is refused.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use data::{AnyImage, DecodeOptions, decode};
use image::RgbImage;

/// Images that are refused, with a part of what is said.
const REFUSED: &[(&str, &str)] = &[
    // Cut short.
    ("cut-then-end.jpg", "end before the image"),
    ("cut-then-padding.jpg", "end before the image"),
    ("cut.bmp", "fill whole buffer"),
    ("cut.gif", "End of File"),
    ("cut.jpg", "end before the image"),
    ("cut.png", "end of file"),
    ("cut.ppm", "fill whole buffer"),
    ("cut.tif", "fill whole buffer"),
    ("cut.webp", "end before the image"),
    ("half-an-end.jpg", "end before the image"),
    ("no-end.jpg", "end before the image"),
    ("progressive-no-end.jpg", "end before the image"),
    ("progressive-no-end-then-padding.jpg", "end before the image"),
    // Damaged.
    ("wrong-sum.png", "CRC"),
    // Ways to store a JPEG that Pillow does not read either.
    ("12-bits.jpg", "12 bits"),
    ("hierarchical.jpg", "not read"),
    ("lossless.jpg", "not read"),
    ("luma-32-chroma-22.jpg", "fractional chroma"),
    ("two-components.jpg", "2 components"),
    // Ways to store a JPEG that Pillow reads.
    ("420-luma-then-chroma.jpg", "scan has 2 components"),
    ("larger-luma-smaller-than-chroma.jpg", "out-samples luma"),
    ("luma-11-chroma-21.jpg", "out-samples luma"),
    ("luma-11-chroma-22.jpg", "out-samples luma"),
    ("luma-21-chroma-12.jpg", "out-samples luma"),
    // Ways to store a TIFF that Pillow reads.
    ("bilevel-group3.tif", "Fax3"),
    ("lab.tif", "CIELab"),
    ("palette.tif", "RGBPalette"),
    ("ycc.tif", "color type"),
];

/// Images whose pixels may differ from Pillow's, and by how much.
const DIFFERENT: &[(&str, u8)] = &[
    // Five and six bits are spread over 0 to 255, and so are 0 to 100: rounded, not truncated.
    ("16-565.bmp", 1),
    ("16.bmp", 1),
    ("p5-100.pgm", 1),
    // Inks are multiplied in another order.
    ("cmyk.tif", 1),
    // Another decoder of JPEG.
    ("jpeg.tif", 1),
    // Where no frame lies, Pillow shows the first colour of the palette; here it is black.
    ("smaller-than-its-screen.gif", 205),
    // Pillow cuts floats from 0 to 1 to whole numbers.
    ("float.tif", 238),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/odd")
}

/// Names of the images; what Pillow sees in `NAME` stands in `NAME.png`.
fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap();
    let all: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let is_an_answer =
        |name: &String| name.strip_suffix(".png").is_some_and(|of| all.iter().any(|n| n == of));
    let mut names: Vec<_> = all.iter().filter(|name| !is_an_answer(name)).cloned().collect();
    names.sort();
    names
}

/// The largest difference of two pictures' values; all there is if the sizes differ.
fn difference(a: &RgbImage, b: &RgbImage) -> u8 {
    if a.dimensions() != b.dimensions() {
        return 255;
    }
    a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

/// What is wrong with how an image is read.
fn fault(name: &str) -> Option<String> {
    let refused = REFUSED.iter().find(|(refused, _)| *refused == name);
    let bytes = fs::read(folder().join(name)).unwrap();
    let found = match (decode(&bytes, DecodeOptions::default()), refused) {
        (Ok(image), None) => image,
        (Ok(_), Some(_)) => return Some("is read, and was to be refused".to_owned()),
        (Err(error), Some((_, part))) => return (!error.contains(part)).then_some(error),
        (Err(error), None) => return Some(error),
    };
    let answer = folder().join(format!("{name}.png"));
    if !answer.exists() {
        return Some("is read, and Pillow refuses it".to_owned());
    }
    let expected = image::open(answer).unwrap().into_rgb8();
    // Of 16 bits Pillow keeps the upper eight.
    let rounding = u8::from(matches!(found, AnyImage::Bands(_)));
    let allowed = DIFFERENT.iter().find(|(different, _)| *different == name).map_or(0, |(_, most)| *most);
    let found = difference(&found.into_rgb(), &expected).saturating_sub(rounding);
    (found > allowed || (allowed > 0 && found == 0))
        .then(|| format!("differs by {found}, allowed are {allowed}"))
}

#[test]
fn odd_images_are_seen_as_pillow_sees_them_or_refused() {
    let names = names();
    assert!(names.len() > 180, "{}", names.len());
    let faults: Vec<_> = names.iter().filter_map(|name| Some(format!("{name}: {}", fault(name)?))).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
