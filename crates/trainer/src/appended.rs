//! A file that a run adds to, and that must not stop it.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::TrainError;
use crate::progress::Screen;

/// Bytes that are kept for a file that cannot be written, at most.
const PATIENCE: usize = 64 << 20;

/// A file that grows by whole records. What cannot be written is kept, and written with a later record once
/// the disk has room again; a record that only half fits is taken back.
pub(crate) struct Appended {
    file: File,
    path: PathBuf,
    /// Bytes of whole records.
    length: u64,
    waiting: Vec<u8>,
    /// Whether the last record could not be written, of which the screen has been told.
    fails: bool,
    /// Records that will never be written, because too much waited.
    lost: u64,
    screen: Arc<dyn Screen>,
}

impl Appended {
    /// Opens a file, or makes it. `screen` is told when it cannot be written later.
    pub(crate) fn open(path: &Path, screen: &Arc<dyn Screen>) -> Result<Self, TrainError> {
        let open = || {
            let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
            let length = file.seek(SeekFrom::End(0))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(TrainError::io("write", path))?;
        let screen = Arc::clone(screen);
        Ok(Self { file, path: path.to_owned(), length, waiting: Vec::new(), fails: false, lost: 0, screen })
    }

    /// Adds a record.
    pub(crate) fn add(&mut self, record: &[u8]) {
        match self.waiting.len() + record.len() <= PATIENCE {
            true => self.waiting.extend(record),
            false => self.lost += 1,
        }
        match self.write() {
            Ok(()) => {
                self.length += self.waiting.len() as u64;
                self.waiting.clear();
                if self.fails {
                    self.screen.warn(&format!("{} is written again", self.path.display()));
                }
                self.fails = false;
            }
            Err(error) if !self.fails => {
                let path = self.path.display();
                self.screen.warn(&format!("cannot write {path}: {error}; the run goes on, and tries again"));
                self.fails = true;
            }
            Err(_) => {}
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        let written = self.file.write_all(&self.waiting);
        if written.is_err() {
            // Best effort: readers take a torn record for one that is being written.
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
        }
        written
    }

    /// What is to be said at the end of a run; nothing where all records are in the file.
    pub(crate) fn shortfall(&self) -> Option<String> {
        let path = self.path.display();
        match (self.fails, self.lost) {
            (false, 0) => None,
            (true, _) => Some(format!("{path} lacks its last records: it cannot be written")),
            (false, lost) => {
                Some(format!("{path} lacks {lost} records that were to be written to a full disk"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Remembers what it is told.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Screen for Told {
        fn say(&self, sentence: &str) {
            self.0.lock().unwrap().push(sentence.to_owned());
        }

        fn restore(&self) {}
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_on_a_full_disk_is_said_once_and_waits() {
        let told: Arc<Told> = Arc::default();
        let screen: Arc<dyn Screen> = Arc::clone(&told) as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        let mut log = Appended::open(&path, &screen).unwrap();
        log.add(b"one\n");
        // As a disk that is full: every write fails.
        let sound =
            std::mem::replace(&mut log.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
        log.add(b"two\n");
        log.add(b"three\n");
        assert!(log.shortfall().unwrap().contains("lacks its last records"));
        assert_eq!(told.0.lock().unwrap().len(), 1, "{:?}", told.0);
        assert!(told.0.lock().unwrap()[0].contains("No space left on device"), "{:?}", told.0);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\none\n");
        log.file = sound;
        log.add(b"four\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\none\ntwo\nthree\nfour\n");
        assert!(log.shortfall().is_none() && told.0.lock().unwrap()[1].contains("is written again"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_wait_any_more_is_counted() {
        let screen: Arc<dyn Screen> = Arc::new(crate::progress::Silent);
        let mut log = Appended::open(Path::new("/dev/full"), &screen).unwrap();
        let half = vec![0; PATIENCE / 2 + 1];
        (0..3).for_each(|_| log.add(&half));
        assert_eq!((log.waiting.len(), log.lost), (half.len(), 2));
    }
}
