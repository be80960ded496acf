//! CSV files that list images and what is known of them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::PathBuf;

use data::{Format, ImageSource, Labels, Split, Target, Task, open, with_classes};
use image::RgbImage;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png", "c.png"] {
            RgbImage::new(4, 3).save(dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    fn csv(&self, text: &str) -> PathBuf {
        let path = self.0.path().join("table.csv");
        fs::write(&path, text).unwrap();
        path
    }

    fn open(&self, text: &str, split: Split) -> Result<std::sync::Arc<dyn ImageSource>, String> {
        open(&self.csv(text), Format::Auto, split, Labels::Required).map_err(|error| error.to_string())
    }
}

#[test]
fn one_class_each_with_splits() {
    let folder = Folder::new();
    let text = "file_name,label,split\na.png,dog,train\n\"b.png\", cat ,train\nc.png,dog,validation\n";
    let training = folder.open(text, Split::Train).unwrap();
    assert_eq!(
        (training.classes(), training.task()),
        (&["cat".to_owned(), "dog".to_owned()][..], Task::Class)
    );
    assert_eq!((0..2).map(|i| training.label(i)).collect::<Vec<_>>(), [Some(1), Some(0)]);
    let validation = folder.open(text, Split::Val).unwrap();
    assert_eq!((validation.len(), validation.get(0).unwrap().target), (1, Target::Class(1)));
    assert!(validation.name(0).ends_with("c.png"));
}

#[test]
fn several_classes_or_none() {
    let folder = Folder::new();
    let source = folder.open("file_name,labels\na.png,x;z\nb.png,\nc.png, y ; x\n", Split::Train).unwrap();
    assert_eq!((source.task(), source.classes().join(",")), (Task::Labels, "x,y,z".to_owned()));
    let values = |index| match source.get(index).unwrap().target {
        Target::Values(values) => values,
        other => panic!("{other:?}"),
    };
    assert_eq!([values(0), values(1), values(2)].concat(), [1., 0., 1., 0., 0., 0., 1., 1., 0.]);
}

#[test]
fn numbers() {
    let folder = Folder::new();
    let text = "target.width,file_name,target.height\n1.5,a.png,-2\n0,b.png,1e3\n";
    let source = folder.open(text, Split::Train).unwrap();
    assert_eq!((source.task(), source.classes().join(",")), (Task::Numbers, "width,height".to_owned()));
    assert_eq!(source.get(1).unwrap().target, Target::Values(vec![0.0, 1000.0]));
    // In the order that a network was trained with.
    let other = with_classes(source, &["height".to_owned(), "width".to_owned()]).unwrap();
    assert_eq!(other.get(0).unwrap().target, Target::Values(vec![-2.0, 1.5]));
    let error = with_classes(other, &["height".to_owned(), "width".to_owned(), "depth".to_owned()]);
    assert!(error.err().unwrap().to_string().contains("target.depth"));
}

#[test]
fn classes_are_numbered_as_the_network_has_them() {
    let folder = Folder::new();
    let source = folder.open("file_name,label\na.png,dog\nb.png,ant\n", Split::Train).unwrap();
    let known = ["ant", "bee", "dog"].map(str::to_owned);
    let mapped = with_classes(source, &known).unwrap();
    assert_eq!((mapped.label(0), mapped.label(1)), (Some(2), Some(0)));
    assert_eq!(mapped.get(0).unwrap().target, Target::Class(2));
    assert_eq!(mapped.classes(), known);
    let error = with_classes(mapped, &known[..1]).err().unwrap().to_string();
    assert!(error.contains("class bee is not among the 1"), "{error}");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let folder = Folder::new();
    for (text, expected) in [
        ("file_name,lable\na.png,x\n", "column `lable` is unknown"),
        ("image,label\na.png,x\n", "column `image` is unknown"),
        ("label\nx\n", "no column `file_name`"),
        ("file_name\na.png\n", "no column says what the images are"),
        ("file_name,label,labels\na.png,x,y\n", "column `labels` is one too many"),
        ("file_name,label\na.png,x\nd.png,x\n", "line 3: there is no image"),
        ("file_name,label\na.png,\n", "line 2: the label is empty"),
        ("file_name,label,split\na.png,x,fold1\n", "line 2: split `fold1`"),
        ("file_name,target\na.png,tall\n", "line 2: `tall` is no finite number"),
        ("file_name,target\na.png,inf\n", "line 2: `inf` is no finite number"),
        ("file_name,label\na.png,x,y\n", "found record with 3 fields"),
        ("file_name,label\n", "is empty"),
        ("", "is empty"),
        ("file_name,labels\na.png,\nb.png,\n", "no training row names a class"),
        ("file_name,label\na.png,x\na.png,y\n", "line 3: a.png is listed twice"),
        ("file_name,label,split\na.png,x,train\n./a.png,x,val\n", "line 3: ./a.png is listed twice"),
        ("file_name,label,label\na.png,x,y\n", "column `label` is there twice"),
        ("file_name,label,split\na.png,x,val\n", "no train"),
    ] {
        let error = folder.open(text, Split::Train).err().unwrap();
        assert!(error.contains(expected) && error.contains("table.csv"), "{error}");
    }
    let error = folder.open("file_name,label,split\na.png,x,train\nb.png,y,val\n", Split::Val).err().unwrap();
    assert!(error.contains("line 3: no training image is of class y"), "{error}");
    // Without labels needed, a list of files will do.
    let path = folder.csv("file_name\na.png\nc.png\n");
    let source = open(&path, Format::Auto, Split::Train, Labels::Ignored).unwrap();
    assert_eq!((source.len(), source.classes().len()), (2, 0));
}
