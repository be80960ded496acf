//! What is listed of a folder, and what is left out.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;

use data::transform::Raster;
use data::{Format, ImageList, Labels, Split, open};
use image::RgbImage;

fn save(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::new(4, 3).save(path).unwrap();
}

fn names(root: &Path, format: Format, labels: Labels) -> (Vec<String>, String) {
    let source = open(root, format, Split::Train, labels).unwrap();
    let name = |index| Path::new(&source.name(index)).strip_prefix(root).unwrap().display().to_string();
    let left_out = source.left_out().to_string();
    let left_out = left_out.strip_suffix(&format!(" in {}", root.display())).unwrap_or(&left_out).to_owned();
    ((0..source.len()).map(name).collect(), left_out)
}

#[test]
fn images_come_in_the_order_of_their_paths() {
    let dir = tempfile::tempdir().unwrap();
    // Folders and files mixed; `a b` before `a/`, if paths were compared as text.
    let all = ["B.png", "a/1.png", "a/b/1.png", "a/b.png", "a b/1.png", "a.png", "ä/1.png"];
    all.into_iter().for_each(|name| save(&dir.path().join(name)));
    let (found, left_out) = names(dir.path(), Format::Flat, Labels::Ignored);
    assert_eq!(found, ["B.png", "a/1.png", "a/b/1.png", "a/b.png", "a b/1.png", "a.png", "ä/1.png"]);
    assert_eq!(left_out, "");
}

#[test]
fn what_is_left_out_is_counted_and_what_is_no_data_is_not() {
    let dir = tempfile::tempdir().unwrap();
    ["cat/1.png", "dog/1.PNG", "loose.png", "@eaDir/1.png", ".ipynb_checkpoints/1.png", "cat/.thumbs/1.png"]
        .into_iter()
        .for_each(|name| save(&dir.path().join(name)));
    ["$Recycle.Bin/1.png", "lost+found/1.png", "System Volume Information/1.png", "cat/__MACOSX/1.png"]
        .into_iter()
        .for_each(|name| save(&dir.path().join(name)));
    for name in [
        "cat/1.HEIC",
        "cat/2.heic",
        "dog/README",
        "notes.txt",
        "cat/Thumbs.db",
        "dog/Desktop.ini",
        "cat/._1.png",
    ] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let (found, left_out) = names(dir.path(), Format::Auto, Labels::Required);
    assert_eq!(found, ["cat/1.png", "dog/1.PNG"]);
    assert_eq!(left_out, "2 .heic, 1 .png beside the classes, 1 .txt, 1 without ending");
    let (found, left_out) = names(dir.path(), Format::Auto, Labels::Ignored);
    assert_eq!(found, ["cat/1.png", "dog/1.PNG", "loose.png"]);
    assert_eq!(left_out, "2 .heic, 1 .txt, 1 without ending");
}

#[cfg(unix)]
#[test]
fn folders_that_link_to_each_other_are_listed_once() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    ["a/1.png", "a/2.png", "b/1.png", "b/2.png"].into_iter().for_each(|name| save(&root.join(name)));
    for (target, link) in
        [("../b", "a/b"), ("../a", "b/a"), ("..", "a/up"), ("../a", "b/more"), (".", "a/self")]
    {
        symlink(target, root.join(link)).unwrap();
    }
    let (found, left_out) = names(&root, Format::Auto, Labels::Required);
    assert_eq!(found, ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]);
    assert_eq!(left_out, "5 leading to folders that are listed already");
}

#[cfg(unix)]
#[test]
fn a_listing_does_not_depend_on_threads() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    for class in 0..6 {
        (0..40).for_each(|image| save(&root.join(format!("{class}/{}/{image}.png", image % 3))));
        // Ways to one folder from everywhere, of which the first by path counts.
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), root.join(format!("{class}/link"))).unwrap();
    }
    save(&dir.path().join("elsewhere/1.png"));
    let listed = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| names(&root, Format::Auto, Labels::Required))
    };
    let (found, left_out) = listed(1);
    assert_eq!((found.len(), &found[40]), (241, &"0/link/1.png".to_owned()));
    assert_eq!(left_out, "5 leading to folders that are listed already");
    for threads in [2, 7] {
        assert_eq!(listed(threads), (found.clone(), left_out.clone()));
    }
}

#[cfg(unix)]
#[test]
fn of_several_links_to_a_folder_the_first_counts() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("data");
    save(&dir.path().join("elsewhere/deep/1.png"));
    save(&root.join("cat/1.png"));
    symlink(dir.path().join("elsewhere"), root.join("z")).unwrap();
    symlink(dir.path().join("elsewhere"), root.join("dog")).unwrap();
    symlink("cat/1.png", root.join("linked.png")).unwrap();
    symlink("nowhere.png", root.join("dangling.png")).unwrap();
    symlink("round.png", root.join("round.png")).unwrap();
    let (found, left_out) = names(&root, Format::Flat, Labels::Ignored);
    assert_eq!(found, ["cat/1.png", "dog/deep/1.png", "linked.png"]);
    assert_eq!(left_out, "2 leading nowhere, 1 leading to folders that are listed already");
    // The same images are not two classes.
    let error = open(&root, Format::Auto, Split::Train, Labels::Required).err().unwrap().to_string();
    assert!(error.contains("z is a link to a folder that is listed already"), "{error}");
    fs::remove_file(root.join("z")).unwrap();
    let source = open(&root, Format::Auto, Split::Train, Labels::Required).unwrap();
    assert_eq!((source.classes().join(","), source.len()), ("cat,dog".to_owned(), 2));
}

#[cfg(unix)]
#[test]
fn links_behind_links_are_followed_where_folders_overlap() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let (root, other) = (dir.path().join("data"), dir.path().join("other"));
    ["data/0.png", "other/1.png", "other/inner/2.png", "third/3.png"]
        .into_iter()
        .for_each(|name| save(&dir.path().join(name)));
    symlink(dir.path().join("third"), other.join("third")).unwrap();
    symlink(&other, root.join("all")).unwrap();
    symlink(other.join("inner"), root.join("part")).unwrap();
    let (found, left_out) = names(&root, Format::Flat, Labels::Ignored);
    assert_eq!(found, ["0.png", "all/1.png", "all/third/3.png", "part/2.png"]);
    assert_eq!(left_out, "1 leading to folders that are listed already");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_utf_8_are_read_and_stay_different() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join(OsStr::from_bytes(b"d\xe4ten"));
    for (class, name, width) in
        [(&b"caf\xe9"[..], &b"\xe9.png"[..], 1), (b"caf\xe9", b"\xe8.png", 2), (b"caf\xe8", b"\xe9.png", 3)]
    {
        let folder = root.join(OsStr::from_bytes(class));
        fs::create_dir_all(&folder).unwrap();
        RgbImage::new(width, 1).save(dir.path().join("image.png")).unwrap();
        fs::rename(dir.path().join("image.png"), folder.join(OsStr::from_bytes(name))).unwrap();
    }
    let source = open(&root, Format::Auto, Split::Train, Labels::Required).unwrap();
    assert_eq!(source.classes(), ["caf\\xE8", "caf\\xE9"]);
    let widths: Vec<_> = (0..3).map(|index| source.get(index).unwrap().image.dimensions().0).collect();
    assert_eq!(widths, [3, 2, 1]);
    let list = ImageList::of(&root, &*source, None);
    assert_eq!(list.count(Split::Train), 3);
    assert_eq!(list.split("caf\\xE9/\\xE8.png"), Some(Split::Train));
}
