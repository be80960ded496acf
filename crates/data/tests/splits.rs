//! What folders mean for splits, labels and links.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

use data::{Format, Labels, Split, open};
use image::RgbImage;

fn save(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::new(4, 3).save(path).unwrap();
}

#[test]
fn validation_does_not_fall_back_to_the_training_images() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("train/cat/a.png"));
    let error = open(dir.path(), Format::Auto, Split::Val, Labels::Ignored).err().unwrap().to_string();
    assert!(error.contains("no val, valid, validation, test"), "{error}");
}

#[test]
fn a_flat_folder_cannot_give_the_labels_that_are_required() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("a.png"));
    let error = open(dir.path(), Format::Flat, Split::Train, Labels::Required).err().unwrap().to_string();
    assert!(error.contains("no class folders"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_that_lead_back_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("cat/a.png"));
    std::os::unix::fs::symlink("..", dir.path().join("cat/again")).unwrap();
    let source = open(dir.path(), Format::Flat, Split::Train, Labels::Ignored).unwrap();
    assert_eq!(source.len(), 1);
}

#[test]
fn idx_files_without_pixels_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = |sizes: &[u8]| {
        let numbers = sizes.iter().flat_map(|size| [0, 0, 0, *size]);
        [0, 0, 8, sizes.len() as u8].into_iter().chain(numbers).collect::<Vec<u8>>()
    };
    std::fs::write(dir.path().join("train-images-idx3-ubyte"), sizes(&[2, 0, 28])).unwrap();
    std::fs::write(dir.path().join("train-labels-idx1-ubyte"), [&sizes(&[2])[..], &[1, 2]].concat()).unwrap();
    let error = open(dir.path(), Format::Auto, Split::Train, Labels::Ignored).err().unwrap().to_string();
    assert!(error.contains("0×28 pixels"), "{error}");
}

#[test]
fn the_bundled_sample_is_balanced() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/sample");
    for (split, each) in [(Split::Train, 100), (Split::Val, 25)] {
        let source = open(&path, Format::Auto, split, Labels::Required).unwrap();
        let mut counts = vec![0; source.classes().len()];
        for index in 0..source.len() {
            let sample = source.get(index).unwrap();
            assert_eq!(sample.image.dimensions(), (32, 32));
            counts[sample.target.class().unwrap() as usize] += 1;
        }
        assert_eq!(counts, [each; 10]);
    }
}
