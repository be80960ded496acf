//! Tables that list images and what is known of them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::PathBuf;

use data::{DataConfig, Format, ImageSource, Labels, Split, Target, Task, open, with_classes};
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
        ("file_name,lable\na.png,x\n", "`file_name`, `lable`; is `lable` meant to be `label`?"),
        ("Label,file_name\nx,a.png\n", "is `Label` meant to be `label`?"),
        (
            "filename,label\na.png,x\n",
            "no column names the image; the columns are `filename`, `label`; is `filename`",
        ),
        ("label\nx\n", "no column names the image; the columns are `label`"),
        ("image,label,path\na.png,x,a.png\n", "columns `image` and `path` both name the image"),
        ("file_name,label,spilt\na.png,x,test\n", "column `spilt` is unknown; rename it to `split`"),
        ("file_name,label\n,x\n", "line 2: no image is named"),
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

#[test]
fn other_columns_are_named_and_left_out() {
    let folder = Folder::new();
    let text = ",path,label,caption\n0,a.png,x,\"a, b\"\n1,b.png,y,\n";
    let source = folder.open(text, Split::Train).unwrap();
    assert_eq!((source.len(), source.classes().join(",")), (2, "x,y".to_owned()));
    let left_out = source.left_out().to_string();
    assert!(left_out.starts_with("columns `(unnamed)`, `caption` in "), "{left_out}");
    let half: std::sync::Arc<dyn ImageSource> =
        std::sync::Arc::new(data::Subset::new(&source, |index| index == 0));
    assert_eq!(half.left_out(), source.left_out());
    let renumbered = with_classes(half, &["y".to_owned(), "x".to_owned()]).unwrap();
    assert_eq!(renumbered.left_out(), source.left_out());
    let plain = folder.open("image,label\na.png,x\n", Split::Train).unwrap();
    assert!(plain.left_out().is_empty());
}

#[test]
fn tables_of_spreadsheets_are_read() {
    let folder = Folder::new();
    for text in [
        "\u{feff}file_name,label\r\na.png,x\r\nb.png,y\r\n",
        "file_name;label\na.png;x\nb.png;y\n",
        "\u{feff}\"file_name\";\"label\"\r\n\"a.png\";\"x\"\r\n\"b.png\";\"y\"",
        "file_name\tlabel\na.png\tx\nb.png\ty\n",
    ] {
        let source = folder.open(text, Split::Train).unwrap();
        assert_eq!((source.len(), source.classes().join(",")), (2, "x,y".to_owned()), "{text:?}");
    }
    let source = folder.open("file_name;labels\na.png;\"x;y\"\nb.png;y\n", Split::Train).unwrap();
    assert_eq!(source.target(0), Target::Values(vec![1.0, 1.0]));
    for (bytes, said) in [
        (&b"\xff\xfef\0i\0l\0e\0"[..], "it is UTF-16; save it as UTF-8"),
        (b"file_name,label\na.png,x\nb.png,caf\xe9\n", "line 3 is no UTF-8"),
    ] {
        let path = folder.0.path().join("table.csv");
        fs::write(&path, bytes).unwrap();
        let error = open(&path, Format::Auto, Split::Train, Labels::Required).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}

fn open_as(folder: &Folder, name: &str, text: &str) -> Result<std::sync::Arc<dyn ImageSource>, String> {
    let path = folder.0.path().join(name);
    fs::write(&path, text).unwrap();
    open(&path, Format::Auto, Split::Train, Labels::Required).map_err(|error| error.to_string())
}

#[test]
fn a_table_of_tabs_may_have_commas() {
    let source = open_as(&Folder::new(), "t.TSV", "file_name\tlabel\ta,b\na.png\tx, y\t1\n").unwrap();
    assert_eq!(source.classes(), ["x, y"]);
}

#[test]
fn json_lines_have_texts_numbers_and_lists() {
    let folder = Folder::new();
    let text = "{\"file_name\": \"a.png\", \"label\": 3, \"boxes\": [{\"x\": 1}]}\n\n\
                {\"label\": \"x\", \"extra\": null, \"file_name\": \"b.png\"}\r\n";
    let source = open_as(&folder, "t.jsonl", text).unwrap();
    assert_eq!((source.classes().join(","), source.label(0)), ("3,x".to_owned(), Some(0)));
    assert!(source.left_out().to_string().starts_with("columns `boxes`, `extra`"));
    let text = "{\"image\": \"a.png\", \"labels\": [\"x\", 2]}\n{\"image\": \"b.png\", \"labels\": []}\n";
    let source = open_as(&folder, "t.jsonl", text).unwrap();
    assert_eq!((source.task(), source.classes().join(",")), (Task::Labels, "2,x".to_owned()));
    assert_eq!(source.target(0), Target::Values(vec![1.0, 1.0]));
    let text = "{\"image\": \"a.png\", \"target\": -1.5}\n{\"image\": \"b.png\", \"target\": \"2\"}\n";
    let source = open_as(&folder, "t.jsonl", text).unwrap();
    assert_eq!([0, 1].map(|index| source.target(index)), [-1.5, 2.0].map(|n| Target::Values(vec![n])));
    for (text, said) in [
        (
            "{\"file_name\": \"a.png\", \"label\": \"x\"}\n{\"file_name\": \"b.png\"}",
            "line 2: the label is empty",
        ),
        ("{\"file_name\": \"a.png\", \"label\": \"x\"}\n{\"file_name\": ", "line 2, column 14: EOF"),
        ("{\"file_name\": \"a.png\", \"label\": [1]}", "no training row names a class"),
        (
            "{\"file_name\": \"a.png\", \"label\": \"x\"}\n{\"file_name\": \"b.png\", \"label\": {}}",
            "line 2: an object stands where",
        ),
        (
            "{\"file_name\": \"a.png\", \"label\": \"x\"}\n{\"file_name\": [\"b.png\"], \"label\": 1}",
            "line 2: a list stands where",
        ),
        ("[1]", "line 1, column 0"),
        (" \n", "is empty"),
    ] {
        let error = open_as(&folder, "t.jsonl", text).err().unwrap();
        assert!(error.contains(said), "{text}: {error}");
    }
}

#[test]
fn classes_that_are_numbers_are_in_their_order() {
    let source = Folder::new().open("file_name,label\na.png,10\nb.png,9\nc.png,2\n", Split::Train).unwrap();
    assert_eq!(source.classes(), ["2", "9", "10"]);
    assert_eq!((0..3).map(|i| source.label(i)).collect::<Vec<_>>(), [Some(2), Some(1), Some(0)]);
}

/// Images to validate on would be trained on.
#[test]
fn a_column_that_tells_parts_under_another_name_is_refused() {
    let open = |text: &str| Folder::new().open(text, Split::Train).map(|source| source.len());
    let error = open("file_name,label,subset\na.png,x,train\nb.png,x,Test\n").unwrap_err();
    assert!(error.contains("column `subset` tells the parts of the data; rename it to `split`"), "{error}");
    assert_eq!(open("file_name,label,subset\na.png,x,train\nb.png,x,big\n"), Ok(2));
}

#[test]
fn validation_images_are_listed_in_a_table() {
    let folder = Folder::new();
    let path = Some(folder.csv("file_name,label\na.png,x\nb.png,x\n"));
    for no_table in ["x.tar", "."] {
        let val_csv = Some(folder.0.path().join(no_table));
        let data = DataConfig { path: path.clone(), val_csv, ..DataConfig::default() };
        let error = data.open_divided(0, None).err().unwrap().to_string();
        assert!(error.contains("is no table (.csv, .tsv or .jsonl)"), "{error}");
    }
}
