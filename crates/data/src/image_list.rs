//! The images of a run: what it trains on, what it is judged by, and how they have changed since.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Component, Path};

use csv::{ReaderBuilder, WriterBuilder};
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::error::DataError;
use crate::name::shown;
use crate::source::{ByPath, ImageSource, Split, Target};

/// The file of a run directory and of every checkpoint that lists the images of the run.
pub const IMAGES_FILE: &str = "images.csv.gz";

/// Every image of a run by its name below the data folder: a gzipped CSV table `image, split, bytes,
/// target`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImageList {
    images: BTreeMap<String, Listed>,
}

/// What is known of an image.
#[derive(Debug, Clone, PartialEq)]
struct Listed {
    split: Split,
    bytes: u64,
    target: String,
}

/// A line of the table.
#[derive(Serialize, Deserialize)]
struct Row {
    image: String,
    split: Split,
    bytes: u64,
    target: String,
}

impl ImageList {
    /// The images of a run whose data lie in `root`.
    pub fn of(root: &Path, training: &dyn ImageSource, validation: Option<&dyn ImageSource>) -> Self {
        let mut list = Self::default();
        list.add(root, training, Split::Train);
        if let Some(validation) = validation {
            list.add(root, validation, Split::Val);
        }
        list
    }

    pub(crate) fn add(&mut self, root: &Path, source: &dyn ImageSource, split: Split) {
        for index in 0..source.len() {
            let (bytes, target) = (source.bytes(index), in_words(source, index));
            self.images.insert(name_below(root, &source.name(index)), Listed { split, bytes, target });
        }
    }

    /// The side that an image is on; none for one that is not listed.
    pub fn split(&self, name: &str) -> Option<Split> {
        self.images.get(name).map(|image| image.split)
    }

    /// Images on a side.
    pub fn count(&self, split: Split) -> usize {
        self.images.values().filter(|image| image.split == split).count()
    }

    /// Bytes of the images on a side, where they are stored.
    pub fn bytes(&self, split: Split) -> u64 {
        self.images.values().filter(|image| image.split == split).map(|image| image.bytes).sum()
    }

    /// Images of each target on a side. A class is its name; several labels and numbers stand as
    /// `name=value`, and without any a target is empty.
    pub fn targets(&self, split: Split) -> BTreeMap<&str, usize> {
        let mut targets = BTreeMap::new();
        for image in self.images.values().filter(|image| image.split == split) {
            *targets.entry(&image.target[..]).or_default() += 1;
        }
        targets
    }

    /// Images that are in both lists, by name and size, as long as those of the first few that can be read
    /// below both folders are the same byte for byte; 0 otherwise.
    pub(crate) fn shared_with(&self, root: Option<&Path>, other: &Self, other_root: &Path) -> usize {
        const COMPARED: usize = 8;
        let is_same = |(name, image): &(&String, &Listed)| {
            other.images.get(*name).is_some_and(|known| known.bytes == image.bytes)
        };
        let shared: Vec<_> = self.images.iter().filter(is_same).map(|(name, _)| name).collect();
        let step = (shared.len() / COMPARED).max(1);
        let mut images = ByPath::default();
        let differ =
            shared.iter().step_by(step).any(|name| differ(&mut images, root, name, other_root, name));
        if differ { 0 } else { shared.len() }
    }

    /// Of the images of `now`, those that are trained on here, and those that are not listed but are the
    /// same picture as one that is: by file name and size, and by their bytes where the other one is still
    /// there. `root` and `now_root` are the folders that names are below.
    pub fn trained_on(&self, root: Option<&Path>, now: &Self, now_root: &Path) -> Vec<String> {
        let file = |name: &str, bytes| (name.rsplit('/').next().unwrap_or_default().to_owned(), bytes);
        let mut trained: HashMap<_, Vec<&String>> = HashMap::new();
        for (name, image) in self.images.iter().filter(|(_, image)| image.split == Split::Train) {
            trained.entry(file(name, image.bytes)).or_default().push(name);
        }
        let mut images = ByPath::default();
        let is_trained_on = |(name, image): &(&String, &Listed)| {
            let same = trained.get(&file(name, image.bytes));
            match self.images.get(*name).filter(|known| known.bytes == image.bytes) {
                Some(known) if known.split != Split::Train => false,
                _ => same.is_some_and(|all| {
                    all.iter().any(|known| !differ(&mut images, root, known, now_root, name))
                }),
            }
        };
        now.images.iter().filter(is_trained_on).map(|(name, _)| name.clone()).collect()
    }

    /// What has become of these images.
    pub fn changes(&self, now: &Self) -> Changes {
        let mut changes = Changes::default();
        for (name, image) in &now.images {
            match self.images.get(name) {
                None => changes.new.push(name.clone()),
                Some(before) if (before.bytes, &before.target) != (image.bytes, &image.target) => {
                    changes.changed.push(name.clone());
                }
                Some(before) if before.split != image.split => changes.moved.push(name.clone()),
                Some(_) => {}
            }
        }
        let gone = self.images.keys().filter(|name| !now.images.contains_key(*name));
        changes.gone.extend(gone.cloned());
        changes
    }

    /// The images on one side.
    pub fn only(&self, split: Split) -> Self {
        let images = self.images.iter().filter(|(_, image)| image.split == split);
        Self { images: images.map(|(name, image)| (name.clone(), image.clone())).collect() }
    }

    /// A digest by which two processes see that they have the same images.
    pub fn fingerprint(&self) -> [u8; 12] {
        let mut crc = Crc::new();
        for (name, Listed { split, bytes, target }) in &self.images {
            crc.update(format!("{name}\0{split}\0{bytes}\0{target}\n").as_bytes());
        }
        let mut digest = [0; 12];
        digest[..4].copy_from_slice(&crc.sum().to_le_bytes());
        digest[4..].copy_from_slice(&(self.images.len() as u64).to_le_bytes());
        digest
    }

    /// The table, compressed.
    ///
    /// # Errors
    /// None that a table in memory could have.
    pub fn to_bytes(&self) -> std::io::Result<Vec<u8>> {
        let mut writer = WriterBuilder::new().from_writer(GzEncoder::new(Vec::new(), Compression::default()));
        for (name, Listed { split, bytes, target }) in &self.images {
            let row = Row { image: name.clone(), split: *split, bytes: *bytes, target: target.clone() };
            writer.serialize(row).map_err(std::io::Error::other)?;
        }
        let mut gzip = writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
        gzip.flush()?;
        gzip.finish()
    }

    /// Reads a table; `path` is named in errors.
    ///
    /// # Errors
    /// A table that is damaged.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, DataError> {
        let damaged = |reason: String| DataError::Damaged { path: path.to_owned(), reason };
        let mut text = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut text).map_err(|error| damaged(error.to_string()))?;
        let mut images = BTreeMap::new();
        for row in ReaderBuilder::new().from_reader(&text[..]).deserialize() {
            let Row { image, split, bytes, target } =
                row.map_err(|error: csv::Error| damaged(error.to_string()))?;
            images.insert(image, Listed { split, bytes, target });
        }
        Ok(Self { images })
    }

    /// Reads the table of a file; none if there is no such file.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn read(path: &Path) -> Result<Option<Self>, DataError> {
        match fs::read(path) {
            Ok(bytes) => Self::from_bytes(&bytes, path).map(Some),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(DataError::io(path)(error)),
        }
    }
}

/// How images differ from those that a run began with, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Changes {
    /// Images that were not there.
    pub new: Vec<String>,
    /// Images that are not there any more.
    pub gone: Vec<String>,
    /// Images of another size in bytes, or with another target.
    pub changed: Vec<String>,
    /// Images that were trained on and are validated on now, or the other way round.
    pub moved: Vec<String>,
}

impl Changes {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (&self.new, "new"),
            (&self.gone, "gone"),
            (&self.changed, "changed"),
            (&self.moved, "moved between training and validation"),
        ];
        let parts = kinds.iter().filter(|(names, _)| !names.is_empty());
        let parts: Vec<_> =
            parts.map(|(names, kind)| format!("{} {kind} ({})", names.len(), few(names))).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Whether two images can be read and are not the same.
fn differ(images: &mut ByPath, root: Option<&Path>, name: &str, other_root: &Path, other: &str) -> bool {
    let bytes = root.and_then(|root| images.read(&root.join(name)));
    bytes.is_some_and(|bytes| images.read(&other_root.join(other)).is_some_and(|others| others != bytes))
}

/// The first three names.
pub(crate) fn few(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(3).map(String::as_str).collect();
    shown.join(", ") + if names.len() > 3 { ", …" } else { "" }
}

/// The name of an image below the data folder, the same on every system.
pub(crate) fn name_below(root: &Path, name: &str) -> String {
    let path = Path::new(name);
    let leads_up = |path: &&Path| path.components().any(|part| part == Component::ParentDir);
    let below = path.strip_prefix(shown(root)).ok().filter(|below| !leads_up(below)).map(Path::to_owned);
    // The folder may have been named in another way, as `./data` and `data`.
    let canonical = || {
        let (path, root) = (fs::canonicalize(path).ok()?, fs::canonicalize(root).ok()?);
        path.strip_prefix(root).ok().map(Path::to_owned)
    };
    let below = below.or_else(canonical).unwrap_or_else(|| path.to_owned());
    let below = shown(below);
    // Elsewhere than on Windows, `\` is a character like any other.
    normal(&if cfg!(windows) { below.replace('\\', "/") } else { below })
}

/// A name in Unicode's normal form C, in which names that look the same are the same.
pub(crate) fn normal(name: &str) -> String {
    name.nfc().collect()
}

fn in_words(source: &dyn ImageSource, index: usize) -> String {
    let classes = source.classes();
    match source.target(index) {
        Target::None => String::new(),
        Target::Class(class) => classes.get(class as usize).cloned().unwrap_or_default(),
        Target::Values(values) => {
            let values = values.iter().zip(classes).filter(|(value, _)| **value != 0.0);
            values.map(|(value, class)| format!("{class}={value}")).collect::<Vec<_>>().join(";")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(images: &[(&str, Split, u64, &str)]) -> ImageList {
        let images = images.iter().map(|(name, split, bytes, target)| {
            ((*name).to_owned(), Listed { split: *split, bytes: *bytes, target: (*target).to_owned() })
        });
        ImageList { images: images.collect() }
    }

    #[test]
    fn a_list_reads_back_as_itself_and_damaged_ones_are_named() {
        let list = list(&[("a/ü, \"1\".png", Split::Train, 7, "a"), ("b.png", Split::Val, 8, "x=0.5;y=1")]);
        let bytes = list.to_bytes().unwrap();
        assert_eq!(ImageList::from_bytes(&bytes, "x".as_ref()).unwrap(), list);
        assert_eq!((list.bytes(Split::Val), list.targets(Split::Val)), (8, [("x=0.5;y=1", 1)].into()));
        let empty = ImageList::default();
        assert_ne!(list.fingerprint(), empty.fingerprint());
        assert_eq!(ImageList::from_bytes(&empty.to_bytes().unwrap(), "x".as_ref()).unwrap(), empty);
        for bytes in [&bytes[..bytes.len() / 2], b"image,split\n", b""] {
            let error = ImageList::from_bytes(bytes, "images.csv.gz".as_ref()).unwrap_err().to_string();
            assert!(error.contains("images.csv.gz is damaged"), "{error}");
        }
        for none in ["nowhere/images.csv.gz", "Cargo.toml/images.csv.gz"] {
            assert_eq!(ImageList::read(none.as_ref()).unwrap(), None);
        }
    }

    #[test]
    fn changes_are_told_by_number_and_first_names() {
        let (train, val) = (Split::Train, Split::Val);
        let before =
            list(&[("a", train, 1, "x"), ("b", train, 1, "x"), ("c", val, 1, "x"), ("d", val, 1, "x")]);
        assert!(before.changes(&before).is_empty());
        let now = [("a", train, 2, "x"), ("b", val, 1, "x"), ("c", val, 1, "y")];
        let more = ["e", "f", "g", "h"].map(|name| (name, train, 1, "x"));
        let changes = before.changes(&list(&[&now[..], &more].concat()));
        let told =
            "4 new (e, f, g, …), 1 gone (d), 2 changed (a, c), 1 moved between training and validation (b)";
        assert_eq!(changes.to_string(), told);
    }

    #[test]
    fn pictures_that_were_trained_on_are_known_in_another_folder() {
        let before = list(&[("cat/1.png", Split::Train, 10, "cat"), ("cat/2.png", Split::Val, 20, "cat")]);
        let moved = [("val/cat/1.png", 10), ("val/cat/2.png", 20), ("val/dog/1.png", 11)];
        let now = list(&moved.map(|(name, bytes)| (name, Split::Val, bytes, "cat")));
        let dir = tempfile::tempdir().unwrap();
        let trained_on = |now| before.trained_on(Some(dir.path()), now, &dir.path().join("now"));
        let shared = |other| before.shared_with(Some(dir.path()), other, &dir.path().join("now"));
        assert_eq!((shared(&now), shared(&before)), (0, 2));
        assert_eq!(trained_on(&now), ["val/cat/1.png"]);
        assert_eq!(trained_on(&before), ["cat/1.png"]);
        // While both are there, their bytes decide.
        for (name, bytes) in [("cat/1.png", "0123456789"), ("now/val/cat/1.png", "0123456789")] {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        assert_eq!(trained_on(&now), ["val/cat/1.png"]);
        fs::write(dir.path().join("now/val/cat/1.png"), "9876543210").unwrap();
        assert!(trained_on(&now).is_empty());
        // Names and sizes alone do not make other pictures the same.
        fs::create_dir_all(dir.path().join("now/cat")).unwrap();
        fs::write(dir.path().join("now/cat/1.png"), "9876543210").unwrap();
        assert_eq!((shared(&before), trained_on(&before).len()), (0, 0));
    }

    #[test]
    fn names_are_those_below_the_data_folder_in_one_normal_form() {
        assert_eq!(name_below("data".as_ref(), "data/cat/1.png"), "cat/1.png");
        assert_eq!(name_below("data".as_ref(), "train[3]"), "train[3]");
        assert_eq!(normal("cafe\u{301}"), "caf\u{e9}");
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("data/1.png"), "").unwrap();
        let other = dir.path().join("data/../data/1.png").display().to_string();
        assert_eq!(name_below(&dir.path().join("data"), &other), "1.png");
    }
}
