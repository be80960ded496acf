//! The parts of a data set, and the names that folders and tables give them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::name::shown;
use crate::source::listing::{Listing, subfolders};

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Images to train on.
    Train,
    /// Images to choose the best network by.
    Val,
    /// Images that are kept for the end: nothing is ever chosen or stopped by them.
    Test,
}

impl Split {
    /// Every split.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// What a folder or the column `split` of a table may call it, in any case.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train", "training"],
            Self::Val => &["val", "valid", "validation", "dev"],
            Self::Test => &["test", "testing"],
        }
    }

    /// The split of this name.
    pub fn named(name: &str) -> Option<Self> {
        let is = |split: &Self| split.names().iter().any(|known| known.eq_ignore_ascii_case(name));
        Self::ALL.into_iter().find(is)
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.names()[0])
    }
}

/// Whether a name has a part that names a split, as `train_images` and `Set-Test` do.
pub(crate) fn looks_like_a_split(name: &str) -> bool {
    name.split(|c: char| !c.is_alphabetic()).any(|part| Split::named(part).is_some())
}

/// The folders that divide a data set: split and folder. None where it is not divided.
///
/// A folder named as a split among others that are not is taken for a class, unless there is one to
/// train on.
///
/// # Errors
/// Two folders for one split; a folder that cannot be read.
pub(super) fn divisions(path: &Path) -> Result<Vec<(Split, PathBuf)>, DataError> {
    divisions_among(&subfolders(path)?)
}

/// As [`divisions`], of folders that are known.
fn divisions_among(folders: &[PathBuf]) -> Result<Vec<(Split, PathBuf)>, DataError> {
    let mut found: Vec<(Split, PathBuf)> = Vec::new();
    for folder in folders {
        let Some(split) = Split::named(&shown(folder.file_name().unwrap_or_default())) else { continue };
        if let Some((_, other)) = found.iter().find(|(known, _)| *known == split) {
            return Err(DataError::TwoFolders { split, folders: [other.clone(), folder.clone()] });
        }
        found.push((split, folder.clone()));
    }
    let trains = found.iter().any(|(split, _)| *split == Split::Train);
    Ok(if trains || found.len() == folders.len() { found } else { Vec::new() })
}

/// Refuses a folder whose only subfolder is the divided data set, and one whose classes are divided
/// instead: both would be read as one undivided set.
pub(super) fn refuse_hidden_divisions(listing: &Listing) -> Result<(), DataError> {
    let path = listing.root();
    let mut inner = path.to_owned();
    while let [only] = &listing.folders(&inner)[..] {
        inner.clone_from(only);
        if !divisions_among(&listing.folders(&inner))?.is_empty() {
            return Err(DataError::TooDeep { path: path.to_owned(), inner });
        }
    }
    for class in listing.folders(path) {
        if divisions_among(&listing.folders(&class))?.len() > 1 {
            return Err(DataError::DividedClass { path: path.to_owned(), class });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_go_by_several_names_in_any_case() {
        for (name, split) in [
            ("Training", Some(Split::Train)),
            ("TRAIN", Some(Split::Train)),
            ("Dev", Some(Split::Val)),
            ("valid", Some(Split::Val)),
            ("Testing", Some(Split::Test)),
            ("trainer", None),
            ("", None),
        ] {
            assert_eq!(Split::named(name), split, "{name}");
        }
        for name in ["train_images", "set-TEST", "val2017", "Test"] {
            assert!(looks_like_a_split(name), "{name}");
        }
        for name in ["cat", "trainer", "attest", "valley"] {
            assert!(!looks_like_a_split(name), "{name}");
        }
    }
}
