//! The page as a file.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Write};
use std::path::Path;

use crate::error::ReportError;

/// Writes a file whole or not at all: an earlier one stays until all of the new one is on the disk.
///
/// # Errors
/// It cannot be written; nothing half-written stays.
pub fn save(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let failed = |error| ReportError::Io { path: path.to_owned(), error };
    let Some(name) = path.file_name() else {
        return Err(failed(Error::new(ErrorKind::InvalidInput, "it is not the name of a file")));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    let temporary = path.with_file_name(hidden);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // Best effort: the reason of the failure matters more.
        let _ = fs::remove_file(&temporary);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.html");
        save(&path, b"one").unwrap();
        save(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        // A folder in the way.
        let folder = dir.path().join("b.html");
        fs::create_dir_all(folder.join("inside")).unwrap();
        let error = save(&folder, b"three").unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("b.html"), "{error}");
        let nowhere = dir.path().join("nowhere/a.html");
        assert!(save(&nowhere, b"four").is_err());
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a.html", "b.html"]);
    }
}
