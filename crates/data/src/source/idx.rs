//! IDX files: MNIST, Fashion-MNIST and relatives.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::error::DataError;
use crate::source::Split;
use crate::source::in_memory::InMemory;

/// Files by which the data set is recognised; each may end in `.gz`.
pub(super) const FILES: [&str; 2] = ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte"];

/// Reads one split of grey images into memory.
///
/// # Errors
/// A file that is missing, truncated or of another kind.
pub(super) fn open(folder: &Path, split: Split) -> Result<InMemory, DataError> {
    let split = match split {
        Split::Train => "train",
        Split::Test => "t10k",
        Split::Val => return Err(DataError::no_split(folder, split, [Split::Train, Split::Test])),
    };
    let (sizes, pixels) = read::<3>(folder, &format!("{split}-images-idx3-ubyte"))?;
    let ([labelled], labels) = read::<1>(folder, &format!("{split}-labels-idx1-ubyte"))?;
    let [images, height, width] = sizes;
    let damaged = |reason| Err(DataError::Damaged { path: folder.to_owned(), reason });
    if pixels.is_empty() {
        return damaged(format!("{images} images of {height}×{width} pixels are nothing to use"));
    }
    if labelled != images {
        return damaged(format!("{labelled} labels for {images} images"));
    }
    let classes = labels.iter().max().map_or(0, |last| usize::from(*last) + 1);
    let classes = (0..classes).map(|class| class.to_string()).collect();
    Ok(InMemory { pixels, size: [height, width], channels: 1, labels, classes, split })
}

/// Sizes and bytes of a file of unsigned bytes with so many dimensions.
fn read<const DIMS: usize>(folder: &Path, name: &str) -> Result<([usize; DIMS], Vec<u8>), DataError> {
    let (path, bytes) = read_maybe_gzipped(folder, name)?;
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

fn read_maybe_gzipped(folder: &Path, name: &str) -> Result<(PathBuf, Vec<u8>), DataError> {
    let (plain, zipped) = (folder.join(name), folder.join(format!("{name}.gz")));
    let mut bytes = Vec::new();
    let path = if plain.is_file() { plain } else { zipped };
    let result = File::open(&path).and_then(|mut file| match path.extension().is_some_and(|e| e == "gz") {
        true => GzDecoder::new(file).read_to_end(&mut bytes),
        false => file.read_to_end(&mut bytes),
    });
    result.map_err(DataError::io(&path))?;
    Ok((path, bytes))
}
