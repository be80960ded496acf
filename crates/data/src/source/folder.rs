//! Folders of image files.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use burn_dataset::Dataset;

use crate::error::{DataError, EXTENSIONS};
use crate::image_list::normal;
use crate::source::{ImageSource, Labels, Sample, Stored, decoded};

/// Images in a folder: one subfolder a class, or any tree without labels. Sorted by path.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFolder {
    files: Vec<File>,
    classes: Vec<String>,
}

/// An image file.
#[derive(Debug, Clone, PartialEq)]
struct File {
    path: PathBuf,
    bytes: u64,
    class: Option<u32>,
}

impl ImageFolder {
    /// Subfolders become classes if there are any and no image lies beside them; images may lie
    /// deeper within a class.
    ///
    /// # Errors
    /// No image; with labels required: no class, a class without image, or two of one name.
    pub fn open(path: &Path, labels: Labels) -> Result<Self, DataError> {
        let entries = list(path)?;
        let folders: Vec<_> = entries.iter().filter(|entry| entry.is_dir()).collect();
        let loose = entries.iter().any(|entry| is_image(entry));
        if folders.is_empty() || (loose && labels == Labels::Ignored) {
            return match labels {
                Labels::Ignored => Self::flat(path),
                Labels::Required if entries.is_empty() => Err(DataError::Empty(path.to_owned())),
                Labels::Required => Err(DataError::NoClasses(path.to_owned())),
            };
        }
        let (mut files, mut classes) = (Vec::new(), Vec::new());
        for folder in folders {
            let (images, _) = images_below(folder)?;
            if images.is_empty() {
                if labels == Labels::Required {
                    return Err(DataError::EmptyClass(folder.clone()));
                }
                continue;
            }
            let label = classes.len() as u32;
            let class = normal(&folder.file_name().unwrap_or_default().to_string_lossy());
            if classes.contains(&class) {
                return Err(DataError::TwoClasses { path: path.to_owned(), class });
            }
            classes.push(class);
            files.extend(images.into_iter().map(|image| File { class: Some(label), ..image }));
        }
        if files.is_empty() { Self::flat(path) } else { Ok(Self { files, classes }) }
    }

    /// Every image in a folder or below, without labels.
    ///
    /// # Errors
    /// No image.
    pub fn flat(path: &Path) -> Result<Self, DataError> {
        let (images, others) = images_below(path)?;
        match (images.is_empty(), others) {
            (true, 0) => Err(DataError::Empty(path.to_owned())),
            (true, files) => Err(DataError::NoImages { path: path.to_owned(), files }),
            (false, _) => Ok(Self { files: images, classes: Vec::new() }),
        }
    }
}

impl ImageFolder {
    /// The image files, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }
}

impl Dataset<Sample, DataError> for ImageFolder {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
    }

    fn len(&self) -> usize {
        self.files.len()
    }
}

impl ImageSource for ImageFolder {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.files[index].class
    }

    fn name(&self, index: usize) -> String {
        self.files[index].path.display().to_string()
    }

    fn bytes(&self, index: usize) -> u64 {
        self.files[index].bytes
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        Stored::of_file(&self.files[index].path)
    }
}

/// Entries of a folder by name, without hidden ones and what macOS puts into archives.
fn list(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(entries(folder)?.into_iter().map(|entry| entry.path()).collect())
}

/// The folders in a folder, by name. No file is looked at, of which there may be very many.
pub(super) fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_folder = |entry: &DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        kind => kind.is_ok_and(|kind| kind.is_dir()),
    };
    Ok(entries(folder)?.iter().filter(|entry| is_folder(entry)).map(DirEntry::path).collect())
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, DataError> {
    let found = fs::read_dir(folder).map_err(DataError::io(folder))?.collect::<Result<Vec<_>, _>>();
    let mut entries = found.map_err(DataError::io(folder))?;
    entries.retain(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        !name.starts_with('.') && name != "__MACOSX"
    });
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

/// Images in a folder and below, without classes, and the number of other files.
fn images_below(folder: &Path) -> Result<(Vec<File>, usize), DataError> {
    let (mut images, mut others) = (Vec::new(), 0);
    for entry in list(folder)? {
        if leads_back(&entry) {
            continue;
        }
        if entry.is_dir() {
            let (more, rest) = images_below(&entry)?;
            images.extend(more);
            others += rest;
        } else if is_image(&entry) {
            let bytes = entry.metadata().map_err(DataError::io(&entry))?.len();
            images.push(File { path: entry, bytes, class: None });
        } else {
            others += 1;
        }
    }
    Ok((images, others))
}

/// Whether an entry is a link to a folder that it lies in, which would never end.
fn leads_back(entry: &Path) -> bool {
    let parent = entry.parent().and_then(|parent| parent.canonicalize().ok());
    let target = entry.is_symlink().then(|| entry.canonicalize().ok()).flatten();
    matches!((parent, target), (Some(parent), Some(target)) if parent.starts_with(&target))
}

pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    path.is_file() && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}
