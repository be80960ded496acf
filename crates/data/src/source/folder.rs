//! Folders of image files.

use std::path::Path;

use burn_dataset::Dataset;

use crate::error::DataError;
use crate::image_list::normal;
use crate::name::shown;
use crate::source::left_out::ending;
use crate::source::listing::{Image, Listing};
use crate::source::split::refuse_hidden_divisions;
use crate::source::{ImageSource, Labels, LeftOut, Sample, Stored, decoded};

/// Images in a folder: one subfolder a class, or any tree without labels. Sorted by path.
///
/// Hidden files, what systems put beside data, and files that are no images are left out; the latter are
/// [counted](ImageSource::left_out). Links are followed, and every folder is visited once.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFolder {
    images: Vec<Image>,
    /// The class of every image; none at all without labels.
    labels: Vec<u32>,
    classes: Vec<String>,
    left_out: LeftOut,
}

impl ImageFolder {
    /// Subfolders become classes if there are any and, where labels are not required, no image lies beside
    /// them; images may lie deeper within a class.
    ///
    /// # Errors
    /// No image; folders that are divided where classes are expected; with labels required: no class, a
    /// class without image, or two of one name.
    pub fn open(path: &Path, labels: Labels) -> Result<Self, DataError> {
        let listing = Listing::read(path)?;
        refuse_hidden_divisions(&listing)?;
        let has_classes = !listing.folders(path).is_empty();
        let loose = listing.contents(path).is_some_and(|found| !found.images.is_empty());
        match labels {
            Labels::Ignored if loose || !has_classes => Self::without_classes(listing),
            Labels::Required if listing.is_empty() => Err(DataError::Empty(path.to_owned())),
            Labels::Required if !has_classes => Err(DataError::NoClasses(path.to_owned())),
            Labels::Ignored | Labels::Required => Self::of_classes(listing, labels),
        }
    }

    fn of_classes(mut listing: Listing, required: Labels) -> Result<Self, DataError> {
        let root = listing.root().to_owned();
        let (mut images, mut labels, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for folder in listing.folders(&root) {
            let found = listing.take_images(&folder);
            match required {
                _ if !found.is_empty() => {}
                Labels::Ignored => continue,
                Labels::Required if listing.contents(&folder).is_none() => {
                    return Err(DataError::RepeatedClass(folder));
                }
                Labels::Required => return Err(DataError::EmptyClass(folder)),
            }
            let class = normal(&shown(folder.file_name().unwrap_or_default()));
            if classes.contains(&class) {
                return Err(DataError::TwoClasses { path: root, class });
            }
            labels.resize(labels.len() + found.len(), classes.len() as u32);
            classes.push(class);
            images.extend(found);
        }
        if images.is_empty() {
            return Self::without_classes(listing);
        }
        let mut left_out = listing.left_out().clone();
        for image in listing.take_images(&root) {
            left_out.add(format!("{} beside the classes", ending(&image.path)), 1);
        }
        Ok(Self { images, labels, classes, left_out })
    }

    /// Every image in a folder or below, without labels.
    ///
    /// # Errors
    /// No image.
    pub fn flat(path: &Path) -> Result<Self, DataError> {
        Self::without_classes(Listing::read(path)?)
    }

    fn without_classes(mut listing: Listing) -> Result<Self, DataError> {
        let (path, left_out) = (listing.root().to_owned(), listing.left_out().clone());
        let images = listing.take_images(&path);
        match (images.is_empty(), left_out.files()) {
            (true, 0) => Err(DataError::Empty(path)),
            (true, files) => Err(DataError::NoImages { path, files }),
            (false, _) => Ok(Self { images, labels: Vec::new(), classes: Vec::new(), left_out }),
        }
    }
}

impl ImageFolder {
    /// The image files, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.images.iter().map(|image| image.path.as_path())
    }
}

impl Dataset<Sample, DataError> for ImageFolder {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
    }

    fn len(&self) -> usize {
        self.images.len()
    }
}

impl ImageSource for ImageFolder {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }

    fn left_out(&self) -> LeftOut {
        self.left_out.clone()
    }

    fn name(&self, index: usize) -> String {
        shown(&self.images[index].path)
    }

    fn bytes(&self, index: usize) -> u64 {
        self.images[index].bytes
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        Stored::of_file(&self.images[index].path)
    }
}
