//! Folders whose images a table describes, as Hugging Face's `ImageFolder` has them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use data::{DataConfig, Format, ImageSource, Labels, Split, Task, open, splits};
use image::RgbImage;

fn save(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::new(4, 3).save(path).unwrap();
}

fn opened(path: &Path, split: Split) -> Arc<dyn ImageSource> {
    open(path, Format::Auto, split, Labels::Required).unwrap()
}

fn refused(path: &Path) -> String {
    open(path, Format::Auto, Split::Train, Labels::Required).err().unwrap().to_string()
}

/// Names below a folder, and classes.
fn known(source: &dyn ImageSource, root: &Path) -> Vec<(String, String)> {
    let name = |index| Path::new(&source.name(index)).strip_prefix(root).unwrap().display().to_string();
    let class = |index| source.classes()[source.label(index).unwrap() as usize].clone();
    (0..source.len()).map(|index| (name(index), class(index))).collect()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()
}

#[test]
fn each_part_has_its_own_table() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    ["train/1.png", "train/deep/2.png", "train/3.png", "validation/1.png"]
        .into_iter()
        .for_each(|name| save(&root.join(name)));
    fs::write(root.join("train/notes.txt"), "").unwrap();
    fs::write(root.join("train/metadata.csv"), "file_name,label,text\n1.png,dog,\ndeep/2.png,cat,\n")
        .unwrap();
    fs::write(root.join("validation/metadata.jsonl"), "{\"file_name\": \"1.png\", \"label\": \"dog\"}\n")
        .unwrap();
    let training = opened(root, Split::Train);
    assert_eq!(known(&*training, root), pairs([("train/1.png", "dog"), ("train/deep/2.png", "cat")]));
    let left_out = training.left_out().to_string();
    assert!(left_out.starts_with("1 .png that the table does not list, 1 .txt, column `text`"), "{left_out}");
    let data = DataConfig { path: Some(root.to_owned()), ..DataConfig::default() };
    let divided = data.open_divided(0, None).unwrap();
    assert_eq!((divided.validation.label(0), divided.validation.classes().len()), (Some(1), 2));
    fs::write(root.join("train/metadata.jsonl"), "").unwrap();
    fs::write(root.join("train/metadata.jsonl"), "{}").unwrap();
    assert!(refused(root).contains("both say what the images are"));
}

#[test]
fn one_table_may_describe_all_parts() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    ["train/1.png", "test/1.png"].into_iter().for_each(|name| save(&root.join(name)));
    let table = "file_name,label,split\ntrain/1.png,dog,test\n./test/1.png,cat,test\n";
    fs::write(root.join("metadata.csv"), table).unwrap();
    // The folders are the parts, and the column is named as left out.
    let training = opened(root, Split::Train);
    assert_eq!(known(&*training, root), pairs([("train/1.png", "dog")]));
    assert!(training.left_out().to_string().starts_with("column `split`"));
    assert_eq!(known(&*opened(root, Split::Test), root), pairs([("test/1.png", "cat")]));
    // Without such folders the column divides.
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    ["a/1.png", "a/2.png"].into_iter().for_each(|name| save(&root.join(name)));
    fs::write(root.join("metadata.csv"), "file_name,target,split\na/1.png,1,train\na/2.png,2,val\n").unwrap();
    assert_eq!(splits(root, Format::Auto).unwrap(), [Split::Train, Split::Val]);
    let source = opened(root, Split::Val);
    assert_eq!((source.len(), source.task()), (1, Task::Numbers));
    assert!(source.left_out().is_empty(), "{}", source.left_out());
    // An image that is not there.
    fs::write(root.join("metadata.csv"), "file_name,label\na/1.png,x\na/3.png,x\n").unwrap();
    assert!(refused(root).contains("line 3: there is no image"));
}

#[test]
fn a_table_that_names_no_classes_leaves_them_to_the_folders() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    ["cat/1.png", "dog/1.png"].into_iter().for_each(|name| save(&root.join(name)));
    for table in ["file_name,text\ncat/1.png,a cat\n", "id,label\n1,x\n"] {
        fs::write(root.join("metadata.csv"), table).unwrap();
        let source = opened(root, Split::Train);
        assert_eq!(known(&*source, root), pairs([("cat/1.png", "cat"), ("dog/1.png", "dog")]));
        assert!(source.left_out().to_string().starts_with("1 .csv in "));
    }
    // Where there are no folders either, the table is at fault.
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("1.png"));
    fs::write(dir.path().join("metadata.csv"), "file_name,lable\n1.png,x\n").unwrap();
    assert!(refused(dir.path()).contains("is `lable` meant to be `label`?"));
    fs::remove_file(dir.path().join("metadata.csv")).unwrap();
    assert!(refused(dir.path()).contains("no class folders"));
}

#[test]
fn images_that_no_row_lists_are_there_where_classes_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    ["1.png", "2.png", "3.png"].into_iter().for_each(|name| save(&root.join(name)));
    fs::write(root.join("metadata.csv"), "file_name,label\n1.png,dog\n").unwrap();
    assert_eq!(opened(root, Split::Train).len(), 1);
    let all = open(root, Format::Auto, Split::Train, Labels::Ignored).unwrap();
    assert_eq!((all.len(), all.label(0)), (3, None));
    // Where all are listed, what they show is known.
    fs::write(root.join("metadata.csv"), "file_name,label\n1.png,dog\n2.png,cat\n3.png,cat\n").unwrap();
    let all = open(root, Format::Auto, Split::Train, Labels::Ignored).unwrap();
    assert_eq!((all.len(), all.label(0)), (3, Some(1)));
}

#[test]
fn a_row_that_lies_in_no_part_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    ["train/1.png", "val/1.png"].into_iter().for_each(|name| save(&root.join(name)));
    fs::write(root.join("metadata.csv"), "file_name,label\ntrain/1.png,dog\ntrian/2.png,cat\n").unwrap();
    let error = refused(root);
    assert!(error.contains("line 3") && error.contains("trian/2.png lies in none of the parts"), "{error}");
}

#[test]
fn what_lies_beside_the_parts_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    ["train/a/1.png", "val/a/1.png", "unlabeled/1.png"].into_iter().for_each(|name| save(&root.join(name)));
    let data = DataConfig { path: Some(root.to_owned()), ..DataConfig::default() };
    let part = data.part_in_words().unwrap().unwrap();
    assert!(part.ends_with("; not val, unlabeled"), "{part}");
}
