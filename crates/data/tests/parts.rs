//! Parts of images, against what is cut out of the whole ones.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod photo;

use std::fs;
use std::path::Path;

use data::rng::{Stream, rng};
use data::transform::{CropBox, RandomResizedCrop, crop, resize};
use data::{DecodeOptions, Encoded};
use image::RgbImage;
use libjpeg_turbo_rs::Subsampling;
use rand::RngExt;

use photo::{jpeg, photo};

/// More pixels than any box has: nothing is made smaller.
const ALL: [usize; 2] = [1 << 20; 2];

fn open(bytes: &[u8]) -> Encoded<'_> {
    Encoded::open(bytes, DecodeOptions::default()).unwrap()
}

fn random_box((width, height): (u32, u32), index: u64) -> CropBox {
    let mut rng = rng(0, Stream::Augment, 0, index);
    let (w, h) = (rng.random_range(1..=width), rng.random_range(1..=height));
    let (left, top) = (rng.random_range(0..=width - w), rng.random_range(0..=height - h));
    CropBox { left, top, width: w, height: h }
}

fn assert_parts_equal_the_whole(bytes: &[u8], boxes: u64, name: &str) {
    let encoded = open(bytes);
    let whole = encoded.whole().unwrap();
    assert_eq!(encoded.dimensions(), whole.dimensions(), "{name}");
    for index in 0..boxes {
        let area = random_box(whole.dimensions(), index);
        assert!(encoded.part(area, ALL).unwrap() == crop(&whole, area), "{name}: {area:?}");
    }
}

#[test]
fn a_part_at_full_size_is_cut_out_of_the_whole() {
    use Subsampling::{S411, S420, S422, S440, S444};
    for (size, boxes) in [((201, 149), 60), ((500, 375), 20), ((33, 31), 60)] {
        for subsampling in [S444, S422, S420, S440, S411] {
            let bytes = jpeg(&photo(size.0, size.1, 1), 90, subsampling);
            assert_parts_equal_the_whole(&bytes, boxes, &format!("{size:?} {subsampling:?}"));
        }
    }
}

#[test]
fn a_part_of_an_odd_image_is_cut_out_of_the_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/odd");
    let mut parts = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let whole = Encoded::open(&bytes, DecodeOptions::default()).and_then(|encoded| encoded.whole());
        if whole.is_ok() {
            assert_parts_equal_the_whole(&bytes, 12, &path.display().to_string());
            parts += 1;
        }
    }
    assert!(parts > 300, "{parts}");
}

#[test]
fn a_part_of_an_image_cut_short_is_refused_wherever_it_lies() {
    let mut bytes = jpeg(&photo(201, 149, 1), 90, Subsampling::S420);
    let kept = bytes.len() - 300;
    bytes.truncate(kept);
    bytes.extend([0xff, 0xd9]);
    let top = CropBox { left: 0, top: 0, width: 20, height: 20 };
    assert_eq!(open(&bytes).part(top, ALL), open(&bytes).whole());
    assert!(open(&bytes).part(top, [4, 4]).unwrap_err().contains("end before the image"));
}

#[test]
fn a_box_outside_the_image_is_refused() {
    let bytes = jpeg(&photo(20, 10, 1), 90, Subsampling::S420);
    for (left, width) in [(0, 21), (20, 1), (5, 0), (u32::MAX, 2)] {
        let area = CropBox { left, top: 0, width, height: 5 };
        assert!(open(&bytes).part(area, ALL).unwrap_err().contains("20×10"), "{area:?}");
    }
}

/// Mean and largest difference of two pictures' values.
fn difference(a: &RgbImage, b: &RgbImage) -> (f64, u8) {
    assert_eq!(a.dimensions(), b.dimensions());
    let differences = || a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = differences().map(u64::from).sum();
    (sum as f64 / a.as_raw().len() as f64, differences().max().unwrap())
}

#[test]
fn a_part_that_is_decoded_smaller_is_the_same_picture_when_it_is_resized() {
    let random = RandomResizedCrop { size: [224, 224], scale: [0.2, 1.0], ratio: [0.75, 4.0 / 3.0] };
    let (mut worst_mean, mut worst) = (0f64, 0);
    for subsampling in [Subsampling::S420, Subsampling::S444] {
        let bytes = jpeg(&photo(4000, 3000, 2), 90, subsampling);
        let encoded = open(&bytes);
        let whole = encoded.whole().unwrap();
        for index in 0..4 {
            let area = random.sample((4000, 3000), &mut rng(1, Stream::Augment, 0, index));
            let expected = resize(&crop(&whole, area), random.size);
            let part = encoded.part(area, random.size).unwrap();
            assert!(part.width() < area.width && part.width() >= 448 && part.height() >= 448);
            let (mean, most) = difference(&resize(&part, random.size), &expected);
            (worst_mean, worst) = (worst_mean.max(mean), worst.max(most));
        }
    }
    // 1.0 and 6, most of it because the edges of the boxes move.
    assert!(worst_mean < 1.5 && worst < 10, "{worst_mean} {worst}");
    // And with `exact` nothing is made smaller.
    let bytes = jpeg(&photo(500, 375, 2), 90, Subsampling::S420);
    let exact = DecodeOptions { exact: true, ..DecodeOptions::default() };
    let area = CropBox { left: 3, top: 5, width: 480, height: 360 };
    let part = Encoded::open(&bytes, exact).unwrap().part(area, [10, 10]).unwrap();
    assert_eq!(part, crop(&open(&bytes).whole().unwrap(), area));
    assert_eq!(open(&bytes).part(area, [10, 10]).unwrap().dimensions(), (60, 45));
}
