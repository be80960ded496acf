//! Where images come from.

mod cifar;
mod class_map;
mod class_match;
mod csv_table;
mod divide;
mod files;
mod folder;
mod idx;
mod in_memory;
mod shards;
mod split;
mod stored;
mod subset;
#[cfg(test)]
mod testing;
mod with_classes;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_dataset::Dataset;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::source::split::{divisions, refuse_hidden_divisions};

pub use class_map::ClassMap;
pub use class_match::{ClassMatch, Matched, Naming, match_classes, sorted_otherwise_by_timm};
pub use csv_table::CsvTable;
pub use divide::divide;
pub use files::ImageFiles;
pub use folder::ImageFolder;
pub(crate) use shards::{ByPath, root as shards_root};
pub use shards::{SHARD_LABEL, ShardLimits, ShardWriter, TarShards};
pub use split::Split;
pub(crate) use split::looks_like_a_split;
pub use stored::Stored;
pub(crate) use stored::decoded;
pub use subset::Subset;
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

    /// What is known of a sample, without reading its image.
    fn target(&self, index: usize) -> Target {
        self.label(index).map_or(Target::None, Target::Class)
    }

    /// Images of each shard, in order, of a source that is stored in shards.
    fn shards(&self) -> Option<Vec<usize>> {
        None
    }

    /// Size of a sample where it is stored, in bytes, by which a changed one is known.
    fn bytes(&self, index: usize) -> u64;

    /// The image of a sample as it is stored.
    ///
    /// # Errors
    /// What cannot be read, by name.
    fn read(&self, index: usize) -> Result<Stored, DataError>;
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
    /// Tar archives of images, as WebDataset writes them.
    Shards,
}

/// Whether labels are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// Every image must have a class.
    Required,
    /// Classes are read where there are any.
    Ignored,
}

/// Opens a split of a folder of images, of a data set, of [tar shards](TarShards), or of a
/// [CSV file](CsvTable) that lists images; all of it if it is not divided.
///
/// # Errors
/// Nothing there, nothing readable, no such split, or no labels where they are needed.
pub fn open(
    path: &Path,
    format: Format,
    split: Split,
    labels: Labels,
) -> Result<Arc<dyn ImageSource>, DataError> {
    open_labelled(path, format, split, labels, SHARD_LABEL)
}

/// As [`open`]; `label_key` is the key of a label in the `.json` files of shards.
pub(crate) fn open_labelled(
    path: &Path,
    format: Format,
    split: Split,
    labels: Labels,
    label_key: &str,
) -> Result<Arc<dyn ImageSource>, DataError> {
    Ok(match storage(path, format)? {
        Storage::Shards => Arc::new(TarShards::open(path, split, labels, label_key)?),
        Storage::Table => Arc::new(CsvTable::open(path, split, labels)?),
        Storage::Cifar10 => Arc::new(cifar::open(path, split)?),
        Storage::Idx => Arc::new(idx::open(path, split)?),
        Storage::Flat if labels == Labels::Required => return Err(DataError::NoClasses(path.to_owned())),
        Storage::Flat => Arc::new(ImageFolder::flat(&folder_of(path, split)?)?),
        Storage::Folder => {
            let folder = folder_of(path, split)?;
            refuse_hidden_divisions(&folder)?;
            Arc::new(ImageFolder::open(&folder, labels)?)
        }
    })
}

/// The splits that a data set is divided into; none if it is not divided.
///
/// # Errors
/// Nothing there, or two folders for one split.
pub fn splits(path: &Path, format: Format) -> Result<Vec<Split>, DataError> {
    Ok(match storage(path, format)? {
        Storage::Table => CsvTable::splits(path)?,
        Storage::Shards => TarShards::splits(path)?,
        Storage::Cifar10 | Storage::Idx => vec![Split::Train, Split::Test],
        Storage::Flat | Storage::Folder => divisions(path)?.into_iter().map(|(split, _)| split).collect(),
    })
}

/// How the images of a path are stored.
enum Storage {
    Table,
    Shards,
    Cifar10,
    Idx,
    Flat,
    Folder,
}

fn storage(path: &Path, format: Format) -> Result<Storage, DataError> {
    if shards::names_shards(path) {
        return Ok(Storage::Shards);
    }
    if !path.exists() {
        return Err(DataError::NotFound(path.to_owned()));
    }
    if path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
        return Ok(Storage::Table);
    }
    if !path.is_dir() {
        return Err(DataError::NotAFolder(path.to_owned()));
    }
    let has = |name: &str| path.join(name).is_file();
    Ok(match format {
        Format::Cifar10 => Storage::Cifar10,
        Format::Idx => Storage::Idx,
        Format::Flat => Storage::Flat,
        Format::Folder => Storage::Folder,
        Format::Shards => Storage::Shards,
        Format::Auto if cifar::FILES.iter().any(|name| has(name)) => Storage::Cifar10,
        Format::Auto if idx::FILES.iter().any(|name| has(name) || has(&format!("{name}.gz"))) => Storage::Idx,
        Format::Auto if shards::holds_shards(path)? => Storage::Shards,
        Format::Auto => Storage::Folder,
    })
}

/// The subfolder of a split, if the data set is divided.
fn folder_of(path: &Path, split: Split) -> Result<PathBuf, DataError> {
    let divisions = divisions(path)?;
    if divisions.is_empty() {
        return Ok(path.to_owned());
    }
    let found = divisions.iter().find(|(known, _)| *known == split).map(|(_, folder)| folder.clone());
    found.ok_or_else(|| DataError::no_split(path, split, divisions.iter().map(|(split, _)| *split)))
}
