//! Parquet files: the same images, labels and batches as of a folder. Made by scripts/make_parquet.py.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod batches;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use batches::{batches, loader};
use data::source::Stored;
use data::{
    DataConfig, DataError, Format, ImageList, ImageSource, Labels, Shuffle, Split, open, open_labelled,
    splits,
};

const CLASSES: [&str; 2] = ["cat", "red fox"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/parquet").join(name)
}

fn auto(path: &Path, split: Split) -> Result<Arc<dyn ImageSource>, DataError> {
    open(path, Format::Auto, split, Labels::Required)
}

fn train(name: &str) -> Arc<dyn ImageSource> {
    auto(&golden(name), Split::Train).unwrap()
}

fn refused(name: &str) -> String {
    auto(&golden(name), Split::Train).err().expect("an error").to_string()
}

fn bytes(source: &dyn ImageSource, index: usize) -> Vec<u8> {
    let Stored::Encoded(bytes) = source.read(index).unwrap() else { panic!("decoded") };
    bytes
}

fn classes(source: &dyn ImageSource) -> Vec<Option<&str>> {
    let class = |index| source.label(index).map(|class| source.classes()[class as usize].as_str());
    (0..source.len()).map(class).collect()
}

#[test]
fn files_of_every_kind_hold_the_images_that_they_were_made_of() {
    let folder = train("photos");
    for name in
        ["hub", "hub/data", "zstd.parquet", "gzip.parquet", "lz4.parquet", "plain.parquet", "v2.parquet"]
    {
        let source = train(name);
        assert_eq!(source.len(), 12, "{name}");
        let by_number = ["plain.parquet", "v2.parquet"].contains(&name);
        assert_eq!(source.classes(), if by_number { ["2", "10"] } else { CLASSES }, "{name}");
        // Backwards, and the second time after all were taken.
        for index in (0..12).rev().chain(0..12) {
            assert_eq!(bytes(&*source, index), bytes(&*folder, index), "{name}: {index}");
            assert_eq!(source.label(index), folder.label(index), "{name}: {index}");
        }
        assert_eq!(source.get(7).unwrap().image, folder.get(7).unwrap().image);
    }
}

#[test]
fn batches_are_those_of_the_folder_whatever_the_threads() {
    let expected = batches(&train("photos"), 0, 0, 9);
    assert_eq!(expected.len(), 9);
    for name in ["hub", "zstd.parquet"] {
        for workers in [0, 1, 2, 4, 16] {
            let source = train(name);
            assert_eq!(batches(&source, workers, 0, 9), expected, "{name}, {workers} workers");
            assert_eq!(batches(&source, workers, 4, 3), expected[4..7], "{name}, {workers} workers, resumed");
        }
    }
}

#[test]
fn row_groups_are_shards() {
    let source = train("hub");
    assert_eq!(source.shards().unwrap(), [3, 3, 1, 3, 2]);
    let seen = |workers, from| -> Vec<u64> {
        let batches = loader(&source, workers, Shuffle::Shards).unwrap().batches(0, from).take(6);
        batches.flat_map(|batch| batch.unwrap().indices).collect()
    };
    let all = seen(0, 0);
    let expected = data::shard_order(3, 0, &[3, 3, 1, 3, 2], data::SHUFFLE_BUFFER);
    assert_eq!(all[..12], expected.into_iter().map(u64::from).collect::<Vec<_>>());
    assert_eq!(all[4..], seen(4, 1)[..20]);
    let error = loader(&train("photos"), 0, Shuffle::Shards).err().unwrap().to_string();
    assert!(error.contains("is for images in tar shards or Parquet files"), "{error}");
}

#[test]
fn rows_have_names_and_sizes_by_which_they_are_known_again() {
    let (root, source) = (golden("hub"), train("hub"));
    for (index, name) in [
        (0, "train-00000-of-00002.parquet:0"),
        (6, "train-00000-of-00002.parquet:6"),
        (9, "train-00001-of-00002.parquet:2"),
    ] {
        assert_eq!(source.name(index), root.join("data").join(name).display().to_string());
    }
    // The column of images of its row group, as pyarrow tells it.
    assert_eq!([0, 2, 3, 6].map(|index| source.bytes(index)), [915, 915, 804, 630]);
    let list = |path: &Path| {
        let data = DataConfig { path: Some(path.to_owned()), ..DataConfig::default() };
        let source = data.open(Labels::Required).unwrap();
        ImageList::of(data.root().unwrap(), &*source, None)
    };
    assert_eq!(list(&root).split("data/train-00001-of-00002.parquet:4"), Some(Split::Train));
    let pattern = root.join("data/train-{00000..00001}-of-00002.parquet");
    assert_eq!(list(&pattern), list(&root.join("data")));
    assert_eq!(source.left_out().to_string(), format!("column `caption` in {}", root.join("data").display()));
}

#[test]
fn files_are_divided_by_names_or_folders() {
    let both = [Split::Train, Split::Val];
    assert_eq!(splits(&golden("hub"), Format::Auto).unwrap(), both);
    assert_eq!(splits(&golden("zstd.parquet"), Format::Auto).unwrap(), []);
    let val = auto(&golden("hub"), Split::Val).unwrap();
    assert_eq!(classes(&*val), [Some("cat"), Some("cat"), Some("red fox"), Some("red fox")]);
    assert_eq!(bytes(&*val, 0), fs::read(golden("photos/cat/04.png")).unwrap());
    let missing = auto(&golden("hub"), Split::Test).err().unwrap().to_string();
    assert!(missing.contains("has train and val but no test"), "{missing}");
    let missing = refused("hub/data/train-{00000..00002}-of-00002.parquet");
    assert!(missing.contains("1 of the 3 shards do not exist"), "{missing}");
    let dir = tempfile::tempdir().unwrap();
    for part in ["train", "val"] {
        fs::create_dir(dir.path().join(part)).unwrap();
        fs::copy(golden("zstd.parquet"), dir.path().join(part).join("0000.parquet")).unwrap();
    }
    assert_eq!(splits(dir.path(), Format::Auto).unwrap(), both);
    assert!(auto(dir.path(), Split::Val).unwrap().name(3).contains("val/0000.parquet:3"));
    // Folders of classes stay what they are, whatever lies beside them.
    fs::create_dir_all(dir.path().join("photos/cat")).unwrap();
    fs::copy(golden("photos/cat/00.png"), dir.path().join("photos/cat/0.png")).unwrap();
    fs::copy(golden("zstd.parquet"), dir.path().join("photos/x.parquet")).unwrap();
    assert_eq!(auto(&dir.path().join("photos"), Split::Train).unwrap().len(), 1);
    let asked = open(&dir.path().join("photos"), Format::Parquet, Split::Train, Labels::Required).unwrap();
    assert_eq!(asked.len(), 12);
}

#[test]
fn the_column_of_labels_is_found_or_named() {
    assert_eq!(train("one_class.parquet").classes(), CLASSES);
    let error = refused("two_classes.parquet");
    assert!(error.contains("has no column `label` of classes"), "{error}");
    assert!(error.contains("its columns are `image`, `fine`, `coarse`; say which it is"), "{error}");
    let of =
        |name: &str, key| open_labelled(&golden(name), Format::Auto, Split::Train, Labels::Required, key);
    let coarse = of("two_classes.parquet", "coarse").unwrap();
    assert_eq!(classes(&*coarse), [Some("c"), Some("d")]);
    assert!(coarse.left_out().to_string().starts_with("column `fine` in "));
    assert_eq!(train("twins.parquet").classes(), ["crane (0)", "crane (1)"]);
    for (name, said) in [
        ("few_names.parquet", "has class 1 in row 1, and names 1 classes"),
        ("unlabelled.parquet", "has no class in row 1: its `label` is null, empty or -1"),
        ("null_label.parquet", "has no class in row 0"),
        ("float.parquet", "has a column `label` that is no class, neither whole numbers nor text"),
        ("list.parquet", "has a column `label` that is no class"),
    ] {
        let error = refused(name);
        assert!(error.contains(&format!("{name} {said}")), "{error}");
        let source = open(&golden(name), Format::Auto, Split::Train, Labels::Ignored).unwrap();
        assert_eq!((source.classes(), classes(&*source)), (&[][..], vec![None; 2]), "{name}");
        assert_eq!(bytes(&*source, 0), fs::read(golden("photos/cat/05.png")).unwrap());
    }
}

#[test]
fn the_column_of_images_is_found_or_named() {
    assert_eq!(bytes(&*train("several.parquet"), 1), fs::read(golden("photos/red fox/06.png")).unwrap());
    for (name, said) in [
        (
            "two_images.parquet",
            "has several columns that may be the images: `left`, `right`; call one `image`",
        ),
        ("no_image.parquet", "has no column of images"),
        ("no_image.parquet", "its columns are `text`, `label`"),
        ("no_rows.parquet", "is empty"),
    ] {
        let error = refused(name);
        assert!(error.contains(said), "{error}");
    }
    let source = train("path_only.parquet");
    let error = source.read(0).unwrap_err().to_string();
    assert!(
        error.contains("path_only.parquet:0: the row has no bytes; images that only `path` names"),
        "{error}"
    );
    assert_eq!(bytes(&*source, 1), fs::read(golden("photos/red fox/06.png")).unwrap());
}

#[test]
fn files_that_do_not_go_together_or_are_no_parquet_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::copy(golden("zstd.parquet"), at("a.parquet")).unwrap();
    fs::copy(golden("plain.parquet"), at("b.parquet")).unwrap();
    let error = auto(dir.path(), Split::Train).err().unwrap().to_string();
    assert!(error.contains("b.parquet has other columns or classes than "), "{error}");
    assert!(error.ends_with("a.parquet"), "{error}");
    let whole = fs::read(golden("zstd.parquet")).unwrap();
    let absurd = |length: u32| {
        let mut bytes = whole.clone();
        let end = bytes.len() - 8;
        bytes[end..end + 4].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    for (content, said) in [
        (whole[..whole.len() - 1].to_vec(), "is cut off: it has no footer; download it again"),
        (
            b"version https://git-lfs.github.com/spec/v1".to_vec(),
            "is no Parquet file; if it is a pointer of Git LFS",
        ),
        (Vec::new(), "is no Parquet file"),
        (absurd(u32::MAX), "is damaged: its footer claims 4294967295 bytes"),
        (absurd(3), "is damaged: its footer cannot be read"),
        (whole[whole.len() / 2..].to_vec(), "is no Parquet file"),
    ] {
        fs::write(at("c.parquet"), content).unwrap();
        let error = auto(&at("c.parquet"), Split::Train).err().unwrap().to_string();
        assert!(error.contains(&format!("c.parquet {said}")), "{error}");
    }
}

#[test]
fn pages_whose_headers_claim_what_cannot_be_are_errors_of_their_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    // The first page begins behind the mark of the file, with its kind and its decompressed size.
    for (name, at, claim, said) in [
        ("zstd.parquet", 7, &[0xfe, 0x7f][..], "a page claims a size that it cannot have"),
        ("zstd.parquet", 5, &[0x02], "its pages hold 5 of 7 rows"),
        ("lz4.parquet", 5, &[0x02], "a page refers to values that are not there"),
        ("lz4.parquet", 14, &[0x7e], "a page is damaged"),
    ] {
        let mut content = fs::read(golden(name)).unwrap();
        content[at..at + claim.len()].copy_from_slice(claim);
        fs::write(&path, content).unwrap();
        let source = auto(&path, Split::Train).unwrap();
        let error = source.read(1).unwrap_err().to_string();
        assert!(error.contains(&format!("x.parquet:1: {said}")), "{error}");
        assert_eq!(
            bytes(&*source, 11),
            fs::read(golden("photos/red fox/11.png")).unwrap(),
            "another row group"
        );
    }
}
