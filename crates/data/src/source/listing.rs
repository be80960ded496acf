//! What lies in a folder and below.
//!
//! No list is kept for the next run: images that have changed are known by their sizes, so that these would
//! have to be asked for again, and that is what takes most of the time. Of 1.3 million files on two cores,
//! all is listed in 4.7 s, and the sizes alone take 3.3 s (`cargo bench -p data --bench listing`).

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::{DataError, EXTENSIONS};
use crate::source::left_out::{LeftOut, ending};

/// What systems and programs put beside data, in lower case. Hidden entries are left out as well.
const NOT_DATA: [&str; 7] = [
    "@eadir",
    "$recycle.bin",
    "lost+found",
    "system volume information",
    "__macosx",
    "thumbs.db",
    "desktop.ini",
];

/// Entries of a folder that one thread looks at: fewer are not worth a second one.
const ENTRIES: usize = 512;

/// What lies in a folder and below, each folder once.
///
/// Links to folders are followed. Of several ways to a folder, that through the fewest links counts, of
/// these the least deep, of these the first by path.
#[derive(Debug)]
pub(super) struct Listing {
    root: PathBuf,
    folders: BTreeMap<PathBuf, Contents>,
    left_out: LeftOut,
}

/// What lies in a folder.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) images: Vec<Image>,
    /// Folders, and links to folders, by name.
    pub(super) folders: Vec<Place>,
    left_out: LeftOut,
}

/// An image file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// As it was come by.
    pub(super) path: PathBuf,
    /// Without links.
    real: PathBuf,
    is_link: bool,
}

/// What an entry of a folder is.
enum Entry {
    Image(Image),
    Folder(Place),
    /// In words that follow a number.
    LeftOut(String),
}

impl Listing {
    /// Reads a folder and all below it, several at a time.
    ///
    /// # Errors
    /// A folder that cannot be read. Single entries that cannot be are counted among those left out.
    pub(super) fn read(root: &Path) -> Result<Self, DataError> {
        let real = fs::canonicalize(root).map_err(DataError::io(root))?;
        let mut seen = HashSet::from([real.clone()]);
        let mut listing =
            Self { root: root.to_owned(), folders: BTreeMap::new(), left_out: LeftOut::of(root) };
        let (mut level, mut links) = (vec![Place { path: root.to_owned(), real, is_link: false }], vec![]);
        while !level.is_empty() {
            let read: Vec<_> = level.par_iter().map(Contents::read).collect();
            let mut next = Vec::new();
            for (place, contents) in level.into_iter().zip(read) {
                let contents = contents?;
                let (linked, real): (Vec<_>, Vec<_>) =
                    contents.folders.iter().cloned().partition(|folder| folder.is_link);
                links.extend(linked);
                next.extend(real);
                listing.left_out.add_all(&contents.left_out);
                listing.folders.insert(place.path, contents);
            }
            level = listing.unseen(next, &mut seen);
            // Links wait until every folder is found that lies behind fewer of them.
            if level.is_empty() {
                level = listing.unseen(std::mem::take(&mut links), &mut seen);
            }
        }
        Ok(listing)
    }

    /// The folders that are not listed yet, by path; the others are counted.
    fn unseen(&mut self, mut folders: Vec<Place>, seen: &mut HashSet<PathBuf>) -> Vec<Place> {
        let found = folders.len();
        folders.sort();
        folders.retain(|folder| seen.insert(folder.real.clone()));
        self.left_out.add("leading to folders that are listed already", found - folders.len());
        folders
    }

    /// The folder itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What lies in a folder, if it is listed under this name.
    pub(super) fn contents(&self, folder: &Path) -> Option<&Contents> {
        self.folders.get(folder)
    }

    /// The folders in a folder, by name.
    pub(super) fn folders(&self, folder: &Path) -> Vec<PathBuf> {
        let contents = self.contents(folder);
        contents.map_or(Vec::new(), |found| found.folders.iter().map(|place| place.path.clone()).collect())
    }

    /// Whether there is neither a file nor a folder.
    pub(super) fn is_empty(&self) -> bool {
        self.folders.values().all(|found| found.images.is_empty() && found.folders.is_empty())
            && self.left_out.is_empty()
    }

    /// Takes the images of a folder and all below it, by path.
    pub(super) fn take_images(&mut self, folder: &Path) -> Vec<Image> {
        let from = (Bound::Included(folder), Bound::Unbounded);
        let folders =
            self.folders.range_mut::<Path, _>(from).take_while(|(path, _)| path.starts_with(folder));
        let mut images: Vec<_> =
            folders.flat_map(|(_, contents)| std::mem::take(&mut contents.images)).collect();
        images.sort_by(|a, b| a.path.cmp(&b.path));
        images
    }

    /// The files that are no images, and links that lead nowhere or to what is listed.
    pub(super) fn left_out(&self) -> &LeftOut {
        &self.left_out
    }
}

impl Contents {
    fn read(place: &Place) -> Result<Self, DataError> {
        let entries = fs::read_dir(&place.path).and_then(Iterator::collect::<io::Result<Vec<DirEntry>>>);
        let entries = entries.map_err(DataError::io(&place.path))?;
        let entries = entries.into_par_iter().with_min_len(ENTRIES);
        let entries: Vec<Entry> = entries
            .filter(|entry| is_data(&entry.file_name()))
            .map(|entry| Entry::of(place, &entry))
            .collect();
        let mut contents = Self::default();
        for entry in entries {
            match entry {
                Entry::Image(image) => contents.images.push(image),
                Entry::Folder(folder) => contents.folders.push(folder),
                Entry::LeftOut(kind) => contents.left_out.add(kind, 1),
            }
        }
        contents.leave_out_companions();
        contents.images.sort_by(|a, b| a.path.cmp(&b.path));
        contents.folders.sort();
        Ok(contents)
    }
}

impl Contents {
    /// An array beside a picture of its name is what somebody has computed of it.
    fn leave_out_companions(&mut self) {
        let is_array =
            |image: &Image| image.path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy"));
        if !self.images.iter().any(is_array) {
            return;
        }
        let pictures: HashSet<PathBuf> = self
            .images
            .iter()
            .filter(|image| !is_array(image))
            .map(|image| image.path.with_extension(""))
            .collect();
        let found = self.images.len();
        self.images.retain(|image| !is_array(image) || !pictures.contains(&image.path.with_extension("")));
        self.left_out.add(".npy", found - self.images.len());
    }
}

impl Entry {
    /// Asks the system for the size of images and for what links lead to, and for nothing else.
    fn of(folder: &Place, entry: &DirEntry) -> Self {
        let path = entry.path();
        let unreadable = || Self::LeftOut("unreadable".to_owned());
        let Ok(kind) = entry.file_type() else { return unreadable() };
        if kind.is_dir() {
            return Self::Folder(Place { real: folder.real.join(entry.file_name()), path, is_link: false });
        }
        if kind.is_symlink() {
            return Self::of_link(path);
        }
        match is_image(&path).then(|| entry.metadata()) {
            Some(Ok(file)) if file.is_file() => Self::Image(Image { path, bytes: file.len() }),
            Some(Err(_)) => unreadable(),
            _ => Self::LeftOut(ending(&path)),
        }
    }

    fn of_link(path: PathBuf) -> Self {
        match fs::metadata(&path) {
            Ok(target) if target.is_dir() => match fs::canonicalize(&path) {
                Ok(real) => Self::Folder(Place { path, real, is_link: true }),
                Err(_) => Self::LeftOut("unreadable".to_owned()),
            },
            Ok(target) if target.is_file() && is_image(&path) => {
                Self::Image(Image { path, bytes: target.len() })
            }
            Ok(_) => Self::LeftOut(ending(&path)),
            Err(_) => Self::LeftOut("leading nowhere".to_owned()),
        }
    }
}

/// The folders in a folder, by name. No file is looked at, of which there may be very many.
pub(super) fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_folder = |entry: &DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_symlink() => entry.path().is_dir(),
        kind => kind.is_ok_and(|kind| kind.is_dir()),
    };
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let entry = entry.map_err(DataError::io(folder))?;
        if is_folder(&entry) && is_data(&entry.file_name()) {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

pub(crate) fn is_data(name: &OsStr) -> bool {
    let is_hidden = name.as_encoded_bytes().starts_with(b".");
    !is_hidden && !NOT_DATA.iter().any(|known| name.eq_ignore_ascii_case(known))
}

pub(super) fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|ending| EXTENSIONS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}
