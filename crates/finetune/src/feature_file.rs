//! Files of features, written as they are computed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Error, Write};
use std::path::{Path, PathBuf};

use data::ImageSource;
use serde_json::json;

use crate::error::FinetuneError;

/// How features are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureFormat {
    /// `features` (f32), a row an image, and, where every image has a class, `labels` (i64).
    Safetensors,
    /// NumPy's format: the features alone.
    Npy,
}

impl FeatureFormat {
    /// What the ending of a file's name says.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => Some(Self::Safetensors),
            Some("npy") => Some(Self::Npy),
            _ => None,
        }
    }
}

/// A file of features under way. It takes rows as they come, so that it can be larger than the memory,
/// and has its name only when it is whole. The names of the images lie beside it, one a line, in
/// [`FeatureFile::names`].
pub struct FeatureFile {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    /// Numbers that have yet to be written.
    missing: usize,
}

impl FeatureFile {
    /// Begins a file for the features of all images of a source, so many numbers each, and writes down
    /// their names.
    ///
    /// # Errors
    /// A file that cannot be written, an image whose name is more than a line.
    pub fn create(
        path: &Path,
        format: FeatureFormat,
        source: &dyn ImageSource,
        width: usize,
    ) -> Result<Self, FinetuneError> {
        let error = |path: &Path| {
            let path = path.to_owned();
            |error| FinetuneError::Write { path, error }
        };
        let partial = partial_of(path);
        let names = partial_of(&Self::names(path));
        write_names(&names, source).map_err(error(&names))?;
        let file = BufWriter::new(File::create(&partial).map_err(error(&partial))?);
        let mut started = Self { path: path.to_owned(), partial, file, missing: source.len() * width };
        let begun = match format {
            FeatureFormat::Safetensors => begin_safetensors(&mut started.file, source, width),
            FeatureFormat::Npy => begin_npy(&mut started.file, [source.len(), width]),
        };
        begun.map_err(error(path))?;
        Ok(started)
    }

    /// Where the names of the images in a file are.
    pub fn names(path: &Path) -> PathBuf {
        path.with_extension("names.txt")
    }

    /// Appends features, row by row.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, features: &[f32]) -> Result<(), FinetuneError> {
        self.missing = self.missing.saturating_sub(features.len());
        let written = features.iter().try_for_each(|value| self.file.write_all(&value.to_le_bytes()));
        written.map_err(|error| self.error(error))
    }

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// The file cannot be written, or images are missing.
    pub fn finish(mut self) -> Result<(), FinetuneError> {
        if self.missing > 0 {
            return Err(self.error(Error::other(format!("{} numbers are missing", self.missing))));
        }
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        let names = Self::names(&self.path);
        let written = written.and_then(|()| fs::rename(partial_of(&names), names));
        let written = written.and_then(|()| fs::rename(&self.partial, &self.path));
        written.map_err(|error| self.error(error))
    }

    fn error(&self, error: Error) -> FinetuneError {
        FinetuneError::Write { path: self.path.clone(), error }
    }
}

impl Drop for FeatureFile {
    fn drop(&mut self) {
        // They are gone already where the files have their names.
        let _ = fs::remove_file(&self.partial);
        let _ = fs::remove_file(partial_of(&Self::names(&self.path)));
    }
}

/// What a file is called until it is whole.
fn partial_of(path: &Path) -> PathBuf {
    let mut partial = OsString::from(path);
    partial.push(".partial");
    PathBuf::from(partial)
}

fn write_names(path: &Path, source: &dyn ImageSource) -> Result<(), Error> {
    let mut file = BufWriter::new(File::create(path)?);
    for name in (0..source.len()).map(|index| source.name(index)) {
        if name.contains(['\n', '\r']) {
            return Err(Error::other(format!("{name:?} is more than a line; rename the image")));
        }
        writeln!(file, "{name}")?;
    }
    file.flush()
}

/// Header and labels. These come first because readers want numbers of eight bytes at multiples of
/// eight.
fn begin_safetensors(file: &mut impl Write, source: &dyn ImageSource, width: usize) -> Result<(), Error> {
    let images = source.len();
    let is_labelled = images > 0 && (0..images).all(|index| source.label(index).is_some());
    let (start, values) = (if is_labelled { 8 * images } else { 0 }, 4 * images * width);
    let mut header = json!({
        "features": { "dtype": "F32", "shape": [images, width], "data_offsets": [start, start + values] },
    });
    if is_labelled {
        header["labels"] = json!({ "dtype": "I64", "shape": [images], "data_offsets": [0, start] });
    }
    let header = header.to_string();
    let length = header.len().next_multiple_of(8);
    file.write_all(&(length as u64).to_le_bytes())?;
    write!(file, "{header:<length$}")?;
    let labels = (0..images).filter_map(|index| source.label(index)).filter(|_| is_labelled);
    labels.into_iter().try_for_each(|label| file.write_all(&i64::from(label).to_le_bytes()))
}

/// Version 1.0: magic, length of the header, a header padded to 64 bytes.
fn begin_npy(file: &mut impl Write, [images, width]: [usize; 2]) -> Result<(), Error> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({images}, {width}), }}");
    let length = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 2;
    file.write_all(MAGIC)?;
    file.write_all(&(length as u16).to_le_bytes())?;
    writeln!(file, "{header:<width$}", width = length - 1)
}
