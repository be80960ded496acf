//! Every source: what it reads, and what it says of data that it cannot read.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::io::Write;
use std::path::Path;

use data::{DataError, Format, ImageSource, Labels, Split, open};
use flate2::write::GzEncoder;
use image::{Rgb, RgbImage};

fn save(path: &Path, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(4, 3, Rgb([value, 0, 0])).save(path).unwrap();
}

fn auto(path: &Path, labels: Labels) -> Result<std::sync::Arc<dyn ImageSource>, DataError> {
    open(path, Format::Auto, Split::Train, labels)
}

fn message(path: &Path, labels: Labels) -> String {
    auto(path, labels).err().expect("an error").to_string()
}

fn values(source: &dyn ImageSource) -> Vec<(u8, Option<u32>)> {
    let samples = (0..source.len()).map(|i| source.get(i).unwrap());
    samples.map(|sample| (sample.image.into_rgb()[(0, 0)].0[0], sample.target.class())).collect()
}

#[test]
fn class_folders_are_sorted_and_may_be_nested() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("train/dog/b.PNG"), 3);
    save(&dir.path().join("train/dog/deep/a.png"), 4);
    save(&dir.path().join("train/cat/z.bmp"), 1);
    save(&dir.path().join("train/.hidden/x.png"), 9);
    save(&dir.path().join("val/cat/v.png"), 7);
    fs::write(dir.path().join("train/cat/notes.txt"), "no image").unwrap();
    let source = auto(dir.path(), Labels::Required).unwrap();
    assert_eq!(source.classes(), ["cat", "dog"]);
    assert_eq!(values(source.as_ref()), [(1, Some(0)), (3, Some(1)), (4, Some(1))]);
    assert!(source.name(0).ends_with("z.bmp"));
    let val = open(dir.path(), Format::Auto, Split::Val, Labels::Required).unwrap();
    assert_eq!(values(val.as_ref()), [(7, Some(0))]);
}

#[test]
fn a_flat_or_nested_folder_needs_no_labels() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("a.png"), 1);
    save(&dir.path().join("sub/b.png"), 2);
    let source = auto(dir.path(), Labels::Ignored).unwrap();
    assert!(source.classes().is_empty());
    assert_eq!(values(source.as_ref()), [(1, None), (2, None)]);
    let flat = open(dir.path(), Format::Flat, Split::Train, Labels::Ignored).unwrap();
    assert_eq!(flat.len(), 2);
}

#[test]
fn unusable_folders_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    assert!(message(&at("nowhere"), Labels::Ignored).contains("does not exist"));
    fs::write(at("file"), "x").unwrap();
    assert!(message(&at("file"), Labels::Ignored).contains("not a folder"));
    fs::create_dir(at("empty")).unwrap();
    for labels in [Labels::Ignored, Labels::Required] {
        assert!(message(&at("empty"), labels).contains("is empty"));
    }
    fs::create_dir_all(at("texts/sub")).unwrap();
    fs::write(at("texts/sub/a.txt"), "x").unwrap();
    let text = message(&at("texts"), Labels::Ignored);
    assert!(text.contains("1 files but no image") && text.contains("webp"), "{text}");
    save(&at("classes/full/a.png"), 1);
    fs::create_dir(at("classes/none")).unwrap();
    assert!(message(&at("classes"), Labels::Required).contains("none holds no image"));
    assert_eq!(auto(&at("classes"), Labels::Ignored).unwrap().len(), 1);
    save(&at("loose/a.png"), 1);
    assert!(message(&at("loose"), Labels::Required).contains("no class folders"));
}

fn record(label: u8, red: u8) -> Vec<u8> {
    let mut bytes = vec![label];
    bytes.extend([red; 1024]);
    bytes.extend([0; 2048]);
    bytes
}

#[test]
fn cifar_binary_batches() {
    let dir = tempfile::tempdir().unwrap();
    for i in 1..=5 {
        let bytes = [record(i, 10 * i), record(0, 200)].concat();
        fs::write(dir.path().join(format!("data_batch_{i}.bin")), bytes).unwrap();
    }
    let source = auto(dir.path(), Labels::Required).unwrap();
    assert_eq!((source.len(), source.classes().len()), (10, 10));
    assert_eq!(source.classes()[5], "dog");
    assert_eq!(values(source.as_ref())[2..4], [(20, Some(2)), (200, Some(0))]);
    assert_eq!(source.get(0).unwrap().image.into_rgb()[(31, 31)], Rgb([10, 0, 0]));

    fs::write(dir.path().join("data_batch_3.bin"), &record(1, 1)[..3000]).unwrap();
    let text = message(dir.path(), Labels::Required);
    assert!(text.contains("data_batch_3.bin is damaged") && text.contains("3000 bytes"), "{text}");
    fs::write(dir.path().join("data_batch_3.bin"), record(11, 1)).unwrap();
    assert!(message(dir.path(), Labels::Required).contains("label 11"));
    fs::remove_file(dir.path().join("data_batch_3.bin")).unwrap();
    assert!(message(dir.path(), Labels::Required).contains("data_batch_3.bin"));
}

#[test]
fn cifar_sheets() {
    let dir = tempfile::tempdir().unwrap();
    // Two images a sheet; pixel (row 0, column 1) of the second one is green.
    let sheet =
        RgbImage::from_fn(
            1024,
            2,
            |x, y| if (x, y) == (1, 1) { Rgb([0, 255, 0]) } else { Rgb([y as u8, 0, 0]) },
        );
    for i in 1..=5 {
        sheet.save(dir.path().join(format!("data_batch_{i}.png"))).unwrap();
    }
    let labels = dir.path().join("train_lables.json");
    fs::write(&labels, "[0,1,2,3,4,5,6,7,8,9]").unwrap();
    let source = auto(dir.path(), Labels::Required).unwrap();
    assert_eq!(values(source.as_ref())[..2], [(0, Some(0)), (1, Some(1))]);
    assert_eq!(source.get(1).unwrap().image.into_rgb()[(1, 0)], Rgb([0, 255, 0]));
    fs::write(&labels, "[0,1]").unwrap();
    assert!(message(dir.path(), Labels::Required).contains("2 labels for 10 images"));
    RgbImage::new(100, 2).save(dir.path().join("data_batch_2.png")).unwrap();
    assert!(message(dir.path(), Labels::Required).contains("100 pixels wide"));
}

fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    file.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    file.extend(bytes);
    file
}

#[test]
fn idx_files_plain_and_gzipped() {
    let dir = tempfile::tempdir().unwrap();
    let images = idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&images).unwrap();
    let zipped = dir.path().join("train-images-idx3-ubyte.gz");
    fs::write(&zipped, gz.finish().unwrap()).unwrap();
    let labels = dir.path().join("train-labels-idx1-ubyte");
    fs::write(&labels, idx(&[2], &[4, 0])).unwrap();
    let source = auto(dir.path(), Labels::Required).unwrap();
    assert_eq!(values(source.as_ref()), [(1, Some(4)), (7, Some(0))]);
    let image = source.get(1).unwrap().image.into_rgb();
    assert_eq!((image.dimensions(), image[(2, 1)]), ((3, 2), Rgb([12; 3])));
    assert_eq!(source.classes().len(), 5);

    fs::write(&labels, idx(&[3], &[4, 0, 1])).unwrap();
    assert!(message(dir.path(), Labels::Required).contains("3 labels for 2 images"));
    fs::write(&labels, idx(&[2], &[4])).unwrap();
    assert!(message(dir.path(), Labels::Required).contains("do not hold [2] elements"));
    fs::write(&labels, b"hello").unwrap();
    assert!(message(dir.path(), Labels::Required).contains("no IDX file"));
    let bytes = fs::read(&zipped).unwrap();
    fs::write(&zipped, &bytes[..bytes.len() / 2]).unwrap();
    assert!(message(dir.path(), Labels::Required).contains("cannot read"));
}

#[test]
fn idx_files_have_several_names() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, sizes: &[u32], bytes: &[u8]| {
        fs::write(dir.path().join(name), idx(sizes, bytes)).unwrap();
    };
    write("t10k-images.idx3-ubyte", &[1, 1, 2], &[7, 8]);
    write("t10k-labels.idx1-ubyte", &[1], &[3]);
    let source = open(dir.path(), Format::Auto, Split::Test, Labels::Required).unwrap();
    assert_eq!(values(&*source), [(7, Some(3))]);
    assert!(message(dir.path(), Labels::Required).contains("train-images-idx3-ubyte.gz"));
}

#[test]
fn emnist_is_named_by_its_characters() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("gzip");
    fs::create_dir(&root).unwrap();
    let write = |name: &str, sizes: &[u32], bytes: &[u8]| {
        let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&idx(sizes, bytes)).unwrap();
        fs::write(root.join(format!("{name}.gz")), gz.finish().unwrap()).unwrap();
    };
    for part in ["train", "test"] {
        write(&format!("emnist-letters-{part}-images-idx3-ubyte"), &[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
        write(&format!("emnist-letters-{part}-labels-idx1-ubyte"), &[2], &[3, 1]);
    }
    // Without the list of characters the labels are the names, and there is no class 0.
    let source = auto(dir.path(), Labels::Required).unwrap();
    assert_eq!((source.classes().join(","), source.label(0)), ("1,2,3".to_owned(), Some(2)));
    fs::write(root.join("emnist-letters-mapping.txt"), "1 65 97\n2 66 98\n3 67 99\n4 68 100\n").unwrap();
    for split in [Split::Train, Split::Test] {
        let source = open(dir.path(), Format::Auto, split, Labels::Required).unwrap();
        assert_eq!(source.classes(), ["A", "B", "C", "D"]);
        assert_eq!(values(&*source), [(1, Some(2)), (5, Some(0))]);
    }
    fs::write(root.join("emnist-letters-mapping.txt"), "1 65\n1 66\n").unwrap();
    assert!(
        message(dir.path(), Labels::Required).contains("mapping.txt is damaged: a label is listed twice")
    );
    fs::write(root.join("emnist-letters-mapping.txt"), "1 A\n").unwrap();
    assert!(message(dir.path(), Labels::Required).contains("a line is no label and the code"));
    fs::remove_file(root.join("emnist-letters-mapping.txt")).unwrap();
    // As they are stored, which is on their side.
    let image = auto(dir.path(), Labels::Required).unwrap().get(0).unwrap().image.into_rgb();
    assert_eq!([image[(1, 0)].0[0], image[(0, 1)].0[0]], [2, 3]);
    write("emnist-letters-train-labels-idx1-ubyte", &[2], &[3, 0]);
    assert!(message(dir.path(), Labels::Required).contains("label 0 is that of no class"));
    write("emnist-digits-test-images-idx3-ubyte", &[1, 1, 1], &[1]);
    let text = message(dir.path(), Labels::Required);
    assert!(text.contains("several data sets: emnist-digits, emnist-letters"), "{text}");
}

#[test]
fn cifar_100_has_its_fine_classes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cifar-100-binary");
    fs::create_dir(&root).unwrap();
    let record = |fine: u8, red: u8| [vec![1], record(fine, red)].concat();
    fs::write(root.join("fine_label_names.txt"), "apple\naquarium_fish\nbaby\n").unwrap();
    fs::write(root.join("train.bin"), [record(2, 9), record(0, 8)].concat()).unwrap();
    fs::write(root.join("test.bin"), record(3, 9)).unwrap();
    for folder in [dir.path(), &root] {
        let source = auto(folder, Labels::Required).unwrap();
        assert_eq!(source.classes(), ["apple", "aquarium_fish", "baby"]);
        assert_eq!(values(&*source), [(9, Some(2)), (8, Some(0))]);
    }
    let named = open(dir.path(), Format::Cifar100, Split::Train, Labels::Required).unwrap();
    assert_eq!(named.len(), 2);
    let error = open(dir.path(), Format::Auto, Split::Test, Labels::Required).err().unwrap().to_string();
    assert!(error.contains("label 3"), "{error}");
}

#[test]
fn cifar_is_found_where_its_archive_puts_it_and_objects_of_python_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let python = dir.path().join("cifar-10-batches-py");
    fs::create_dir(&python).unwrap();
    ["batches.meta", "data_batch_1"].into_iter().for_each(|name| fs::write(python.join(name), "").unwrap());
    for folder in [dir.path(), &python] {
        let text = message(folder, Labels::Required);
        assert!(text.contains("version for Python") && text.contains("cifar-10-binary.tar.gz"), "{text}");
    }
    let binary = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&binary).unwrap();
    (1..=5).for_each(|i| fs::write(binary.join(format!("data_batch_{i}.bin")), record(i, i)).unwrap());
    assert_eq!(auto(dir.path(), Labels::Required).unwrap().len(), 5);
    assert_eq!(open(dir.path(), Format::Cifar10, Split::Train, Labels::Required).unwrap().len(), 5);
    // Among folders of images it is one of them.
    save(&dir.path().join("photos/a.png"), 1);
    assert_eq!(auto(dir.path(), Labels::Ignored).unwrap().len(), 1);
}
