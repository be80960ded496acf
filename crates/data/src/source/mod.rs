//! Where images come from.

mod cifar;
mod csv_table;
mod folder;
mod idx;
mod in_memory;
mod subset;
mod with_classes;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_dataset::Dataset;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::error::DataError;

pub use csv_table::CsvTable;
pub use folder::ImageFolder;
pub use subset::{Subset, stratified_split};
pub use with_classes::with_classes;

/// One image, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The decoded image, of any size.
    pub image: RgbImage,
    /// The class or the numbers of the image.
    pub target: Target,
}

/// What is known of an image.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// An image of which nothing is known.
    None,
    /// The class, as an index into the source's classes.
    Class(u32),
    /// A number for each of the source's classes: whether it is shown (1 or 0), or how much.
    Values(Vec<f32>),
}

impl Target {
    /// The class, if it is one.
    pub fn class(&self) -> Option<u32> {
        match self {
            Self::Class(class) => Some(*class),
            Self::None | Self::Values(_) => None,
        }
    }
}

/// What there is to learn from the targets of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// The one class of an image.
    Class,
    /// All classes that an image shows.
    Labels,
    /// Numbers that belong to the image.
    Numbers,
}

/// Images by index.
pub trait ImageSource: Dataset<Sample, DataError> {
    /// Class names, or names of numbers; none for images without labels.
    fn classes(&self) -> &[String];

    /// What the targets are.
    fn task(&self) -> Task {
        Task::Class
    }

    /// What to call a sample in a message.
    fn name(&self, index: usize) -> String;

    /// Class of a sample, without reading its image.
    fn label(&self, index: usize) -> Option<u32>;
}

/// How images are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Recognised by the content of the folder.
    #[default]
    Auto,
    /// One subfolder of images a class.
    Folder,
    /// Images in a folder or below, without labels.
    Flat,
    /// CIFAR-10: binary batches, or sheets of 1024-pixel rows.
    Cifar10,
    /// MNIST and its relatives: IDX files, plain or gzipped.
    Idx,
}

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Images to train on.
    Train,
    /// Images to evaluate on.
    Val,
}

impl Split {
    /// Names of the subfolder that holds it.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train"],
            Self::Val => &["val", "valid", "validation", "test"],
        }
    }
}

/// Whether labels are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// Every image must have a class.
    Required,
    /// Classes are read where there are any.
    Ignored,
}

/// Opens a folder of images, a data set, or a [CSV file](CsvTable) that lists images.
///
/// # Errors
/// Nothing there, nothing readable, or no labels where they are needed.
pub fn open(
    path: &Path,
    format: Format,
    split: Split,
    labels: Labels,
) -> Result<Arc<dyn ImageSource>, DataError> {
    if !path.exists() {
        return Err(DataError::NotFound(path.to_owned()));
    }
    if path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
        return Ok(Arc::new(CsvTable::open(path, split, labels)?));
    }
    if !path.is_dir() {
        return Err(DataError::NotAFolder(path.to_owned()));
    }
    let format = match format {
        Format::Auto => recognise(path),
        known => known,
    };
    Ok(match format {
        Format::Cifar10 => Arc::new(cifar::open(path, split)?),
        Format::Idx => Arc::new(idx::open(path, split)?),
        Format::Flat if labels == Labels::Required => return Err(DataError::NoClasses(path.to_owned())),
        Format::Flat => Arc::new(ImageFolder::flat(&descend(path, split)?)?),
        Format::Auto | Format::Folder => Arc::new(ImageFolder::open(&descend(path, split)?, labels)?),
    })
}

fn recognise(path: &Path) -> Format {
    let has = |name: &str| path.join(name).is_file();
    if cifar::FILES.iter().any(|name| has(name)) {
        Format::Cifar10
    } else if idx::FILES.iter().any(|name| has(name) || has(&format!("{name}.gz"))) {
        Format::Idx
    } else {
        Format::Auto
    }
}

/// The subfolder of a split, if the data set is divided so. Validation never falls back to a folder
/// that holds the training images.
fn descend(path: &Path, split: Split) -> Result<PathBuf, DataError> {
    let find =
        |split: Split| split.folders().iter().map(|name| path.join(name)).find(|folder| folder.is_dir());
    match find(split) {
        Some(folder) => Ok(folder),
        None if split == Split::Val && find(Split::Train).is_some() => {
            Err(DataError::NoSplit { path: path.to_owned(), wanted: split.folders().join(", ") })
        }
        None => Ok(path.to_owned()),
    }
}
