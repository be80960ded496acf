//! States of a run, copied from the device, and the thread that writes them while training goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use checkpoint::{
    BoxError, CONFIG_FILE, CheckpointError, RunDir, RunState, StateDict, write_best, write_checkpoint,
};
use data::IMAGES_FILE;

/// Where a snapshot goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The checkpoint of its step.
    Step,
    /// The best network of the run.
    Best,
}

/// A state of a run, copied.
pub(crate) struct Snapshot {
    pub(crate) place: Place,
    pub(crate) state: RunState,
    /// Files of tensors, by name.
    pub(crate) tensors: Vec<(&'static str, StateDict)>,
}

/// What became of a snapshot.
pub(crate) struct Attempt {
    pub(crate) place: Place,
    /// Updates after which it was taken.
    pub(crate) step: u64,
    /// Where it is; or why not, and the snapshot to try again with.
    pub(crate) written: Result<PathBuf, (CheckpointError, Snapshot)>,
    /// Whether checkpoints that are too many could be removed.
    pub(crate) tidied: Result<(), CheckpointError>,
}

/// Writes snapshots on a thread of its own, in order, no two of a place at a time.
pub(crate) struct Writer {
    /// Dropped to end the thread.
    snapshots: Option<Sender<Snapshot>>,
    attempts: Receiver<Attempt>,
    under_way: Vec<Place>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// A writer into a run directory, which keeps so many checkpoints; 0 keeps all.
    pub(crate) fn start(run_dir: &RunDir, keep_last: usize) -> Self {
        let (snapshots, to_write) = channel::<Snapshot>();
        let (tell, attempts) = channel();
        let (run_dir, companions) = (run_dir.clone(), Companions::read(run_dir));
        let thread = thread::spawn(move || {
            for snapshot in to_write {
                let (place, step) = (snapshot.place, snapshot.state.position.step);
                let written = companions.write(&snapshot, &run_dir).map_err(|error| (error, snapshot));
                let tidied = match (&written, place) {
                    (Ok(_), Place::Step) => run_dir.keep_last(keep_last),
                    _ => Ok(()),
                };
                // Nobody listens any more when the run has failed otherwise.
                let _ = tell.send(Attempt { place, step, written, tidied });
            }
        });
        Self { snapshots: Some(snapshots), attempts, under_way: Vec::new(), thread: Some(thread) }
    }

    /// Hands a snapshot over, after the one before it that goes to the same place. Returns what has become
    /// of earlier ones.
    pub(crate) fn write(&mut self, snapshot: Snapshot) -> Vec<Attempt> {
        let mut done = self.look();
        done.extend(self.wait_for(snapshot.place));
        self.under_way.push(snapshot.place);
        if let Some(snapshots) = &self.snapshots {
            // The thread ends only after its sender.
            let _ = snapshots.send(snapshot);
        }
        done
    }

    /// Waits for the snapshot that goes to a place, if one does. Returns what has become of others as well.
    pub(crate) fn wait_for(&mut self, place: Place) -> Vec<Attempt> {
        let mut done = Vec::new();
        while self.under_way.contains(&place) {
            let Some(attempt) = self.wait_for_one() else { break };
            done.push(attempt);
        }
        done
    }

    /// What has become of snapshots by now.
    pub(crate) fn look(&mut self) -> Vec<Attempt> {
        let done: Vec<_> = self.attempts.try_iter().collect();
        done.iter().for_each(|attempt| self.take_off(attempt.place));
        done
    }

    /// Waits for all snapshots.
    pub(crate) fn wait(&mut self) -> Vec<Attempt> {
        let mut done = Vec::new();
        while !self.under_way.is_empty() {
            let Some(attempt) = self.wait_for_one() else { break };
            done.push(attempt);
        }
        done
    }

    /// None when the thread has panicked, which has said so already.
    fn wait_for_one(&mut self) -> Option<Attempt> {
        let Ok(attempt) = self.attempts.recv() else {
            self.under_way.clear();
            return None;
        };
        self.take_off(attempt.place);
        Some(attempt)
    }

    fn take_off(&mut self, place: Place) {
        if let Some(at) = self.under_way.iter().position(|under_way| *under_way == place) {
            self.under_way.remove(at);
        }
    }
}

impl Drop for Writer {
    /// What was handed over is written, whatever else has failed.
    fn drop(&mut self) {
        self.snapshots.take();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// The run's configuration and list of images, by which a checkpoint can be used and judged on its own. They
/// are kept in memory: a run directory that vanishes takes neither run nor checkpoint with it.
struct Companions(Vec<(&'static str, Arc<[u8]>)>);

impl Companions {
    fn read(run_dir: &RunDir) -> Self {
        let read = |name: &'static str| Some((name, fs::read(run_dir.path().join(name)).ok()?.into()));
        Self([CONFIG_FILE, IMAGES_FILE].into_iter().filter_map(read).collect())
    }

    fn write(&self, snapshot: &Snapshot, run_dir: &RunDir) -> Result<PathBuf, CheckpointError> {
        let fill = |folder: &Path| -> Result<(), BoxError> {
            for (name, bytes) in &self.0 {
                let path = folder.join(name);
                fs::write(&path, bytes).map_err(|error| CheckpointError::Io {
                    action: "write",
                    path,
                    error,
                })?;
            }
            for (name, tensors) in &snapshot.tensors {
                tensors.save(&folder.join(name))?;
            }
            Ok(())
        };
        match snapshot.place {
            Place::Step => write_checkpoint(run_dir, &snapshot.state, fill),
            Place::Best => write_best(run_dir, &snapshot.state, fill),
        }
    }
}
