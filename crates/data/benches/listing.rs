//! How long it takes to list a folder of images. `IMAGES=1300000 FOLDER=/dev/shm cargo bench -p data --bench
//! listing` makes as many empty files as ImageNet has, in a folder of its own that is removed afterwards.

#![allow(clippy::unwrap_used, reason = "benchmarks fail by panicking")]

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use data::source::ImageFolder;
use data::{Format, Labels, Split, open};
use divan::Bencher;
use divan::counter::ItemsCount;
use rayon::prelude::*;

const CLASSES: usize = 1000;

static ROOT: OnceLock<PathBuf> = OnceLock::new();

fn main() {
    let images = env::var("IMAGES").map_or(20_000, |number| number.parse().unwrap());
    let folder = env::var_os("FOLDER").map_or_else(env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(folder).unwrap();
    for class in 0..CLASSES {
        let folder = dir.path().join(format!("n{class:08}"));
        fs::create_dir(&folder).unwrap();
        for image in 0..images / CLASSES {
            File::create(folder.join(format!("n{class:08}_{image}.JPEG"))).unwrap();
        }
    }
    ROOT.set(dir.path().to_owned()).unwrap();
    divan::main();
}

fn root() -> &'static Path {
    ROOT.get().unwrap()
}

fn images() -> Vec<PathBuf> {
    ImageFolder::flat(root()).unwrap().paths().map(Path::to_owned).collect()
}

/// Opening a folder of classes.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn classes(bencher: Bencher) {
    let count = ItemsCount::new(images().len());
    bencher.counter(count).bench(|| open(root(), Format::Auto, Split::Train, Labels::Required).unwrap());
}

/// Asking for the size of every image: the least that a list from an earlier time would take to be checked.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn sizes_alone(bencher: Bencher) {
    let images = images();
    let bytes = || images.par_iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    bencher.counter(ItemsCount::new(images.len())).bench(bytes);
}
