//! Files with bytes changed, cut off or repeated: an error or images, and never a panic.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod seeds;

use std::fs;
use std::path::Path;

use data::{Format, Labels, Split, open};
use image::RgbImage;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seeds::seeds;

/// Changes a few bytes to any, to ones that mean something in text, or to the end of what they count.
fn mutate(bytes: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len().max(1));
        match rng.random_range(0..5) {
            0 => bytes.truncate(at),
            1 => {
                bytes.insert(at.min(bytes.len()), *b",;\"\n{}[]\0\xff".get(rng.random_range(0..10)).unwrap())
            }
            2 => bytes.extend_from_within(at.min(bytes.len())..),
            3 => bytes.get_mut(at).into_iter().for_each(|byte| *byte = 0xff),
            _ => bytes.get_mut(at).into_iter().for_each(|byte| *byte = rng.random()),
        }
    }
    bytes
}

/// Opens a data set again and again with one file mutated, and reads its images where that works, which it
/// does sometimes and not always.
fn survive(file: &Path, data: &Path) {
    let whole = fs::read(file).unwrap();
    let (mut read, mut rounds) = (0, 0);
    for seed in seeds(300) {
        fs::write(file, mutate(&whole, &mut ChaCha8Rng::seed_from_u64(seed))).unwrap();
        let labels = if seed % 2 == 0 { Labels::Required } else { Labels::Ignored };
        if let Ok(source) = open(data, Format::Auto, Split::Train, labels) {
            let images: Vec<_> = (0..source.len()).map(|index| source.get(index).is_ok()).collect();
            read += usize::from(images.first() == Some(&true));
        }
        rounds += 1;
    }
    fs::write(file, whole).unwrap();
    assert!(open(data, Format::Auto, Split::Train, Labels::Required).is_ok());
    assert!(read > 0 && read < rounds, "{}: {read} of {rounds}", file.display());
}

#[test]
fn tables_with_any_bytes_do_not_panic() {
    let dir = tempfile::tempdir().unwrap();
    ["a.png", "b.png"].into_iter().for_each(|name| RgbImage::new(2, 2).save(dir.path().join(name)).unwrap());
    for (name, text) in [
        ("t.csv", "file_name,labels,split\na.png,\"x;y\",train\nb.png,y,val\n"),
        ("t.tsv", "path\ttarget.a\ttarget.b\na.png\t1\t2\nb.png\t1e3\t-2\n"),
        (
            "t.jsonl",
            "{\"file_name\": \"a.png\", \"label\": \"the name of a class\"}\n{\"file_name\": \"b.png\", \"label\": \"\\u00e9\"}\n",
        ),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        survive(&path, &path);
    }
}

#[test]
fn standard_sets_with_any_bytes_do_not_panic() {
    let dir = tempfile::tempdir().unwrap();
    let idx = |name: &str, bytes: &[u8]| {
        let path = dir.path().join("idx").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    };
    let images =
        idx("train-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 10, 20, 30, 40]);
    let labels = idx("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]);
    for file in [images, labels] {
        survive(&file, &dir.path().join("idx"));
    }
    let folder = dir.path().join("cifar");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("fine_label_names.txt"), "apple\nbaby\n").unwrap();
    fs::write(folder.join("train.bin"), vec![1; 2 * 3074]).unwrap();
    survive(&folder.join("train.bin"), &folder);
}

#[test]
fn parquet_files_with_any_bytes_do_not_panic() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/parquet");
    let dir = tempfile::tempdir().unwrap();
    for name in ["hub/data/train-00001-of-00002", "zstd", "gzip", "lz4", "plain", "v2"] {
        let path = dir.path().join("x.parquet");
        fs::copy(goldens.join(name).with_extension("parquet"), &path).unwrap();
        survive(&path, &path);
    }
}
