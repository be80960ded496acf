//! CIFAR-10 and CIFAR-100 (Krizhevsky, 2009).

use std::fs;
use std::path::{Path, PathBuf};

use crate::decode::{DecodeOptions, decode_file};
use crate::error::DataError;
use crate::source::Split;
use crate::source::in_memory::InMemory;

/// Files by which CIFAR-10 is recognised.
const FILES: [&str; 4] = ["data_batch_1.bin", "data_batch_1.png", "test_batch.bin", "test_batch.png"];

/// Names of the classes of CIFAR-100, by which it is recognised.
const FINE_NAMES: &str = "fine_label_names.txt";

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const IMAGE: usize = 3 * PLANE;
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Whether a folder has CIFAR-10.
pub(super) fn is_in(folder: &Path) -> bool {
    FILES.iter().any(|name| folder.join(name).is_file())
}

/// Whether a folder has CIFAR-100.
pub(super) fn is_100_in(folder: &Path) -> bool {
    folder.join(FINE_NAMES).is_file()
        && ["train.bin", "test.bin"].iter().any(|name| folder.join(name).is_file())
}

/// Refuses a folder of CIFAR's Python objects, which would be taken for a folder without images.
///
/// # Errors
/// Such a folder, with what to download instead.
pub(super) fn refuse_python(folder: &Path) -> Result<(), DataError> {
    let has = |names: &[&str]| names.iter().all(|name| folder.join(name).is_file());
    let archive = match () {
        () if has(&["batches.meta", "data_batch_1"]) => "cifar-10-binary.tar.gz",
        () if has(&["meta", "train", "test"]) => "cifar-100-binary.tar.gz",
        () => return Ok(()),
    };
    Err(DataError::PythonCifar { path: folder.to_owned(), archive })
}

/// Reads one split of CIFAR-100 into memory, with its hundred fine classes.
///
/// # Errors
/// A file that is missing, truncated, or labels outside the classes.
pub(super) fn open_100(folder: &Path, split: Split) -> Result<InMemory, DataError> {
    let split = match split {
        Split::Train => "train",
        Split::Test => "test",
        Split::Val => return Err(DataError::no_split(folder, split, [Split::Train, Split::Test])),
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    // The first label is that of one of twenty coarse classes.
    read_binary(&folder.join(format!("{split}.bin")), 2, &mut pixels, &mut labels)?;
    let names = folder.join(FINE_NAMES);
    let classes = lines(&fs::read_to_string(&names).map_err(DataError::io(&names))?);
    in_memory(folder, pixels, labels, classes, split)
}

/// Reads one split of CIFAR-10 into memory: the standard binary batches, or PNG sheets with an image a
/// row.
///
/// # Errors
/// A file that is missing, truncated, or labels outside the ten classes.
pub(super) fn open(folder: &Path, split: Split) -> Result<InMemory, DataError> {
    let (names, label_file, split) = match split {
        Split::Train => ((1..=5).map(|i| format!("data_batch_{i}")).collect(), "train_lables.json", "train"),
        Split::Test => (vec!["test_batch".to_owned()], "test_lables.json", "test"),
        Split::Val => return Err(DataError::no_split(folder, split, [Split::Train, Split::Test])),
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    if folder.join(format!("{}.bin", names[0])).is_file() {
        for name in names {
            read_binary(&folder.join(format!("{name}.bin")), 1, &mut pixels, &mut labels)?;
        }
    } else {
        for name in names {
            read_sheet(&folder.join(format!("{name}.png")), &mut pixels)?;
        }
        labels = read_labels(&folder.join(label_file), pixels.len() / IMAGE)?;
    }
    in_memory(folder, pixels, labels, class_names(folder), split)
}

fn in_memory(
    folder: &Path,
    pixels: Vec<u8>,
    labels: Vec<u8>,
    classes: Vec<String>,
    split: &'static str,
) -> Result<InMemory, DataError> {
    if let Some(image) = labels.iter().position(|label| usize::from(*label) >= classes.len()) {
        return Err(damaged(folder, format!("image {image} has label {}", labels[image])));
    }
    Ok(InMemory { pixels, size: [SIDE, SIDE], channels: 3, labels, classes, split })
}

/// Appends records of some bytes of labels, the last of which counts, and three colour planes.
fn read_binary(
    path: &Path,
    label_bytes: usize,
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u8>,
) -> Result<(), DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    let record = label_bytes + IMAGE;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let reason = format!("{} bytes are no whole number of {record}-byte records", bytes.len());
        return Err(damaged(path, reason));
    }
    for record in bytes.chunks_exact(record) {
        let (known, planes) = record.split_at(label_bytes);
        labels.extend(known.last());
        pixels.extend((0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]));
    }
    Ok(())
}

/// Appends the images of a picture whose row r is image r.
fn read_sheet(path: &Path, pixels: &mut Vec<u8>) -> Result<(), DataError> {
    let sheet = decode_file(path, DecodeOptions::default())?.into_rgb();
    if sheet.width() as usize != PLANE {
        return Err(damaged(path, format!("{} pixels wide, expected {PLANE}", sheet.width())));
    }
    pixels.extend(sheet.into_raw());
    Ok(())
}

fn read_labels(path: &Path, images: usize) -> Result<Vec<u8>, DataError> {
    let text = fs::read_to_string(path).map_err(DataError::io(path))?;
    let labels: Vec<u8> = serde_json::from_str(&text).map_err(|error| damaged(path, error.to_string()))?;
    if labels.len() != images {
        return Err(damaged(path, format!("{} labels for {images} images", labels.len())));
    }
    Ok(labels)
}

fn damaged(path: &Path, reason: String) -> DataError {
    DataError::Damaged { path: PathBuf::from(path), reason }
}

fn class_names(folder: &Path) -> Vec<String> {
    let names = lines(&fs::read_to_string(folder.join("batches.meta.txt")).unwrap_or_default());
    if names.len() == CLASSES.len() { names } else { CLASSES.map(str::to_owned).to_vec() }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
