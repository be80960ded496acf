//! A folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Unwritten, part_name, part_of, sync_names};

/// A folder under way: what is put into [`part`](Self::part) is in the folder after
/// [`finish`](Self::finish). Dropped before, it was never there.
#[derive(Debug)]
pub struct NewFolder {
    path: PathBuf,
    part: PathBuf,
    place: Place,
    is_kept: bool,
}

/// What is where a folder goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    /// An empty folder. It may be a mounted disk, or where a shell stands, so it is filled and not replaced.
    Empty,
    /// Whatever it is, it is to be replaced.
    Taken,
}

impl NewFolder {
    /// Begins a folder that does not exist, or is empty, with nothing in it.
    ///
    /// # Errors
    /// A path where there is something already ([`io::ErrorKind::DirectoryNotEmpty`], or
    /// [`io::ErrorKind::NotADirectory`] for a file); a folder that cannot be written.
    pub fn create(path: &Path) -> Result<Self, Unwritten> {
        Self::go_on(path)?.cleared()
    }

    /// Begins a folder in place of another one, which has its name until [`finish`](Self::finish).
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn replacing(path: &Path) -> Result<Self, Unwritten> {
        let part = part_of(path);
        // A kill between two renamings left the name to neither.
        give_back(path).and_then(|()| fs::create_dir_all(&part)).map_err(Unwritten::at(path))?;
        Self { path: path.to_owned(), part, place: Place::Taken, is_kept: false }.cleared()
    }

    fn cleared(self) -> Result<Self, Unwritten> {
        let clear = || {
            fs::remove_dir_all(&self.part)?;
            fs::create_dir(&self.part)
        };
        clear().map_err(Unwritten::at(&self.path))?;
        Ok(self)
    }

    /// The same, with what an earlier attempt that was [kept](Self::keep), or killed, had put into it.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn go_on(path: &Path) -> Result<Self, Unwritten> {
        let (part, place) = match path.symlink_metadata() {
            Ok(_) => (path.join(part_name(path)), Place::Empty),
            Err(_) => (part_of(path), Place::Free),
        };
        let prepare = || {
            if place == Place::Empty {
                for entry in fs::read_dir(path)? {
                    if entry?.path() != part {
                        return Err(io::ErrorKind::DirectoryNotEmpty.into());
                    }
                }
            }
            fs::create_dir_all(&part)
        };
        prepare().map_err(Unwritten::at(path))?;
        Ok(Self { path: path.to_owned(), part, place, is_kept: false })
    }

    /// Where its files go until it is finished.
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Gives the work up, and leaves what there is of it for [`go_on`](Self::go_on).
    pub fn keep(mut self) {
        self.is_kept = true;
    }

    /// Waits until all files are on the disk, and gives the folder its name.
    ///
    /// # Errors
    /// Something cannot be written. The folder is then not there, or as it was.
    pub fn finish(mut self) -> Result<(), Unwritten> {
        let synced = sync_tree(&self.part);
        let published = synced.and_then(|()| match self.place {
            Place::Free => fs::rename(&self.part, &self.path),
            Place::Empty => fill(&self.path, &self.part),
            Place::Taken => replace(&self.path, &self.part),
        });
        published.map_err(Unwritten::at(&self.path))?;
        self.is_kept = true;
        sync_names(&self.path);
        Ok(())
    }
}

fn fill(path: &Path, part: &Path) -> io::Result<()> {
    for entry in fs::read_dir(part)? {
        let entry = entry?;
        fs::rename(entry.path(), path.join(entry.file_name()))?;
    }
    fs::remove_dir(part)
}

/// Sets a folder aside first: removed in place, it would look complete while only half of its files are left.
fn replace(path: &Path, part: &Path) -> io::Result<()> {
    let aside = aside_of(path);
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    let is_there = path.exists();
    if is_there {
        fs::rename(path, &aside)?;
    }
    if let Err(error) = fs::rename(part, path) {
        if is_there {
            // Best effort: the reason of the failure matters more.
            let _ = fs::rename(&aside, path);
        }
        return Err(error);
    }
    sync_names(path);
    // Best effort: the new one is there, and `recover` clears up.
    let _ = fs::remove_dir_all(&aside);
    Ok(())
}

/// Where a folder is while another one takes its name.
fn aside_of(path: &Path) -> PathBuf {
    part_of(path).with_extension("old")
}

/// Gives a folder that a kill has left aside its name back.
fn give_back(path: &Path) -> io::Result<()> {
    let aside = aside_of(path);
    if aside.exists() && !path.exists() { fs::rename(&aside, path) } else { Ok(()) }
}

/// Gives back what a process that was killed has set aside below a folder, unless another folder has its name.
///
/// # Errors
/// Something cannot be renamed.
pub fn give_back_all(folder: &Path) -> Result<(), Unwritten> {
    let give_all_back = || {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let hidden = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".old"));
            hidden.map_or(Ok(()), |name| give_back(&folder.join(name)))?;
        }
        Ok(())
    };
    give_all_back().map_err(Unwritten::at(folder))
}

/// Clears up below a folder after a process that was killed: what it had set aside has its name back unless
/// another folder has it, and what it had not finished is gone.
///
/// # Errors
/// Something cannot be renamed or removed.
pub fn recover(folder: &Path) -> Result<(), Unwritten> {
    give_back_all(folder)?;
    let recover = || {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let hidden =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix('.'));
            let Some(hidden) = hidden.filter(|_| path.is_dir()) else { continue };
            if hidden.ends_with(".old") || hidden.ends_with(".part") {
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(())
    };
    recover().map_err(Unwritten::at(folder))
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_dir_all(&self.part);
        }
    }
}

/// Waits until a folder and all below it are on the disk.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            // Windows writes through handles that may write alone.
            File::options().read(true).write(cfg!(windows)).open(&path)?.sync_all()?;
        }
    }
    // Best effort: not every system can open a folder.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::names;

    /// A folder with a file and one below.
    fn fill(folder: &NewFolder) {
        fs::write(folder.part().join("a.txt"), "a").unwrap();
        fs::create_dir(folder.part().join("below")).unwrap();
        fs::write(folder.part().join("below/b.txt"), "b").unwrap();
    }

    #[test]
    fn a_new_folder_has_its_name_when_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let folder = NewFolder::create(&path).unwrap();
        fill(&folder);
        assert_eq!(names(dir.path()), [".new.part"]);
        folder.finish().unwrap();
        assert_eq!(names(dir.path()), ["new"]);
        assert_eq!(names(&path), ["a.txt", "below"]);
        assert_eq!(fs::read(path.join("below/b.txt")).unwrap(), b"b");
    }

    #[test]
    fn an_empty_folder_is_filled_and_stays_the_same_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = NewFolder::create(dir.path()).unwrap();
        fill(&folder);
        drop(folder);
        assert!(names(dir.path()).is_empty());
        let folder = NewFolder::create(dir.path()).unwrap();
        fill(&folder);
        folder.finish().unwrap();
        assert_eq!(names(dir.path()), ["a.txt", "below"]);
    }

    #[test]
    fn one_that_is_given_up_was_never_there_and_leftovers_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let folder = NewFolder::create(&path).unwrap();
        fill(&folder);
        drop(folder);
        assert!(names(dir.path()).is_empty());
        for there in [false, true] {
            if there {
                fs::create_dir(&path).unwrap();
            }
            let folder = NewFolder::create(&path).unwrap();
            fs::write(folder.part().join("left"), "").unwrap();
            // As a kill leaves it.
            folder.keep();
            let folder = NewFolder::create(&path).unwrap();
            assert!(names(folder.part()).is_empty());
            folder.finish().unwrap();
            assert!(names(&path).is_empty());
            assert_eq!(names(dir.path()), ["new"]);
            fs::remove_dir(&path).unwrap();
        }
    }

    #[test]
    fn work_that_was_kept_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let folder = NewFolder::go_on(&path).unwrap();
        fs::write(folder.part().join("first"), "1").unwrap();
        folder.keep();
        let folder = NewFolder::go_on(&path).unwrap();
        fs::write(folder.part().join("second"), "2").unwrap();
        folder.finish().unwrap();
        assert_eq!(names(&path), ["first", "second"]);
        assert_eq!(names(dir.path()), ["new"]);
    }

    #[test]
    fn a_folder_that_is_replaced_has_its_name_until_the_new_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("step");
        for text in ["1", "2"] {
            let folder = NewFolder::replacing(&path).unwrap();
            fs::write(folder.part().join(text), text).unwrap();
            let earlier = names(dir.path());
            assert_eq!(earlier.contains(&"step".to_owned()), text == "2", "{earlier:?}");
            folder.finish().unwrap();
            assert_eq!((names(dir.path()), names(&path)), (vec!["step".to_owned()], vec![text.to_owned()]));
        }
        let folder = NewFolder::replacing(&path).unwrap();
        fs::write(folder.part().join("half"), "").unwrap();
        drop(folder);
        assert_eq!((names(dir.path()), names(&path)), (vec!["step".to_owned()], vec!["2".to_owned()]));
        // As a kill leaves it after the second renaming, and while a part is being filled.
        fs::create_dir_all(aside_of(&path).join("x")).unwrap();
        fs::create_dir_all(part_of(&path).join("x")).unwrap();
        recover(dir.path()).unwrap();
        assert_eq!((names(dir.path()), names(&path)), (vec!["step".to_owned()], vec!["2".to_owned()]));
        // And between the two renamings.
        fs::rename(&path, aside_of(&path)).unwrap();
        recover(dir.path()).unwrap();
        assert_eq!((names(dir.path()), names(&path)), (vec!["step".to_owned()], vec!["2".to_owned()]));
        fs::rename(&path, aside_of(&path)).unwrap();
        let folder = NewFolder::replacing(&path).unwrap();
        assert_eq!(names(&path), ["2"]);
        folder.finish().unwrap();
        assert_eq!(names(dir.path()), ["step"]);
        // The new one is lost on the way.
        fs::write(path.join("kept"), "").unwrap();
        let folder = NewFolder::replacing(&path).unwrap();
        let error = replace(&path, &dir.path().join("nothing")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        drop(folder);
        assert_eq!((names(dir.path()), names(&path)), (vec!["step".to_owned()], vec!["kept".to_owned()]));
    }

    #[test]
    fn what_is_in_use_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "mine").unwrap();
        let error = NewFolder::create(dir.path()).unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::DirectoryNotEmpty);
        let error = NewFolder::create(&dir.path().join("file")).unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::NotADirectory);
        assert_eq!(names(dir.path()), ["file"]);
        assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"mine");
    }
}
