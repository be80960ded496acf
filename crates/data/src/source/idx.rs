//! IDX files: MNIST, Fashion-MNIST, EMNIST and relatives.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::error::DataError;
use crate::source::Split;
use crate::source::in_memory::InMemory;

/// What files of a data set begin with: nothing in MNIST and those that are called like it, its name in
/// EMNIST.
const SETS: [&str; 7] = [
    "",
    "emnist-balanced-",
    "emnist-byclass-",
    "emnist-bymerge-",
    "emnist-digits-",
    "emnist-letters-",
    "emnist-mnist-",
];

/// Labels of this one begin at 1.
const LETTERS: &str = "emnist-letters-";

/// Whether a folder has such a data set.
pub(super) fn is_in(folder: &Path) -> bool {
    !sets(folder).is_empty()
}

/// Reads one split of grey images into memory. They are as they are stored: those of EMNIST lie on their
/// side and are mirrored, as torchvision gives them too.
///
/// # Errors
/// A file that is missing, truncated or of another kind; files of several data sets.
pub(super) fn open(folder: &Path, split: Split) -> Result<InMemory, DataError> {
    let set = match sets(folder)[..] {
        [] => "",
        [set] => set,
        ref sets => {
            let name =
                |set: &&str| if set.is_empty() { "mnist" } else { set.trim_end_matches('-') }.to_owned();
            let sets = sets.iter().map(name).collect();
            return Err(DataError::SeveralSets { path: folder.to_owned(), sets });
        }
    };
    let split = match split {
        Split::Train => "train",
        Split::Test => part_of_tests(set),
        Split::Val => return Err(DataError::no_split(folder, split, [Split::Train, Split::Test])),
    };
    let (sizes, pixels) = read::<3>(folder, &format!("{set}{split}-images"))?;
    let ([labelled], labels) = read::<1>(folder, &format!("{set}{split}-labels"))?;
    let [images, height, width] = sizes;
    let damaged = |reason| DataError::Damaged { path: folder.to_owned(), reason };
    if pixels.is_empty() {
        return Err(damaged(format!("{images} images of {height}×{width} pixels are nothing to use")));
    }
    if labelled != images {
        return Err(damaged(format!("{labelled} labels for {images} images")));
    }
    let (labels, classes) = classes(folder, set, labels)?;
    Ok(InMemory { pixels, size: [height, width], channels: 1, labels, classes, split })
}

/// The data sets of which a folder has a file of images.
fn sets(folder: &Path) -> Vec<&'static str> {
    let has = |set: &&str| {
        let parts = ["train", part_of_tests(set)];
        parts.iter().any(|part| files(folder, &format!("{set}{part}-images"), 3).iter().any(|f| f.is_file()))
    };
    SETS.into_iter().filter(has).collect()
}

fn part_of_tests(set: &str) -> &'static str {
    if set.is_empty() { "t10k" } else { "test" }
}

/// The names that a file may have: as it is published, and as it is unpacked by some programs.
fn files(folder: &Path, name: &str, dims: usize) -> [PathBuf; 4] {
    [("-", ""), ("-", ".gz"), (".", ""), (".", ".gz")]
        .map(|(mark, zip)| folder.join(format!("{name}{mark}idx{dims}-ubyte{zip}")))
}

/// The classes of labels and their names, which are characters if EMNIST's list of them is there, and the
/// labels as they are otherwise.
fn classes(folder: &Path, set: &str, labels: Vec<u8>) -> Result<(Vec<u8>, Vec<String>), DataError> {
    let mapping = folder.join(format!("{set}mapping.txt"));
    let known: Vec<(u8, String)> = match !set.is_empty() && mapping.is_file() {
        true => characters(&mapping)?,
        false => {
            let first = u8::from(set == LETTERS);
            let last = labels.iter().copied().max().unwrap_or(first);
            (first..=last).map(|label| (label, label.to_string())).collect()
        }
    };
    let index: HashMap<u8, u8> =
        known.iter().enumerate().map(|(class, (label, _))| (*label, class as u8)).collect();
    if index.len() != known.len() {
        let reason = "a label is listed twice".to_owned();
        return Err(DataError::Damaged { path: mapping, reason });
    }
    let class = |label: &u8| {
        let unknown = || DataError::Damaged {
            path: folder.to_owned(),
            reason: format!("label {label} is that of no class"),
        };
        index.get(label).copied().ok_or_else(unknown)
    };
    let labels = labels.iter().map(class).collect::<Result<_, _>>()?;
    Ok((labels, known.into_iter().map(|(_, name)| name).collect()))
}

/// Labels and the characters that they stand for: a label and its ASCII codes a line, of which letters have
/// two, the first in upper case.
fn characters(path: &Path) -> Result<Vec<(u8, String)>, DataError> {
    let text = fs::read_to_string(path).map_err(DataError::io(path))?;
    let pair = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u8>);
        let (label, code) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some((label, char::from(code).to_string()))
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let pairs: Option<Vec<_>> = lines.map(pair).collect();
    let reason = "a line is no label and the code of a character".to_owned();
    pairs.ok_or_else(|| DataError::Damaged { path: path.to_owned(), reason })
}

/// Sizes and bytes of a file of unsigned bytes with so many dimensions.
fn read<const DIMS: usize>(folder: &Path, name: &str) -> Result<([usize; DIMS], Vec<u8>), DataError> {
    let (path, bytes) = read_maybe_gzipped(&files(folder, name, DIMS))?;
    let damaged = |reason: String| DataError::Damaged { path: path.clone(), reason };
    let header = 4 + 4 * DIMS;
    if bytes.len() < header || bytes[..4] != [0, 0, 8, DIMS as u8] {
        return Err(damaged(format!("no IDX file of bytes in {DIMS} dimensions")));
    }
    let number = |i: usize| u32::from_be_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]) as usize;
    let sizes: [usize; DIMS] = std::array::from_fn(|dim| number(4 + 4 * dim));
    let elements = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let expected = elements.and_then(|elements| elements.checked_add(header));
    if expected != Some(bytes.len()) {
        let wanted = expected.map_or("more than memory holds".to_owned(), |bytes| bytes.to_string());
        return Err(damaged(format!(
            "{} bytes do not hold {sizes:?} elements, expected {wanted}",
            bytes.len()
        )));
    }
    Ok((sizes, bytes[header..].to_vec()))
}

/// The first of some files that is there; if none is, the one that is usually published is named.
fn read_maybe_gzipped(files: &[PathBuf; 4]) -> Result<(PathBuf, Vec<u8>), DataError> {
    let path = files.iter().find(|file| file.is_file()).unwrap_or(&files[1]);
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|mut file| match path.extension().is_some_and(|e| e == "gz") {
        true => GzDecoder::new(file).read_to_end(&mut bytes),
        false => file.read_to_end(&mut bytes),
    });
    result.map_err(DataError::io(path))?;
    Ok((path.clone(), bytes))
}
