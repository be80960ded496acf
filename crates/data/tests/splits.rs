//! What folders mean for splits, labels and links.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

use data::transform::Raster;
use data::{DataConfig, Format, ImageList, ImageSource, Judged, Labels, Split, open, splits};
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
    assert!(error.contains("has train but no val (nor valid, validation, dev)"), "{error}");
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

/// Names of a source's images below a folder.
fn names(source: &dyn ImageSource, root: &Path) -> Vec<String> {
    let name = |index| Path::new(&source.name(index)).strip_prefix(root).unwrap().display().to_string();
    (0..source.len()).map(name).collect()
}

#[test]
fn parts_go_by_known_names_in_any_case_and_test_is_not_validation() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for part in ["Training", "Testing", "DEV"] {
        save(&root.join(part).join("cat/a.png"));
        save(&root.join(part).join("dog/b.png"));
    }
    assert_eq!(splits(root, Format::Auto).unwrap(), [Split::Val, Split::Test, Split::Train]);
    for (split, folder) in [(Split::Train, "Training"), (Split::Val, "DEV"), (Split::Test, "Testing")] {
        let source = open(root, Format::Auto, split, Labels::Required).unwrap();
        assert_eq!(names(&*source, root), [format!("{folder}/cat/a.png"), format!("{folder}/dog/b.png")]);
        assert_eq!(source.classes(), ["cat", "dog"]);
    }
    std::fs::remove_dir_all(root.join("DEV")).unwrap();
    let data = DataConfig { path: Some(root.to_owned()), ..DataConfig::default() };
    let error = data.open_divided(0, None).err().unwrap().to_string();
    assert!(error.contains("has test and train but no images to validate on"), "{error}");
    assert!(error.contains("test is kept for the end: train-cli eval --split test"), "{error}");
    // A share of the training images is held out, and none of the test images is among either.
    let data = DataConfig { val_fraction: Some(0.5), ..data };
    let divided = data.open_divided(0, None).err().unwrap().to_string();
    assert!(divided.contains("leaves none to validate on"), "{divided}");
    save(&root.join("Training/dog/c.png"));
    let divided = data.open_divided(0, None).unwrap();
    assert!(divided.origin.contains("data.val_fraction = 0.5"), "{}", divided.origin);
    let both = [names(&*divided.training, root), names(&*divided.validation, root)].concat();
    assert_eq!((divided.training.len(), divided.validation.len()), (2, 1));
    assert!(both.iter().all(|name| name.starts_with("Training")), "{both:?}");
    // Two names for one part.
    save(&root.join("train/cat/a.png"));
    let error = splits(root, Format::Auto).unwrap_err().to_string();
    assert!(error.contains("would both be train"), "{error}");
}

#[test]
fn a_table_has_three_parts() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = ["Train", "VALID", "test", "test"]
        .iter()
        .enumerate()
        .map(|(i, split)| {
            save(&dir.path().join(format!("{i}.png")));
            format!("{i}.png,x,{split}\n")
        })
        .collect();
    let table = dir.path().join("a.csv");
    std::fs::write(&table, format!("file_name,label,split\n{rows}")).unwrap();
    for (split, count) in [(Split::Train, 1), (Split::Val, 1), (Split::Test, 2)] {
        assert_eq!(open(&table, Format::Auto, split, Labels::Required).unwrap().len(), count, "{split}");
    }
    std::fs::write(&table, "file_name,label,split\n0.png,x,train\n2.png,x,test\n").unwrap();
    let data = DataConfig { path: Some(table), ..DataConfig::default() };
    let error = data.open_divided(0, None).err().unwrap().to_string();
    assert!(error.contains("has train and test but no images to validate on"), "{error}");
}

#[test]
fn the_test_batch_of_cifar_is_not_for_validation() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
    {
        let records = (0..3u8).flat_map(|label| [vec![label], vec![name.len() as u8 ^ label; 3072]].concat());
        std::fs::write(dir.path().join(format!("{name}.bin")), records.collect::<Vec<_>>()).unwrap();
    }
    let data = DataConfig { path: Some(dir.path().to_owned()), ..DataConfig::default() };
    let error = data.open_divided(0, None).err().unwrap().to_string();
    assert!(error.contains("has train and test but no images to validate on"), "{error}");
    let data = DataConfig { val_fraction: Some(0.3), ..data };
    let divided = data.open_divided(0, None).unwrap();
    assert_eq!(divided.training.len() + divided.validation.len(), 15);
    assert!(divided.validation.name(0).starts_with("train["));
    let test = open(dir.path(), Format::Auto, Split::Test, Labels::Required).unwrap();
    assert_eq!((test.len(), test.name(0)), (3, "test[0]".to_owned()));
}

#[test]
fn a_data_set_one_folder_too_deep_and_divided_classes_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    save(&root.join("archive/Data/train/cat/a.png"));
    save(&root.join("archive/Data/test/cat/a.png"));
    for labels in [Labels::Required, Labels::Ignored] {
        let error = open(root, Format::Auto, Split::Train, labels).err().unwrap().to_string();
        assert!(error.contains(&format!("--data {}", root.join("archive/Data").display())), "{error}");
    }
    let flat = open(root, Format::Flat, Split::Train, Labels::Ignored).unwrap();
    assert_eq!(flat.len(), 2);

    let dir = tempfile::tempdir().unwrap();
    for class in ["cat", "dog"] {
        for part in ["train", "test"] {
            save(&dir.path().join(class).join(part).join("a.png"));
        }
    }
    let error = open(dir.path(), Format::Auto, Split::Train, Labels::Required).err().unwrap().to_string();
    assert!(error.contains("cat is divided itself"), "{error}");
}

#[test]
fn classes_named_like_parts_are_pointed_out() {
    let dir = tempfile::tempdir().unwrap();
    for class in ["train_images", "test_images", "zebra"] {
        save(&dir.path().join(class).join("a.png"));
    }
    let data = DataConfig { path: Some(dir.path().to_owned()), ..DataConfig::default() };
    let source = data.open(Labels::Required).unwrap();
    let warning = data.warning(source.classes()).unwrap();
    assert!(warning.starts_with("test_images, train_images: classes named like a part"), "{warning}");
    assert_eq!(data.warning(&["cat".to_owned(), "trainer".to_owned()]), None);
    // A class called test among others is a class.
    let dir = tempfile::tempdir().unwrap();
    for class in ["test", "dna"] {
        save(&dir.path().join(class).join("a.png"));
    }
    let source = open(dir.path(), Format::Auto, Split::Val, Labels::Required).unwrap();
    assert_eq!(source.classes(), ["dna", "test"]);
}

#[test]
fn names_that_look_the_same_are_the_same_class() {
    let dir = tempfile::tempdir().unwrap();
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    save(&dir.path().join("train").join(composed).join("a.png"));
    save(&dir.path().join("train/tea/a.png"));
    save(&dir.path().join("val").join(decomposed).join("b.png"));
    let data = DataConfig { path: Some(dir.path().to_owned()), ..DataConfig::default() };
    let divided = data.open_divided(0, None).unwrap();
    assert_eq!(divided.validation.classes(), [composed, "tea"]);
    assert_eq!(divided.validation.label(0), Some(0));
    // As a checkpoint from elsewhere may have it.
    let mapped = data::with_classes(divided.training, &["tea".to_owned(), decomposed.to_owned()]).unwrap();
    assert_eq!(mapped.label(0), Some(1));
    save(&dir.path().join("train").join(decomposed).join("c.png"));
    let error = data.open_divided(0, None).err().unwrap().to_string();
    assert!(error.contains("two class folders") && error.contains(composed), "{error}");
    // In a table.
    std::fs::write(
        dir.path().join("a.csv"),
        format!("file_name,label\ntrain/tea/a.png,{composed}\nval/{decomposed}/b.png,{decomposed}\n"),
    )
    .unwrap();
    let source = open(&dir.path().join("a.csv"), Format::Auto, Split::Train, Labels::Required).unwrap();
    assert_eq!(source.classes(), [composed]);
}

/// Twelve images of two classes with a fifth held out, and what the run would record.
fn recorded() -> (tempfile::TempDir, DataConfig, ImageList) {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..12 {
        save(&dir.path().join(format!("data/{}/{i}.png", ["a", "b"][i % 2])));
    }
    let data =
        DataConfig { path: Some(dir.path().join("data")), val_fraction: Some(0.2), ..DataConfig::default() };
    let divided = data.open_divided(3, None).unwrap();
    let list = ImageList::of(data.root().unwrap(), &*divided.training, Some(&*divided.validation));
    (dir, data, list)
}

#[test]
fn a_network_is_judged_by_what_its_run_held_out() {
    let (dir, data, list) = recorded();
    let root = dir.path().join("data");
    let judged = |path: Option<&Path>, split| Judged::open(&data, path, split, Some(&list));
    let before = judged(None, None).unwrap();
    let held_out = names(&*before.images, &root);
    assert_eq!(held_out.len(), list.count(Split::Val));
    assert!(before.remarks().is_empty());
    let training = judged(None, Some(Split::Train)).unwrap();
    assert_eq!(training.images.len(), 12 - held_out.len());

    // New images, one changed, one gone.
    save(&root.join("a/!.png"));
    RgbImage::new(9, 9).save(root.join(&held_out[0])).unwrap();
    let trained = names(&*training.images, &root);
    std::fs::remove_file(root.join(&trained[0])).unwrap();
    let after = judged(None, None).unwrap();
    assert_eq!(names(&*after.images, &root), held_out);
    let remark = after.remarks().concat();
    assert!(remark.contains("1 new (a/!.png), ") && remark.contains("new ones are left out"), "{remark}");
    assert!(remark.contains(&format!("1 changed ({})", held_out[0])), "{remark}");

    // Wherever the same images are.
    std::fs::rename(&root, dir.path().join("elsewhere")).unwrap();
    let moved = judged(Some(&dir.path().join("elsewhere")), None).unwrap();
    assert_eq!(names(&*moved.images, &dir.path().join("elsewhere")), held_out);
    // Sorted into parts, those that were trained on are pointed out.
    save(&dir.path().join("parted/train/b/0.png"));
    std::fs::create_dir_all(dir.path().join("parted/val/a")).unwrap();
    let name = Path::new(&trained[1]).file_name().unwrap();
    std::fs::copy(dir.path().join("elsewhere").join(&trained[1]), dir.path().join("parted/val/a").join(name))
        .unwrap();
    let parted = judged(Some(&dir.path().join("parted")), None).unwrap();
    assert!(parted.remarks().concat().contains("1 of them were trained on"), "{:?}", parted.remarks());
    // Other images are judged as they are.
    for i in 0..3 {
        let path = dir.path().join(format!("other/a/{i}.png"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::new(30 + i, 7).save(path).unwrap();
    }
    let other = judged(Some(&dir.path().join("other")), None).unwrap();
    assert_eq!((other.images.len(), other.remarks().len()), (3, 0));
    let error = judged(Some(&dir.path().join("other")), Some(Split::Test)).err().unwrap().to_string();
    assert!(error.contains("is not divided into train and val"), "{error}");
}

#[test]
fn a_run_that_listed_nothing_is_not_judged_by_what_it_may_have_trained_on() {
    let (_dir, data, _) = recorded();
    let error = Judged::open(&data, None, None, None).err().unwrap().to_string();
    assert!(error.contains("images.csv.gz is missing"), "{error}");
}
