//! Single image files, in any order and from anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burn_dataset::Dataset;

use crate::any_image::AnyImage;
use crate::decode::{DecodeOptions, decode_file};
use crate::error::DataError;
use crate::name::shown;
use crate::source::{ImageSource, Sample, Stored, decoded};

/// Image files without labels. One that cannot be read is no error: a black pixel stands in for it, so
/// that the others stay where they are, and [`ImageFiles::unreadable`] tells it.
pub struct ImageFiles {
    paths: Vec<PathBuf>,
    options: DecodeOptions,
    unreadable: Mutex<BTreeMap<usize, DataError>>,
}

impl ImageFiles {
    /// The files of these names, which are opened when they are asked for.
    pub fn new(paths: Vec<PathBuf>, options: DecodeOptions) -> Self {
        Self { paths, options, unreadable: Mutex::default() }
    }

    /// The name of a file.
    pub fn path(&self, index: usize) -> &Path {
        &self.paths[index]
    }

    /// Why a file that was asked for could not be read, if so.
    pub fn unreadable(&self, index: usize) -> Option<DataError> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).get(&index).cloned()
    }
}

impl Dataset<Sample, DataError> for ImageFiles {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
    }

    fn len(&self) -> usize {
        self.paths.len()
    }
}

impl ImageSource for ImageFiles {
    fn classes(&self) -> &[String] {
        &[]
    }

    fn label(&self, _index: usize) -> Option<u32> {
        None
    }

    fn name(&self, index: usize) -> String {
        shown(&self.paths[index])
    }

    fn bytes(&self, index: usize) -> u64 {
        fs::metadata(&self.paths[index]).map_or(0, |file| file.len())
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        let image = decode_file(&self.paths[index], self.options).unwrap_or_else(|error| {
            self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).insert(index, error);
            AnyImage::black(self.options.channels)
        });
        Ok(Stored::Decoded(image))
    }
}
