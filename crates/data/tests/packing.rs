//! Data sets packed into shards: the same images, whatever happens on the way.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod photo;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use data::source::Stored;
use data::{
    DataConfig, DataError, DecodeOptions, Format, ImageSource, Labels, PackOptions, PackStage, Packed,
    Resize, ShardLimits, Split, decode, open, pack,
};
use image::{Rgb, RgbImage};
use libjpeg_turbo_rs::Subsampling;
use photo::{jpeg, photo};

fn config(path: &Path) -> DataConfig {
    DataConfig { path: Some(path.to_owned()), ..DataConfig::default() }
}

fn options(images: usize) -> PackOptions {
    PackOptions { limits: ShardLimits { images, ..ShardLimits::default() }, ..PackOptions::default() }
}

fn packed(data: &DataConfig, out: &Path, options: &PackOptions) -> Result<Packed, DataError> {
    pack(data, &data.parts(0)?, out, options, &mut |_, _, _| {})
}

fn message(data: &DataConfig, out: &Path, options: &PackOptions) -> String {
    packed(data, out, options).expect_err("an error").to_string()
}

fn bytes(source: &dyn ImageSource, index: usize) -> Vec<u8> {
    let Stored::Encoded(bytes) = source.read(index).unwrap() else { panic!("decoded") };
    bytes
}

/// Photos of two classes in `train` and `val`, some with names that no shard can have.
fn make_folder(root: &Path) {
    for (number, name) in [
        "train/cat/1.jpg",
        "train/cat/1.png",
        "train/cat/a.b.jpg",
        "train/dog/x/2.JPG",
        "val/cat/1.jpg",
        "val/dog/7.jpeg",
    ]
    .iter()
    .enumerate()
    {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = photo(60 + 10 * number as u32, 50, number as u32);
        match name.ends_with("png") {
            true => image.save(path).unwrap(),
            false => fs::write(path, jpeg(&image, 90, Subsampling::S420)).unwrap(),
        }
    }
}

/// All files of a folder but indices, which hold times.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| !name.ends_with(".index"));
    names.map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn every_part_is_packed_bit_for_bit_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("photos"), dir.path().join("shards"));
    make_folder(&root);
    fs::write(root.join("train/cat/damaged.jpg"), b"\xff\xd8 no image").unwrap();
    let mut told = Vec::new();
    let data = config(&root);
    let done = pack(&data, &data.parts(0).unwrap(), &out, &options(3), &mut |stage, done, all| {
        told.push((stage, done, all));
    })
    .unwrap();
    assert_eq!((done.images, done.before, done.resized), (7, 0, 0));
    assert!(told.contains(&(PackStage::Write, 7, 7)));
    assert_eq!(told.last(), Some(&(PackStage::Verify, done.bytes, done.bytes)));
    let names: Vec<_> = files(&out).into_keys().collect();
    let shards = ["train-000000.tar", "train-000001.tar", "val-000000.tar"];
    assert_eq!(names, [&[".pack.json", "classes.txt"], &shards[..]].concat());
    assert_eq!(done.shards, shards.map(|name| out.join(name)));
    for split in [Split::Train, Split::Val] {
        let [before, after] =
            [&root, &out].map(|at| open(at, Format::Auto, split, Labels::Required).unwrap());
        assert_eq!((before.classes(), before.len()), (after.classes(), after.len()));
        for index in 0..before.len() {
            assert_eq!(bytes(&*before, index), bytes(&*after, index));
            assert_eq!(before.label(index), after.label(index));
        }
    }
    let train = open(&out, Format::Auto, Split::Train, Labels::Required).unwrap();
    let keys: Vec<_> = (0..train.len()).map(|index| train.name(index)).collect();
    for (name, key) in
        keys.iter().zip(["cat/1.jpg", "cat/1_2.png", "cat/a_b.jpg", "cat/damaged.jpg", "dog/x/2.jpg"])
    {
        assert!(name.ends_with(&format!(".tar/{key}")), "{keys:?}");
    }
}

#[test]
fn an_interrupted_pack_goes_on_to_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let (root, whole, part) = (dir.path().join("photos"), dir.path().join("whole"), dir.path().join("part"));
    make_folder(&root);
    let (data, options) = (config(&root), options(2));
    packed(&data, &whole, &options).unwrap();
    // Stopped by an image that cannot be read: the first shard is complete.
    let parts = data.parts(0).unwrap();
    let last = root.join("train/dog/x/2.JPG");
    let kept = fs::read(&last).unwrap();
    fs::remove_file(&last).unwrap();
    let error = pack(&data, &parts, &part, &options, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("2.JPG"), "{error}");
    let names = || files(&part).into_keys().collect::<Vec<_>>();
    assert!(!names().iter().any(|name| name.ends_with(".part")), "{:?}", names());
    // What a kill leaves: a shard half written, and one that is not noted yet.
    fs::write(part.join(".train-000001.tar.part"), b"half").unwrap();
    fs::write(part.join("train-000001.tar"), b"not noted").unwrap();
    fs::write(&last, kept).unwrap();
    let done = packed(&data, &part, &options).unwrap();
    assert_eq!(files(&part), files(&whole));
    // Once more there is nothing to do, and a lost shard is made again.
    assert_eq!(packed(&data, &part, &options).unwrap().before, 6);
    assert!(done.before < 6);
    fs::remove_file(part.join("train-000001.tar")).unwrap();
    assert_eq!(packed(&data, &part, &options).unwrap().before, 4);
    assert_eq!(files(&part), files(&whole));
}

#[test]
fn a_shard_that_does_not_read_back_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("photos"), dir.path().join("shards"));
    make_folder(&root);
    packed(&config(&root), &out, &options(2)).unwrap();
    let shard = out.join("train-000001.tar");
    let mut damaged = fs::read(&shard).unwrap();
    damaged[700] ^= 1;
    fs::write(&shard, damaged).unwrap();
    let error = message(&config(&root), &out, &options(2));
    assert!(error.contains("train-000001.tar is not what was written into it"), "{error}");
}

#[test]
fn folders_with_other_things_in_them_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("photos"), dir.path().join("shards"));
    make_folder(&root);
    fs::create_dir(&out).unwrap();
    fs::write(out.join("thesis.txt"), "text").unwrap();
    let data = config(&root);
    let error = message(&data, &out, &options(2));
    assert!(error.contains("has other things in it (thesis.txt)"), "{error}");
    let replacing = |images| PackOptions { overwrite: true, ..options(images) };
    packed(&data, &out, &replacing(2)).unwrap();
    assert!(out.join("train-000001.tar").exists() && out.join("thesis.txt").exists());
    let error = message(&data, &out, &options(100));
    assert!(error.contains("was begun with other settings; --overwrite"), "{error}");
    packed(&data, &out, &replacing(100)).unwrap();
    assert!(!out.join("train-000001.tar").exists(), "shards of before would be read as well");
    fs::remove_file(root.join("train/cat/1.png")).unwrap();
    let error = message(&data, &out, &options(100));
    assert!(error.contains("was begun with other images"), "{error}");
    for within in [root.clone(), root.join("shards/new")] {
        let error = message(&data, &within, &replacing(2));
        assert!(error.contains("lies within the data"), "{error}");
    }
}

#[test]
fn large_images_become_smaller_and_others_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("photos"), dir.path().join("shards"));
    fs::create_dir_all(root.join("a")).unwrap();
    photo(90, 60, 1).save(root.join("a/1.png")).unwrap();
    photo(40, 30, 2).save(root.join("a/2.png")).unwrap();
    fs::write(root.join("a/3.jpg"), b"\xff\xd8 no image").unwrap();
    let resize = Some(Resize { short_side: 30, quality: 95 });
    let done = packed(&config(&root), &out, &PackOptions { resize, ..options(10) }).unwrap();
    assert_eq!((done.resized, done.kept.len()), (1, 1));
    assert!(done.kept[0].0.ends_with("3.jpg"));
    assert!(done.shards[0].ends_with("images-000000.tar"));
    let [before, after] =
        [&root, &out].map(|at| open(at, Format::Auto, Split::Train, Labels::Required).unwrap());
    let small = decode(&bytes(&*after, 0), DecodeOptions::default()).unwrap().into_rgb();
    assert_eq!(small.dimensions(), (45, 30));
    assert!(after.name(0).ends_with("a/1.jpg"));
    let right = data::transform::resize(&photo(90, 60, 1), [30, 45]);
    let apart: u32 = small.iter().zip(right.iter()).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    assert!(f64::from(apart) / (45.0 * 30.0 * 3.0) < 4.0, "{apart}");
    (1..3).for_each(|index| assert_eq!(bytes(&*before, index), bytes(&*after, index)));
}

#[test]
fn images_without_files_become_pngs_and_tables_of_labels_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("mnist");
    fs::create_dir(&root).unwrap();
    for (prefix, count) in [("train", 3u32), ("t10k", 2)] {
        let header = |magic: u32, sizes: &[u32]| {
            [&[magic], sizes].concat().iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>()
        };
        let pixels = (0..count * 16).map(|at| (at * 5) as u8).collect::<Vec<_>>();
        fs::write(
            root.join(format!("{prefix}-images-idx3-ubyte")),
            [header(2051, &[count, 4, 4]), pixels].concat(),
        )
        .unwrap();
        fs::write(
            root.join(format!("{prefix}-labels-idx1-ubyte")),
            [header(2049, &[count]), (0..count as u8).collect()].concat(),
        )
        .unwrap();
    }
    let out = dir.path().join("shards");
    let done = packed(&config(&root), &out, &options(10)).unwrap();
    assert_eq!(done.shards.len(), 2);
    for split in [Split::Train, Split::Test] {
        let [before, after] =
            [&root, &out].map(|at| open(at, Format::Auto, split, Labels::Required).unwrap());
        assert_eq!(before.len(), after.len());
        for index in 0..before.len() {
            assert_eq!(before.get(index).unwrap(), after.get(index).unwrap());
        }
    }
    RgbImage::from_pixel(4, 4, Rgb([1, 2, 3])).save(dir.path().join("1.png")).unwrap();
    let table = dir.path().join("labels.csv");
    fs::write(&table, "image,labels\n1.png,a;b\n").unwrap();
    let error = message(&config(&table), &dir.path().join("none"), &options(10));
    assert!(error.contains("has several labels or numbers an image"), "{error}");
}
