//! Whether files are what they were when they were written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::CheckpointError;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Files by name, as they were written.
pub(crate) type Files = BTreeMap<String, FileDigest>;

/// What tells a file from any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileDigest {
    bytes: u64,
    sha256: String,
}

impl FileDigest {
    fn of(path: &Path) -> io::Result<Self> {
        let (mut file, mut hash) = (BufReader::with_capacity(PIECE, File::open(path)?), Sha256::new());
        let mut bytes = 0;
        loop {
            let piece = file.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            hash.update(piece);
            let length = piece.len();
            bytes += length as u64;
            file.consume(length);
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { bytes, sha256 })
    }
}

/// The digests of all files of a folder.
pub(crate) fn of_folder(folder: &Path) -> Result<Files, CheckpointError> {
    let mut files = Files::new();
    for entry in fs::read_dir(folder).map_err(CheckpointError::io("read", folder))?.flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        files.insert(name, FileDigest::of(&path).map_err(CheckpointError::io("read", path))?);
    }
    Ok(files)
}

/// Compares the files of a folder with what they were.
///
/// # Errors
/// The first that is gone, of another length, or of other bytes, by name.
pub(crate) fn verify(folder: &Path, files: &Files) -> Result<(), CheckpointError> {
    for (name, written) in files {
        let path = folder.join(name);
        let damaged = |reason: String| CheckpointError::Damaged { path: path.clone(), reason };
        let length = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("it is missing".to_owned()));
            }
            found => found.map_err(CheckpointError::io("read", &path))?.len(),
        };
        if length != written.bytes {
            return Err(damaged(format!("it holds {length} bytes, {} were written", written.bytes)));
        }
        let found = FileDigest::of(&path).map_err(CheckpointError::io("read", &path))?;
        if found != *written {
            return Err(damaged("its bytes are not those that were written (SHA-256)".to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("abc"), "abc").unwrap();
        let files = of_folder(dir.path()).unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(files["abc"], FileDigest { bytes: 3, sha256: expected.to_owned() });
        verify(dir.path(), &files).unwrap();
    }

    #[test]
    fn every_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, [1, 2, 3]).unwrap();
        let files = of_folder(dir.path()).unwrap();
        let message = || verify(dir.path(), &files).unwrap_err().to_string();
        for (content, expected) in [
            (&[0, 0, 0][..], "its bytes are not those that were written"),
            (&[1, 2], "it holds 2 bytes, 3 were written"),
            (&[1, 2, 3, 4], "it holds 4 bytes, 3 were written"),
        ] {
            fs::write(&path, content).unwrap();
            assert!(message().contains(expected) && message().contains("a is damaged"), "{}", message());
        }
        fs::remove_file(&path).unwrap();
        assert!(message().contains("it is missing"), "{}", message());
    }
}
