//! A file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::{Unwritten, part_of, sync_names};

/// Writes a file as a whole.
///
/// # Errors
/// It cannot be written; an earlier one is then as it was.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Unwritten> {
    write_all([(path, bytes)])
}

/// Writes files that belong together: none gets its name before all are on the disk.
///
/// # Errors
/// One cannot be written; earlier ones are then as they were.
pub fn write_all<'a>(files: impl IntoIterator<Item = (&'a Path, &'a [u8])>) -> Result<(), Unwritten> {
    let mut written = Vec::new();
    for (path, bytes) in files {
        let mut file = NewFile::create(path)?;
        file.write_all(bytes).and_then(|()| file.sync()).map_err(Unwritten::at(path))?;
        written.push(file);
    }
    written.into_iter().try_for_each(NewFile::finish)
}

/// A file under way. Dropped before [`finish`](Self::finish), it was never there.
///
/// Of a link the file that it leads to is replaced. A device or a pipe is written as it is.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    /// Where it comes together, and where it goes then; none for a device.
    places: Option<[PathBuf; 2]>,
    /// None once it has its name.
    file: Option<BufWriter<File>>,
}

impl NewFile {
    /// Begins a file. What lies under its name stays until [`finish`](Self::finish).
    ///
    /// # Errors
    /// Its folder is missing, or cannot be written.
    pub fn create(path: &Path) -> Result<Self, Unwritten> {
        let create = || match fs::metadata(path) {
            // Renaming would fail as well, but only when the work is done.
            Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => Ok((None, File::options().write(true).open(path)?)),
            _ => {
                let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
                let part = part_of(&place);
                let file = File::create(&part)?;
                Ok((Some([part, place]), file))
            }
        };
        let (places, file) = create().map_err(Unwritten::at(path))?;
        Ok(Self { path: path.to_owned(), places, file: Some(BufWriter::new(file)) })
    }

    /// Waits until what has been written is on the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn sync(&mut self) -> io::Result<()> {
        let is_device = self.places.is_none();
        let file = self.open()?;
        file.flush()?;
        if is_device { Ok(()) } else { file.get_ref().sync_all() }
    }

    /// Waits until the file is on the disk, and gives it its name.
    ///
    /// # Errors
    /// It cannot be written; an earlier one is then as it was.
    pub fn finish(mut self) -> Result<(), Unwritten> {
        let synced = self.sync();
        let renamed = synced.and_then(|()| match &self.places {
            Some([part, place]) => fs::rename(part, place),
            None => Ok(()),
        });
        renamed.map_err(Unwritten::at(&self.path))?;
        self.file = None;
        if let Some([_, place]) = &self.places {
            sync_names(place);
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<&mut BufWriter<File>> {
        self.file.as_mut().ok_or_else(|| io::Error::other("the file is closed"))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open()?.flush()
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.open()?.seek(to)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // Without a last attempt to write what a full disk did not take.
            drop(file.into_parts());
            if let Some([part, _]) = &self.places {
                let _ = fs::remove_file(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::names;

    #[test]
    fn a_file_has_its_name_when_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), [".a.txt.part", "a.txt"]);
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn one_that_is_given_up_was_never_there_and_leftovers_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert!(names(dir.path()).is_empty());
        // As a kill leaves it.
        fs::write(dir.path().join(".a.txt.part"), "a longer half").unwrap();
        write(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn of_files_that_belong_together_none_is_there_before_all_are() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a.txt"), dir.path().join("missing/b.txt"));
        fs::write(&first, "old").unwrap();
        let error = write_all([(&*first, &b"new"[..]), (&second, b"new")]).unwrap_err();
        assert_eq!(error.path, second);
        assert_eq!(fs::read(&first).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a.txt"]);
    }

    #[test]
    fn a_folder_is_not_replaced_by_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        let error = write(&path, b"new").unwrap_err();
        assert!(error.to_string().contains("folder: "), "{error}");
        assert_eq!(names(dir.path()), ["folder"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        write(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        let null = dir.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        write(&null, b"gone").unwrap();
        assert!(null.symlink_metadata().unwrap().is_symlink());
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
