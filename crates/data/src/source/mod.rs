//! Where images come from.

mod cifar;
mod class_map;
mod class_match;
mod class_order;
mod divide;
mod files;
mod folder;
mod idx;
mod in_memory;
mod left_out;
mod listing;
mod parquet;
mod shards;
mod split;
mod stored;
mod subset;
mod table;
#[cfg(test)]
mod testing;
mod with_classes;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_dataset::Dataset;
use serde::{Deserialize, Serialize};

use crate::any_image::AnyImage;
use crate::error::DataError;
use crate::name::shown;
use crate::source::listing::subfolders;
use crate::source::split::divisions;

pub use class_map::ClassMap;
pub use class_match::{ClassMatch, Matched, Naming, match_classes, sorted_otherwise_by_timm};
pub use divide::divide;
pub use files::ImageFiles;
pub use folder::ImageFolder;
pub use left_out::LeftOut;
pub(crate) use listing::is_data;
pub use parquet::Parquet;
pub(crate) use shards::{ByPath, CLASSES_FILE, Container, in_hexadecimal, root as shards_root};
pub use shards::{SHARD_LABEL, ShardLimits, ShardWriter, TarShards, WrittenShard};
pub use split::Split;
pub(crate) use split::looks_like_a_split;
pub(crate) use stored::decoded;
pub use stored::{Stored, image_of};
pub use subset::Subset;
pub use table::Table;
pub use with_classes::with_classes;

/// One image, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The decoded image, of any size.
    pub image: AnyImage,
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

    /// What lies with the images and is not used.
    fn left_out(&self) -> LeftOut {
        LeftOut::default()
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
    /// CIFAR-100: binary files, with its fine classes.
    Cifar100,
    /// MNIST, EMNIST and their relatives: IDX files, plain or gzipped.
    Idx,
    /// Tar archives of images, as WebDataset writes them.
    Shards,
    /// Parquet files of images, as Hugging Face's `datasets` writes them.
    Parquet,
}

/// Whether labels are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// Every image must have a class.
    Required,
    /// Classes are read where there are any.
    Ignored,
}

/// Opens a split of a folder of images, of a data set, of [tar shards](TarShards), of
/// [Parquet files](Parquet), or of a [table](Table) that lists images; all of it if it is not divided.
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

/// As [`open`]; `label_key` is the key of a label in the `.json` files of shards, and the column of labels in
/// Parquet files.
///
/// # Errors
/// Those of [`open`].
pub fn open_labelled(
    path: &Path,
    format: Format,
    split: Split,
    labels: Labels,
    label_key: &str,
) -> Result<Arc<dyn ImageSource>, DataError> {
    Ok(match storage(path, format)? {
        Storage::Shards => Arc::new(TarShards::open(path, split, labels, label_key)?),
        Storage::Parquet(path) => Arc::new(Parquet::open(&path, split, labels, label_key)?),
        Storage::Table => Arc::new(Table::open(path, split, labels)?),
        Storage::Cifar10(folder) => Arc::new(cifar::open(&folder, split)?),
        Storage::Cifar100(folder) => Arc::new(cifar::open_100(&folder, split)?),
        Storage::Idx(folder) => Arc::new(idx::open(&folder, split)?),
        Storage::Flat if labels == Labels::Required => return Err(DataError::NoClasses(path.to_owned())),
        Storage::Flat => Arc::new(ImageFolder::flat(&folder_of(path, split)?)?),
        Storage::Folder => table::open_folder(path, &folder_of(path, split)?, split, labels)?,
    })
}

/// The splits that a data set is divided into; none if it is not divided.
///
/// # Errors
/// Nothing there, or two folders for one split.
pub fn splits(path: &Path, format: Format) -> Result<Vec<Split>, DataError> {
    let folders = || -> Result<Vec<Split>, DataError> {
        Ok(divisions(path)?.into_iter().map(|(split, _)| split).collect())
    };
    Ok(match storage(path, format)? {
        Storage::Table => Table::splits(path)?,
        Storage::Shards => TarShards::splits(path)?,
        Storage::Parquet(path) => Parquet::splits(&path)?,
        Storage::Cifar10(_) | Storage::Cifar100(_) | Storage::Idx(_) => vec![Split::Train, Split::Test],
        Storage::Flat => folders()?,
        Storage::Folder => match folders()? {
            none if none.is_empty() => table::splits_of_folder(path)?,
            splits => splits,
        },
    })
}

/// Folders that lie beside the parts of a divided folder and are none, by name.
///
/// # Errors
/// Two folders for one split; a folder that cannot be read.
pub(crate) fn beside_parts(path: &Path) -> Result<Vec<String>, DataError> {
    let parts = if path.is_dir() { divisions(path)? } else { Vec::new() };
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let others = subfolders(path)?.into_iter().filter(|folder| parts.iter().all(|(_, part)| part != folder));
    Ok(others.map(|folder| shown(folder.file_name().unwrap_or_default())).collect())
}

/// How the images of a path are stored, and the folder of those that archives put into one.
enum Storage {
    Table,
    Shards,
    Parquet(PathBuf),
    Cifar10(PathBuf),
    Cifar100(PathBuf),
    Idx(PathBuf),
    Flat,
    Folder,
}

fn storage(path: &Path, format: Format) -> Result<Storage, DataError> {
    match Container::named(path) {
        Some(Container::Tar) => return Ok(Storage::Shards),
        Some(Container::Parquet) => return Ok(Storage::Parquet(path.to_owned())),
        None => {}
    }
    if !path.exists() {
        return Err(DataError::NotFound(path.to_owned()));
    }
    let is_table = |ending: &OsStr| table::ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known));
    if path.is_file() && path.extension().is_some_and(is_table) {
        return Ok(Storage::Table);
    }
    if !path.is_dir() {
        return Err(DataError::NotAFolder(path.to_owned()));
    }
    Ok(match format {
        Format::Auto => recognised(path)?,
        Format::Cifar10 => Storage::Cifar10(place_of(path, cifar::is_in)?),
        Format::Cifar100 => Storage::Cifar100(place_of(path, cifar::is_100_in)?),
        Format::Idx => Storage::Idx(place_of(path, idx::is_in)?),
        Format::Flat => Storage::Flat,
        Format::Folder => Storage::Folder,
        Format::Shards => Storage::Shards,
        Format::Parquet => Storage::Parquet(parquet::folder(path)?.unwrap_or(path.to_owned())),
    })
}

/// Folders that the archives of CIFAR-10, CIFAR-100 and EMNIST unpack to, and those of CIFAR for Python.
const UNPACKED: [&str; 5] =
    ["cifar-10-batches-bin", "cifar-100-binary", "gzip", "cifar-10-batches-py", "cifar-100-python"];

/// How a folder is stored, by its content or that of a folder that an archive has made in it.
fn recognised(path: &Path) -> Result<Storage, DataError> {
    let standard = |folder: &PathBuf| match folder.clone() {
        folder if cifar::is_in(&folder) => Some(Storage::Cifar10(folder)),
        folder if cifar::is_100_in(&folder) => Some(Storage::Cifar100(folder)),
        folder if idx::is_in(&folder) => Some(Storage::Idx(folder)),
        _ => None,
    };
    if let Some(own) = standard(&path.to_owned()) {
        return Ok(own);
    }
    let made = unpacked(path)?;
    let sets: Vec<&PathBuf> = made.iter().filter(|folder| standard(folder).is_some()).collect();
    if sets.len() > 1 {
        let sets = sets.into_iter().map(shown).collect();
        return Err(DataError::SeveralSets { path: path.to_owned(), sets });
    }
    match sets.first().and_then(|folder| standard(folder)) {
        Some(set) => Ok(set),
        None => {
            [path.to_owned()].iter().chain(&made).try_for_each(|folder| cifar::refuse_python(folder))?;
            if Container::Tar.fills(path)? {
                return Ok(Storage::Shards);
            }
            Ok(parquet::folder(path)?.map_or(Storage::Folder, Storage::Parquet))
        }
    }
}

/// The folders in another one if archives have made them all.
fn unpacked(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_known = |folder: &PathBuf| UNPACKED.iter().any(|name| folder.ends_with(name));
    if !UNPACKED.iter().any(|name| path.join(name).is_dir()) {
        return Ok(Vec::new());
    }
    let folders = subfolders(path)?;
    Ok(if folders.iter().all(is_known) { folders } else { Vec::new() })
}

/// The folder of a data set that is asked for: this one, or one that its archive has made in it.
fn place_of(path: &Path, is_in: fn(&Path) -> bool) -> Result<PathBuf, DataError> {
    let made = if is_in(path) { Vec::new() } else { unpacked(path)? };
    Ok(made.into_iter().find(|folder| is_in(folder)).unwrap_or(path.to_owned()))
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
