//! One process a run directory.
//!
//! The lock is the operating system's, on a file that says who holds it. It ends with its process, however
//! that ends. Not every network file system passes such locks on to other hosts, so the holder also counts
//! in the file, every few seconds: who takes over the file of another host first looks whether it still
//! does.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::CheckpointError;

/// The file in a run directory.
const LOCK_FILE: &str = ".lock";
/// Between two counts of the holder.
const BEAT: Duration = Duration::from_secs(2);
/// How long a holder that counts can seem not to: a few counts, and what network file systems keep in
/// their caches.
const SILENCE: Duration = Duration::from_secs(8);

/// How often, and after what time each, a lock that nobody has written into is tried again.
const MOMENTS: u32 = 20;
const MOMENT: Duration = Duration::from_millis(50);

/// The right to write into a run directory. Dropping it gives it back.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    /// Dropped to end the counting.
    stop: Option<Sender<()>>,
    counting: Option<JoinHandle<()>>,
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    host: String,
    process: u32,
    beats: u64,
}

impl Holder {
    fn this() -> Self {
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        Self { host, process: std::process::id(), beats: 0 }
    }

    /// None where nobody holds the lock, and where its file cannot be understood.
    fn read(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
        serde_json::from_str(text.trim_end()).ok()
    }

    /// In one piece and without growing or shrinking from count to count, so that who looks sees a whole
    /// one.
    fn write(&self, file: &mut File) -> io::Result<()> {
        let Self { host, process, beats } = self;
        let text = serde_json::json!({"host": host, "process": process}).to_string();
        let text = format!("{},\"beats\":{beats:>20}}}\n", text.trim_end_matches('}'));
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        // Or a network file system keeps it from others for as long as it likes.
        file.sync_data()
    }
}

impl RunLock {
    /// Takes the lock of a run directory, which exists.
    ///
    /// # Errors
    /// Another process holds it, by host and number; it cannot be written.
    pub fn take(run_dir: &Path) -> Result<Self, CheckpointError> {
        Self::take_looking(run_dir, || thread::sleep(SILENCE))
    }

    /// `look_again` returns when a holder must have counted.
    fn take_looking(run_dir: &Path, look_again: impl FnOnce()) -> Result<Self, CheckpointError> {
        let path = run_dir.join(LOCK_FILE);
        let cannot = |error| CheckpointError::io("lock", &path)(error);
        let mut file = open(&path).map_err(cannot)?;
        let mut patience = MOMENTS;
        let locks = loop {
            match file.try_lock() {
                Ok(()) => break true,
                // Somebody who only looks holds it for a moment, and has not written anything.
                Err(TryLockError::WouldBlock) => match Holder::read(&mut file) {
                    None if patience > 0 => patience -= 1,
                    holder => return Err(in_use(run_dir, holder)),
                },
                // A file system without locks: only the counting tells.
                Err(TryLockError::Error(_)) => break false,
            }
            thread::sleep(MOMENT);
        };
        let this = Holder::this();
        if let Some(holder) = Holder::read(&mut file).filter(|holder| !locks || holder.host != this.host) {
            look_again();
            // Opened anew, for the caches of network file systems.
            let now = File::open(&path).ok().and_then(|mut file| Holder::read(&mut file));
            if now.as_ref().is_some_and(|now| *now != holder) {
                return Err(in_use(run_dir, now));
            }
        }
        this.write(&mut file).map_err(cannot)?;
        let (stop, stopped) = mpsc::channel();
        let counted = file.try_clone().map_err(cannot)?;
        let counting = thread::spawn(move || count(counted, this, &stopped));
        Ok(Self { file, stop: Some(stop), counting: Some(counting) })
    }

    /// Looks whether a process of this host, or of one that the file system asks, trains there, without
    /// taking the lock.
    ///
    /// # Errors
    /// One does, by host and number.
    pub fn require_free(run_dir: &Path) -> Result<(), CheckpointError> {
        let Ok(mut file) = OpenOptions::new().read(true).write(true).open(run_dir.join(LOCK_FILE)) else {
            return Ok(());
        };
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Err(in_use(run_dir, Holder::read(&mut file))),
            _ => Ok(()),
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(counting) = self.counting.take() {
            // A thread that panicked has said so already.
            let _ = counting.join();
        }
        // Emptied, so that the next one need not wait. The file stays: who removed it could remove another's.
        let _ = self.file.set_len(0);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Counts until the lock is given back.
fn count(mut file: File, mut holder: Holder, stopped: &mpsc::Receiver<()>) {
    while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
        holder.beats += 1;
        // On a full disk, or when the folder is gone, the run matters more.
        let _ = holder.write(&mut file);
    }
}

fn in_use(run_dir: &Path, holder: Option<Holder>) -> CheckpointError {
    let holder = match holder {
        Some(Holder { host, process, .. }) => format!("process {process} on {host}"),
        None => "another process".to_owned(),
    };
    CheckpointError::InUse { run_dir: run_dir.to_owned(), holder }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn message(result: Result<RunLock, CheckpointError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_second_holder_is_refused_by_name_and_the_next_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let never = || panic!("waited for this host");
        let first = RunLock::take_looking(dir.path(), never).unwrap();
        let refused = message(RunLock::take_looking(dir.path(), never));
        let name = format!("process {} on {}", std::process::id(), Holder::this().host);
        assert!(refused.contains(&name), "{refused}");
        assert!(RunLock::require_free(dir.path()).is_err());
        drop(first);
        RunLock::require_free(dir.path()).unwrap();
        RunLock::take_looking(dir.path(), never).unwrap();
    }

    #[test]
    fn a_killed_holder_on_another_host_does_not_block_and_a_living_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK_FILE);
        let elsewhere = |beats| {
            let holder = Holder { host: "elsewhere".to_owned(), process: 7, beats };
            holder.write(&mut open(&path).unwrap()).unwrap();
        };
        elsewhere(5);
        let refused = message(RunLock::take_looking(dir.path(), || elsewhere(6)));
        assert!(refused.contains("process 7 on elsewhere"), "{refused}");
        let taken = RunLock::take_looking(dir.path(), || {}).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains(&Holder::this().host));
        drop(taken);
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_holder_is_written_in_one_length() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open(&dir.path().join(LOCK_FILE)).unwrap();
        let mut lengths = Vec::new();
        for beats in [0, 9, u64::MAX] {
            let holder = Holder { host: "a \"name\"}".to_owned(), process: 1, beats };
            holder.write(&mut file).unwrap();
            assert_eq!(Holder::read(&mut file), Some(holder));
            lengths.push(file.metadata().unwrap().len());
        }
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
        fs::write(dir.path().join(LOCK_FILE), "nonsense").unwrap();
        assert_eq!(Holder::read(&mut file), None);
        RunLock::take(dir.path()).unwrap();
    }
}
