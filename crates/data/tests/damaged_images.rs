//! Damaged images: whatever a file says, decoding comes back, with little memory.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod seeds;

use std::fs;
use std::path::Path;

use data::rng::{Stream, rng};
use data::transform::CropBox;
use data::{DecodeOptions, Encoded};
use rand::{Rng, RngExt};
use seeds::seeds;

/// A file with a few other bytes, or a part of it.
fn damaged(bytes: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes[at] = rng.random(),
            2 => bytes[at] = 0xff,
            _ => bytes[at] ^= 1 << rng.random_range(0..8),
        }
    }
    bytes
}

/// Decodes at full size, and a JPEG at an eighth of it.
fn whole_and_small(encoded: &Encoded) -> Result<(), String> {
    let (width, height) = encoded.dimensions();
    let all = CropBox { left: 0, top: 0, width, height };
    // Both are done, whatever comes of the first.
    encoded.whole().and(encoded.part(all, [1, 1])).map(drop)
}

/// The most memory that this process has held, in kB.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[test]
fn damaged_images_are_decoded_or_refused_with_little_memory() {
    let options = DecodeOptions { max_pixels: 1 << 20, ..DecodeOptions::default() };
    let (mut decoded, mut refused, mut panicked) = (0, 0, Vec::new());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/odd");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for seed in seeds(10) {
        for (index, path) in paths.iter().enumerate() {
            let bytes = fs::read(path).unwrap();
            let damaged = damaged(&bytes, &mut rng(seed, Stream::Augment, 0, index as u64));
            match Encoded::open(&damaged, options).and_then(|encoded| whole_and_small(&encoded)) {
                Ok(_) => decoded += 1,
                Err(error) if error.contains("panicked") => panicked.push(path.clone()),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(decoded > 100 && refused > 1000, "{decoded} decoded, {refused} refused");
    assert!(panicked.is_empty(), "{panicked:?}");
    assert!(peak().is_none_or(|kilobytes| kilobytes < 256 << 10), "{:?} kB", peak());
}
