//! Images decoded on one core: whole ones, and the boxes that training crops out of them. `image` is
//! the decoder of the crate of that name.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../tests/photo/mod.rs"]
mod photo;

use std::sync::OnceLock;

use data::rng::{Stream, rng};
use data::transform::{RandomResizedCrop, resize};
use data::{DecodeOptions, Encoded};
use divan::Bencher;
use divan::counter::ItemsCount;
use image::{ImageFormat, RgbImage};
use libjpeg_turbo_rs::Subsampling;

fn main() {
    divan::main();
}

/// Columns, rows and number of the pictures.
const SIZES: [(u32, u32, u32); 2] = [(500, 375, 100), (4000, 3000, 4)];

fn jpegs(size: (u32, u32, u32)) -> &'static [Vec<u8>] {
    static SMALL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    static LARGE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let (width, height, count) = size;
    let place = if width < 1000 { &SMALL } else { &LARGE };
    place.get_or_init(|| {
        let one =
            |seed| photo::jpeg(&photo::photo(width, height, seed), 85 + (seed % 11) as u8, Subsampling::S420);
        (0..count).map(one).collect()
    })
}

fn each(bencher: Bencher, size: (u32, u32, u32), work: impl Fn(u64, &[u8]) -> RgbImage) {
    let jpegs = jpegs(size);
    bencher.counter(ItemsCount::new(jpegs.len())).bench_local(|| {
        for (index, bytes) in jpegs.iter().enumerate() {
            divan::black_box(work(index as u64, bytes));
        }
    });
}

#[divan::bench(args = SIZES, sample_count = 4)]
fn whole_by_image(bencher: Bencher, size: (u32, u32, u32)) {
    each(bencher, size, |_, bytes| {
        image::load_from_memory_with_format(bytes, ImageFormat::Jpeg).unwrap().into_rgb8()
    });
}

#[divan::bench(args = SIZES, sample_count = 4)]
fn whole(bencher: Bencher, size: (u32, u32, u32)) {
    each(bencher, size, |_, bytes| data::decode(bytes, DecodeOptions::default()).unwrap().into_rgb());
}

fn part(index: u64, bytes: &[u8], exact: bool) -> RgbImage {
    let random = RandomResizedCrop { size: [224, 224], scale: [0.2, 1.0], ratio: [0.75, 4.0 / 3.0] };
    let options = DecodeOptions { exact, ..DecodeOptions::default() };
    let encoded = Encoded::open(bytes, options).unwrap();
    let area = random.sample(encoded.dimensions(), &mut rng(0, Stream::Augment, 0, index));
    encoded.part(area, random.size).unwrap()
}

#[divan::bench(args = SIZES, sample_count = 4)]
fn part_at_full_size(bencher: Bencher, size: (u32, u32, u32)) {
    each(bencher, size, |index, bytes| part(index, bytes, true));
}

#[divan::bench(args = SIZES, sample_count = 4)]
fn part_as_wanted(bencher: Bencher, size: (u32, u32, u32)) {
    each(bencher, size, |index, bytes| part(index, bytes, false));
}

#[divan::bench(args = SIZES, sample_count = 4)]
fn part_resized(bencher: Bencher, size: (u32, u32, u32)) {
    each(bencher, size, |index, bytes| resize(&part(index, bytes, false), [224, 224]));
}
