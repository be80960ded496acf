//! Images in tar archives, as WebDataset writes them: read where they lie, nothing is unpacked.

mod braces;
mod by_path;
mod index;
pub(in crate::source) mod layout;
mod open_files;
mod scan;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use burn_dataset::Dataset;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::error::DataError;
use crate::image_list::normal;
use crate::source::class_order::in_order;
use crate::source::{ImageSource, Labels, LeftOut, Sample, Split, Stored, decoded};
use scan::{Label, Scan, Scanned, key_and_ending};

pub(crate) use by_path::ByPath;
pub(crate) use layout::{Container, root};
pub(in crate::source) use open_files::OpenFiles;
pub(crate) use write::in_hexadecimal;
pub use write::{ShardLimits, ShardWriter, WrittenShard};

/// The key of a label in a `.json` file, unless another one is named.
pub const SHARD_LABEL: &str = "label";
/// The file beside shards that names the classes, a line each.
pub(crate) const CLASSES_FILE: &str = "classes.txt";

/// Images in tar shards. The files of a sample have one name and follow each other: the image, and, if
/// its class is known, the number of it in `.cls`, or its number or name under a key of `.json`.
/// A caption in `.txt` is not used; other files are left out.
///
/// Classes are called by their numbers, unless a file `classes.txt` beside the shards names them, a line
/// each. What is in a shard is kept in a hidden file beside it, or in the user's folder of caches.
pub struct TarShards {
    shards: Vec<Shard>,
    images: Vec<Image>,
    classes: Vec<String>,
    left_out: LeftOut,
    files: OpenFiles,
}

/// A tar archive.
struct Shard {
    path: PathBuf,
    /// Its size in bytes.
    bytes: u64,
    /// Number of the image behind its last one.
    end: usize,
}

/// Where an image lies.
struct Image {
    name: String,
    offset: u64,
    bytes: u64,
    class: Option<u32>,
}

impl TarShards {
    /// The shards of a split: of a `.tar` file, of several with commas between them, of a pattern such as
    /// `train-{000..146}.tar`, or of a folder. Shards are divided by the folders `train` and `val` that
    /// they lie in, or by [names](Split::names) of splits in theirs, as `imagenet-validation-07.tar`.
    ///
    /// # Errors
    /// A shard that is missing, damaged or compressed, or whose files are no samples; with labels required
    /// a sample without one. Shard and sample are named.
    pub fn open(path: &Path, split: Split, labels: Labels, label_key: &str) -> Result<Self, DataError> {
        let paths = layout::of_split(path, layout::shards(path, Container::Tar)?, split)?;
        let classes = Classes::beside(if path.is_dir() { path } else { root(path) })?;
        Self::of(&paths, labels, Some(label_key), classes, index::user_cache().as_deref())
    }

    /// The splits that shards are of; none if they are not divided.
    ///
    /// # Errors
    /// Shards that are missing, or only some of which are named after a split.
    pub fn splits(path: &Path) -> Result<Vec<Split>, DataError> {
        layout::shards(path, Container::Tar).map(|parts| layout::splits(&parts))
    }

    /// A shard by itself, of which no classes are asked for.
    fn one(path: &Path) -> Result<Self, DataError> {
        Self::of(&[path.to_owned()], Labels::Ignored, None, None, index::user_cache().as_deref())
    }

    fn of(
        paths: &[PathBuf],
        labels: Labels,
        label_key: Option<&str>,
        classes: Option<Classes>,
        cache: Option<&Path>,
    ) -> Result<Self, DataError> {
        // All are read before the first error is told, so that it is the same one each time.
        let scans: Vec<_> = paths.par_iter().map(|path| index::contents(path, label_key, cache)).collect();
        let scans = scans.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (mut shards, mut end) = (Vec::with_capacity(paths.len()), 0);
        for (path, (scan, bytes)) in paths.iter().zip(&scans) {
            if scan.samples.is_empty() {
                return Err(DataError::NoImages { path: path.clone(), files: scan.left_out.values().sum() });
            }
            end += scan.samples.len();
            shards.push(Shard { path: path.clone(), bytes: *bytes, end });
        }
        let scans: Vec<Scan> = scans.into_iter().map(|(scan, _)| scan).collect();
        let (classes, labels) = match (labelled(paths, &scans, label_key, classes), labels) {
            (Ok(labelled), _) => labelled,
            // Images of which some have no class are images without labels.
            (Err(_), Labels::Ignored) => (Vec::new(), vec![None; end]),
            (Err(error), Labels::Required) => return Err(error),
        };
        let mut left_out = LeftOut::of(paths[0].parent().unwrap_or(Path::new("")));
        scans.iter().flat_map(|scan| &scan.left_out).for_each(|(kind, files)| left_out.add(kind, *files));
        let samples = scans.into_iter().flat_map(|scan| scan.samples).zip(labels);
        let image = |(Scanned { name, offset, bytes, .. }, class)| Image { name, offset, bytes, class };
        Ok(Self {
            shards,
            images: samples.map(image).collect(),
            classes,
            left_out,
            files: OpenFiles::default(),
        })
    }

    fn shard(&self, index: usize) -> (usize, &Shard) {
        let number = self.shards.partition_point(|shard| shard.end <= index);
        (number, &self.shards[number])
    }

    fn path(&self, index: usize) -> PathBuf {
        self.shard(index).1.path.join(&self.images[index].name)
    }
}

impl Dataset<Sample, DataError> for TarShards {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
    }

    fn len(&self) -> usize {
        self.images.len()
    }
}

impl ImageSource for TarShards {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.images[index].class
    }

    fn name(&self, index: usize) -> String {
        self.path(index).display().to_string()
    }

    fn shards(&self) -> Option<Vec<usize>> {
        let starts = [0].into_iter().chain(self.shards.iter().map(|shard| shard.end));
        Some(self.shards.iter().zip(starts).map(|(shard, start)| shard.end - start).collect())
    }

    fn bytes(&self, index: usize) -> u64 {
        self.images[index].bytes
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        let ((number, shard), image) = (self.shard(index), &self.images[index]);
        let stretch = (image.offset, image.bytes as usize);
        let bytes = self.files.read(number, &shard.path, shard.bytes, stretch);
        bytes.map(Stored::Encoded).map_err(DataError::io(self.path(index)))
    }

    fn left_out(&self) -> LeftOut {
        self.left_out.clone()
    }
}

/// The classes that `classes.txt` names.
struct Classes {
    path: PathBuf,
    names: Vec<String>,
    index: HashMap<String, u32>,
}

impl Classes {
    /// Those of a folder; none without such a file.
    fn beside(folder: &Path) -> Result<Option<Self>, DataError> {
        let path = folder.join(CLASSES_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(DataError::io(&path))?;
        let names: Vec<String> = text.trim_start_matches('\u{feff}').lines().map(normal).collect();
        let mut seen = BTreeSet::new();
        match names.iter().find(|name| name.trim().is_empty() || !seen.insert(*name)) {
            Some(name) if name.trim().is_empty() => {
                let reason = "has an empty line; a line is the name of a class".to_owned();
                Err(DataError::ClassMap { path, reason })
            }
            Some(name) => {
                let reason = format!("lists `{name}` twice");
                Err(DataError::ClassMap { path, reason })
            }
            None => {
                let index = names.iter().cloned().zip(0..).collect();
                Ok(Some(Self { path, names, index }))
            }
        }
    }

    /// The class of a sample that has one.
    fn class(&self, shard: &Path, sample: &Scanned) -> Result<u32, DataError> {
        let name = name_of(&sample.label).unwrap_or_default();
        let found = match &sample.label {
            Label::Number(number) => {
                u32::try_from(*number).ok().filter(|at| (*at as usize) < self.names.len())
            }
            _ => self.index.get(&name).copied(),
        };
        let (count, file) = (self.names.len(), self.path.display());
        found.ok_or_else(|| {
            of_sample(shard, sample, &format!("is of class {name}, which is none of the {count} of {file}"))
        })
    }
}

/// Classes, and the class of every sample.
type Labelled = (Vec<String>, Vec<Option<u32>>);

/// Finds the class of every sample: in a file that names the classes, or among all that there are, by
/// number if all are numbers, by name otherwise.
///
/// # Errors
/// A sample without a class, or with one that is not in the file.
fn labelled(
    paths: &[PathBuf],
    scans: &[Scan],
    label_key: Option<&str>,
    classes: Option<Classes>,
) -> Result<Labelled, DataError> {
    let key = label_key.unwrap_or(SHARD_LABEL);
    let samples =
        || paths.iter().zip(scans).flat_map(|(path, scan)| scan.samples.iter().map(move |s| (path, s)));
    for (path, sample) in samples() {
        let wrong = match &sample.label {
            Label::None => format!("has no label: neither a .cls file nor {key} in a .json file"),
            Label::Wrong(reason) => reason.clone(),
            Label::Number(_) | Label::Name(_) => continue,
        };
        return Err(of_sample(path, sample, &wrong));
    }
    let labels = samples().map(|(_, sample)| &sample.label);
    if let Some(classes) = classes {
        let of = |(path, sample): (&PathBuf, &Scanned)| classes.class(path, sample).map(Some);
        let labels = samples().map(of).collect::<Result<Vec<_>, _>>()?;
        return Ok((classes.names, labels));
    }
    let names = names_of(labels.clone());
    let index: HashMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
    let labels = labels.map(|label| name_of(label).and_then(|name| index.get(&name[..]).copied())).collect();
    Ok((names, labels))
}

/// The name of a class: that which it has, or its number.
fn name_of(label: &Label) -> Option<String> {
    match label {
        Label::Number(number) => Some(number.to_string()),
        Label::Name(name) => Some(normal(name)),
        Label::None | Label::Wrong(_) => None,
    }
}

/// The classes that there are, sorted.
fn names_of<'a>(labels: impl Iterator<Item = &'a Label>) -> Vec<String> {
    in_order(labels.filter_map(name_of).collect())
}

/// An error that names shard and sample.
fn of_sample(shard: &Path, sample: &Scanned, wrong: &str) -> DataError {
    let key = key_and_ending(&sample.name).map_or(&sample.name[..], |(key, _)| key);
    DataError::Shard { path: shard.to_owned(), reason: format!("holds sample `{key}`, which {wrong}") }
}
