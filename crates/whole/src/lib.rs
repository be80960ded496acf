//! Files and folders that are there as a whole, or not at all.
//!
//! What a command writes comes together under a hidden name, `.NAME.part`, and gets its own name by
//! renaming, when all of it is on the disk. A full disk, an error or a kill in between leaves what had the
//! name before, or nothing; a repetition replaces what was left under the hidden one.

mod file;
mod folder;
#[cfg(test)]
mod testing;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use file::{NewFile, write, write_all};
pub use folder::{NewFolder, give_back_all, recover};

/// Why something is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}", path.display())]
pub struct Unwritten {
    /// What was to be written, by the name that it was to have.
    pub path: PathBuf,
    /// The reason that the operating system gives.
    pub error: io::Error,
}

impl Unwritten {
    /// Turns an error of the operating system into one about a path, for `map_err`.
    pub fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self { path, error }
    }
}

/// What a file or folder is called until it is whole: `.NAME.part`, beside its place.
pub fn part_of(path: &Path) -> PathBuf {
    path.with_file_name(part_name(path))
}

fn part_name(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or("out".as_ref()));
    name.push(".part");
    name
}

/// Waits until the names in the folder of a path are on the disk, so that no power cut takes back a
/// renaming. Best effort: not every system can, and the bytes are safe already.
fn sync_names(path: &Path) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let _ = File::open(parent.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
}
