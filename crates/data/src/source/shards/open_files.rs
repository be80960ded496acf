//! Shards that are open for reading.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Shards that are kept open at most: systems allow a process some hundreds of files.
const OPEN: usize = 64;

/// The shards that were read last, open.
#[derive(Default)]
pub(in crate::source) struct OpenFiles(Mutex<Vec<(usize, Arc<Shard>)>>);

impl OpenFiles {
    /// Reads a stretch of shard number `shard`, which lies at `path` and was of this size.
    ///
    /// # Errors
    /// A shard that cannot be read, or has another size by now.
    pub(in crate::source) fn read(
        &self,
        shard: usize,
        path: &Path,
        size: u64,
        (offset, bytes): (u64, usize),
    ) -> io::Result<Vec<u8>> {
        let file = self.file(shard, path, size)?;
        let mut content = vec![0; bytes];
        file.read_at(&mut content, offset)?;
        Ok(content)
    }

    fn file(&self, shard: usize, path: &Path, size: u64) -> io::Result<Arc<Shard>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = take_up(&mut lock(), shard) {
            return Ok(file);
        }
        // Opened without the lock, so that nobody waits for a slow disk but who needs this shard.
        let file = File::open(path)?;
        if file.metadata()?.len() != size {
            return Err(io::Error::other("the file has changed since the run began"));
        }
        let file = Arc::new(Shard::new(file));
        let mut open = lock();
        if take_up(&mut open, shard).is_none() {
            if open.len() == OPEN {
                open.remove(0);
            }
            open.push((shard, Arc::clone(&file)));
        }
        Ok(file)
    }
}

/// An open shard, which becomes the one that was read last.
fn take_up(open: &mut [(usize, Arc<Shard>)], shard: usize) -> Option<Arc<Shard>> {
    let at = open.iter().position(|(number, _)| *number == shard)?;
    open[at..].rotate_left(1);
    open.last().map(|(_, file)| Arc::clone(file))
}

/// An open shard, read at several places at a time.
#[cfg(unix)]
struct Shard(File);

#[cfg(unix)]
impl Shard {
    fn new(file: File) -> Self {
        Self(file)
    }

    fn read_at(&self, content: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, content, offset)
    }
}

/// An open shard, read at one place at a time.
#[cfg(not(unix))]
struct Shard(Mutex<File>);

#[cfg(not(unix))]
impl Shard {
    fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }

    fn read_at(&self, content: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_shards_are_read_with_few_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = |shard: usize| dir.path().join(format!("{shard}.tar"));
        (0..100).for_each(|shard| std::fs::write(path(shard), [shard as u8; 8]).unwrap());
        let files = OpenFiles::default();
        for shard in [0, 99, 1, 0].into_iter().chain(0..100).chain([99, 3]) {
            assert_eq!(files.read(shard, &path(shard), 8, (2, 3)).unwrap(), [shard as u8; 3]);
        }
        let open: Vec<_> = files.0.lock().unwrap().iter().map(|(shard, _)| *shard).collect();
        assert_eq!((open.len(), &open[62..]), (OPEN, &[99, 3][..]));
        // Beyond its end, and another file in its place.
        assert!(files.read(3, &path(3), 8, (6, 3)).is_err());
        let changed = files.read(0, &path(0), 9, (0, 1)).unwrap_err().to_string();
        assert!(changed.contains("has changed"), "{changed}");
    }
}
