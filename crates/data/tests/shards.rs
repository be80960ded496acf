//! Tar shards: the same images, names, labels and batches as of a folder.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod batches;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use batches::{batches, loader};
use data::source::Stored;
use data::{
    DataConfig, DataError, Format, ImageList, ImageSource, Judged, Labels, ShardLimits, ShardWriter, Shuffle,
    Split, Subset, open, splits,
};
use image::{Rgb, RgbImage};

/// Images of two classes in folders.
fn make_folder(root: &Path, count: u8) {
    for number in 0..count {
        let path = root.join(["cat", "red fox"][usize::from(number % 2)]).join(format!("{number:02}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_fn(20, 14, |x, y| Rgb([number, x as u8 * 9, y as u8 * 13])).save(path).unwrap();
    }
}

fn auto(path: &Path, split: Split) -> Result<Arc<dyn ImageSource>, DataError> {
    open(path, Format::Auto, split, Labels::Required)
}

fn message(path: &Path, split: Split) -> String {
    auto(path, split).err().expect("an error").to_string()
}

fn bytes(source: &dyn ImageSource, index: usize) -> Vec<u8> {
    let Stored::Encoded(bytes) = source.read(index).unwrap() else { panic!("decoded") };
    bytes
}

/// Writes the images of a source into shards of three.
fn pack(source: &dyn ImageSource, root: &Path, to: &Path, name: &str) -> Vec<PathBuf> {
    let limits = ShardLimits { images: 3, ..ShardLimits::default() };
    let mut writer = ShardWriter::new(to, name, source.classes(), limits).unwrap();
    for index in 0..source.len() {
        let name = source.name(index);
        let key = Path::new(&name).strip_prefix(root).unwrap().with_extension("");
        writer.add(key.to_str().unwrap(), "png", &bytes(source, index), source.label(index)).unwrap();
    }
    writer.finish().unwrap().into_iter().map(|shard| shard.path).collect()
}

#[test]
fn shards_give_the_images_names_labels_and_batches_of_the_folder_that_they_were_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let (root, to) = (dir.path().join("photos"), dir.path().join("shards"));
    make_folder(&root, 10);
    let folder = auto(&root, Split::Train).unwrap();
    let written = pack(&*folder, &root, &to, "pets");
    let names = ["pets-000000.tar", "pets-000001.tar", "pets-000002.tar", "pets-000003.tar"];
    assert_eq!(written, names.map(|name| to.join(name)));
    let again = pack(&*folder, &root, &dir.path().join("again"), "pets");
    for (one, other) in written.iter().zip(&again) {
        assert_eq!(fs::read(one).unwrap(), fs::read(other).unwrap(), "the same images make the same bytes");
    }
    // The second time from the indices that the first one wrote.
    for _ in 0..2 {
        let shards = auto(&to, Split::Train).unwrap();
        assert_eq!((shards.classes(), shards.len()), (folder.classes(), 10));
        assert_eq!(shards.shards().unwrap(), [3, 3, 3, 1]);
        for index in 0..10 {
            let name = folder.name(index);
            let below = Path::new(&name).strip_prefix(&root).unwrap();
            let expected = written[index / 3].join(below).display().to_string();
            assert_eq!(shards.name(index), expected);
            assert_eq!(shards.label(index), folder.label(index));
            assert_eq!(shards.bytes(index), folder.bytes(index));
            assert_eq!(bytes(&*shards, index), bytes(&*folder, index));
        }
        let expected = batches(&folder, 0, 0, 7);
        for workers in [0, 1, 2, 4, 16] {
            assert_eq!(batches(&shards, workers, 0, 7), expected, "{workers} workers");
            assert_eq!(batches(&shards, workers, 1, 3), expected[1..4], "{workers} workers, resumed");
        }
    }
}

#[test]
fn shards_of_python_are_read() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/shards");
    for layout in ["pax.tar", "gnu.tar", "ustar.tar"] {
        // Away from the checkout, where an index would be written.
        let dir = tempfile::tempdir().unwrap();
        let shard = dir.path().join(layout);
        fs::copy(goldens.join(layout), &shard).unwrap();
        let source = auto(&shard, Split::Train).unwrap();
        let long = format!("photos/{}001.PNG", "a folder with a long name/".repeat(5));
        let names = ["000.png", &long, "größe.png"].map(|name| shard.join(name).display().to_string());
        assert_eq!((0..3).map(|index| source.name(index)).collect::<Vec<_>>(), names);
        assert_eq!(source.classes(), ["2", "10"]);
        for (index, class) in [0, 1, 0].into_iter().enumerate() {
            assert_eq!((source.label(index), source.bytes(index)), (Some(class), 70));
            let pixel = source.get(index).unwrap().image.into_rgb()[(1, 0)];
            assert_eq!(pixel, Rgb([10 + index as u8, 0, 0]));
        }
    }
}

#[test]
fn shards_are_divided_by_folders_or_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    make_folder(&at("photos"), 6);
    let folder = auto(&at("photos"), Split::Train).unwrap();
    for (to, name) in [
        ("undivided", "pets"),
        ("named", "pets-train"),
        ("named", "pets-validation"),
        ("folders/train", "x"),
        ("folders/val", "x"),
        ("mixed", "train"),
        ("mixed", "pets"),
    ] {
        pack(&*folder, &at("photos"), &at(to), name);
    }
    assert_eq!(splits(&at("undivided"), Format::Auto).unwrap(), []);
    assert_eq!(auto(&at("undivided"), Split::Val).unwrap().len(), 6);
    for path in [
        "named",
        "folders",
        "named/pets-{train,validation}-{000000..000001}.tar",
        "folders/{train,val}/x-{000000..000001}.tar",
    ] {
        assert_eq!(splits(&at(path), Format::Auto).unwrap(), [Split::Train, Split::Val], "{path}");
        let val = auto(&at(path), Split::Val).unwrap();
        assert_eq!(val.len(), 6);
        assert!(val.name(0).contains("val"), "{}", val.name(0));
        assert!(message(&at(path), Split::Test).contains("has train and val but no test"));
    }
    assert!(message(&at("named/pets-validation-000000.tar"), Split::Train).contains("has val but no train"));
    let mixed = message(&at("mixed"), Split::Train);
    assert!(
        mixed.contains("pets-000000.tar has a name that tells no part") && mixed.contains("is train"),
        "{mixed}"
    );
    let one = format!("{0}/pets-000000.tar,{0}/pets-000001.tar", at("undivided").display());
    assert_eq!(auto(one.as_ref(), Split::Train).unwrap().len(), 6);
}

#[test]
fn shards_that_are_not_there_or_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    make_folder(&at("photos"), 6);
    let folder = auto(&at("photos"), Split::Train).unwrap();
    pack(&*folder, &at("photos"), &at("x"), "pets");
    for (path, said) in [
        ("x/pets-{000000..000004}.tar", "3 of the 5 shards do not exist: "),
        ("x/pets-{000000..000004}.tar", "x/pets-000002.tar, "),
        ("x/pets-{4..0}.tar", "--data: {4..0} runs downwards"),
        ("x/pets-{000000,000000}.tar", "pets-000000.tar is named twice"),
        ("x/pets-000002.tar", "does not exist"),
        ("x/pets-000000.tar,x/notes.txt", "do not exist"),
    ] {
        let error = message(&at(path), Split::Train);
        assert!(error.contains(said), "{error}");
    }
    fs::copy(at("x/pets-000000.tar"), at("x/pets-000002.tar.gz")).unwrap();
    let error = message(&at("x"), Split::Train);
    assert!(
        error.contains("pets-000002.tar.gz is compressed") && error.contains("unpack it first"),
        "{error}"
    );
    assert_eq!(error, message(&at("x/pets-000002.tar.gz"), Split::Train).replace("--data: ", ""));
    // Folders of classes stay what they are, whatever lies beside them.
    fs::copy(at("x/pets-000000.tar"), at("photos/backup.tar")).unwrap();
    assert_eq!(auto(&at("photos"), Split::Train).unwrap().len(), 6);
    assert_eq!(open(&at("photos"), Format::Shards, Split::Train, Labels::Required).unwrap().len(), 3);
}

#[test]
fn a_run_knows_the_images_of_shards_by_their_names_below_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (photos, to) = (dir.path().join("photos"), dir.path().join("shards"));
    make_folder(&photos, 12);
    pack(&*auto(&photos, Split::Train).unwrap(), &photos, &to, "pets");
    let pattern = to.join("pets-{000000..000003}.tar");
    let data = |path: &Path| DataConfig {
        path: Some(path.to_owned()),
        val_fraction: Some(0.3),
        ..DataConfig::default()
    };
    let list = |path: &Path| {
        let data = data(path);
        let divided = data.open_divided(1, None).unwrap();
        ImageList::of(data.root().unwrap(), &*divided.training, Some(&*divided.validation))
    };
    let known = list(&pattern);
    assert_eq!(known.count(Split::Train) + known.count(Split::Val), 12);
    assert!(known.split("pets-000000.tar/cat/00.png").is_some());
    assert_eq!(known, list(&to));
    let judged = Judged::open(&data(&pattern), Some(&pattern), None, Some(&known)).unwrap();
    assert_eq!(judged.images.len(), known.count(Split::Val));
    assert!(judged.remarks().is_empty(), "{:?}", judged.remarks());
}

#[test]
fn pictures_of_shards_that_were_trained_on_are_known_by_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let list = |folder: &str, image: &[u8], split| {
        let folder = dir.path().join(folder);
        let mut writer = ShardWriter::new(&folder, "x", &[], ShardLimits::default()).unwrap();
        writer.add("a/000", "png", image, None).unwrap();
        writer.finish().unwrap();
        let source = open(&folder, Format::Auto, Split::Train, Labels::Ignored).unwrap();
        let (none, images) = (Subset::new(&source, |_| false), Subset::new(&source, |_| true));
        match split {
            Split::Train => (ImageList::of(&folder, &images, None), folder),
            _ => (ImageList::of(&folder, &none, Some(&images)), folder),
        }
    };
    let (trained, root) = list("trained", b"0123456789", Split::Train);
    let (same, same_root) = list("same", b"0123456789", Split::Val);
    let (other, other_root) = list("other", b"9876543210", Split::Val);
    assert_eq!(trained.trained_on(Some(&root), &same, &same_root), ["x-000000.tar/a/000.png"]);
    assert!(trained.trained_on(Some(&root), &other, &other_root).is_empty());
}

#[test]
fn images_may_be_shuffled_shard_by_shard() {
    let dir = tempfile::tempdir().unwrap();
    let (photos, to) = (dir.path().join("photos"), dir.path().join("shards"));
    make_folder(&photos, 12);
    let folder = auto(&photos, Split::Train).unwrap();
    pack(&*folder, &photos, &to, "pets");
    let shards = auto(&to, Split::Train).unwrap();
    let seen = |workers, from| -> Vec<u64> {
        let batches = loader(&shards, workers, Shuffle::Shards).unwrap().batches(0, from).take(6);
        batches.flat_map(|batch| batch.unwrap().indices).collect()
    };
    let all = seen(0, 0);
    assert_eq!(all[4..], seen(2, 1)[..20]);
    for epoch in all.chunks(12) {
        let mut images = epoch.to_vec();
        images.sort_unstable();
        assert_eq!(images, (0..12).collect::<Vec<_>>());
    }
    assert_ne!(all[..12], all[12..]);
    let expected: Vec<u64> =
        data::shard_order(3, 0, &[3; 4], data::SHUFFLE_BUFFER).into_iter().map(u64::from).collect();
    assert_eq!(all[..12], expected);
    let error = loader(&folder, 0, Shuffle::Shards).err().expect("an error").to_string();
    assert!(error.contains("data.shuffle = \"shards\" is for images in tar shards"), "{error}");
    let some = Subset::new(&shards, |index| index % 2 == 1 && !(3..6).contains(&index));
    assert_eq!(some.shards().unwrap(), [1, 0, 1, 2]);
    let numbered = data::with_classes(shards, &["red fox".into(), "cat".into()]).unwrap();
    assert_eq!(numbered.shards().unwrap(), [3; 4]);
}

#[test]
fn what_cannot_be_packed_is_named_and_nothing_is_left_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let classes = ["cat".to_owned()];
    let limits = ShardLimits { images: 10, bytes: 100 };
    let new = |name: &str, classes: &[String]| ShardWriter::new(dir.path(), name, classes, limits);
    let mut writer = new("a", &classes).unwrap();
    for (key, ending, class, said) in [
        ("a.b", "png", None, "a.b.png cannot be packed: its name has a dot"),
        ("d/.b", "png", None, "or begins with one"),
        ("a", "txt", None, "images do not end so"),
        ("a", "PNG", None, "images do not end so"),
        ("a", "png", Some(1), "its class has no name"),
    ] {
        let error = writer.add(key, ending, b"", class).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    writer.add("a", "png", &[1; 60], Some(0)).unwrap();
    let twice = writer.add("a", "jpg", &[1; 30], Some(0)).unwrap_err().to_string();
    assert!(twice.contains("a-000000.tar would hold two samples `a`"), "{twice}");
    writer.add("b", "png", &[1; 60], Some(0)).unwrap();
    assert!(writer.add("../b", "png", &[1; 20], Some(0)).is_err(), "it would lie outside the folder");
    drop(writer);
    let names = || {
        let entries = fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["a-000000.tar", "classes.txt"]);
    let error = new("a", &classes).err().unwrap().to_string();
    assert!(error.contains("a-000000.tar is there already"), "{error}");
    let error = new("b", &["dog".to_owned()]).err().unwrap().to_string();
    assert!(error.contains("classes.txt lists other classes"), "{error}");
    let error = new("b", &["a\nb".to_owned()]).err().unwrap().to_string();
    assert!(error.contains("cannot list the class"), "{error}");
    new("b", &classes).unwrap().finish().unwrap();
    assert_eq!(names().len(), 2);
}
