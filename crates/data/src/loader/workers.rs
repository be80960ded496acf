//! Threads that make images ahead of time.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::error::DataError;
use crate::loader::batch::Batch;
use crate::loader::memory::Assembly;
use crate::loader::samples::{Made, Shared};

/// A sequence of batches. Dropping it stops the workers.
pub struct Batches {
    shared: Arc<Shared>,
    assembly: Arc<Assembly>,
    workers: Option<Workers>,
    /// The number of the next batch.
    next: u64,
    /// The number after the last batch, if there is a last one.
    end: Option<u64>,
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        if self.end.is_some_and(|end| number >= end) {
            return None;
        }
        self.next += 1;
        let size = self.shared.config.batch_size as u64;
        let images = self.shared.source.len().min(size as usize);
        let mut batch = Ok(self.shared.empty_batch(images, number, 0, &self.assembly));
        let mut unreadable = BTreeMap::new();
        // All of them, also behind an error: the next batch begins behind the last one.
        for image in number * size..(number + 1) * size {
            let made = match &self.workers {
                Some(workers) => match workers.take() {
                    Ok(made) => made,
                    Err(error) => return Some(Err(error)),
                },
                None => self.shared.make(image, &self.assembly),
            };
            unreadable.extend(made.unreadable);
            batch = batch.and_then(|mut batch: Batch| batch.append(made.image?).map(|()| batch));
        }
        self.assembly.close(number);
        // Counted on delivery: workers run ahead, and how far must not decide when a run fails.
        Some(self.shared.record_corrupt(unreadable).and(batch))
    }
}

impl Batches {
    /// The batches from number `first` on, up to number `end` if there is one.
    pub(super) fn start(shared: &Arc<Shared>, first: u64, end: Option<u64>) -> Self {
        let size = shared.config.batch_size as u64;
        let in_images = |batch: u64| batch * size;
        let assembly = Arc::new(Assembly::new(shared.memory.clone()));
        let workers = (shared.config.workers > 0)
            .then(|| Workers::start(shared, &assembly, in_images(first), end.map(in_images)));
        Self { shared: Arc::clone(shared), assembly, workers, next: first, end }
    }
}

/// Threads that share the images of all batches, one by one: whoever is free makes the next one, so that
/// nobody waits for a large picture, nor for the end of a batch.
struct Workers {
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads share.
struct Work {
    state: Mutex<State>,
    /// Told of images that are ready, and of threads that died.
    ready: Condvar,
    /// Told of images that have been taken, and of the end.
    taken: Condvar,
    /// Images that are ready or in the making at most.
    ahead: u64,
    /// The number after the last image, if there is a last one.
    end: Option<u64>,
}

struct State {
    /// The number of the image that is asked for next.
    wanted: u64,
    /// The number of the image that is to be made next.
    next: u64,
    ready: BTreeMap<u64, Made>,
    /// Whether no more images are wanted.
    is_over: bool,
    /// Whether a thread has panicked.
    is_broken: bool,
}

impl Workers {
    fn start(shared: &Arc<Shared>, assembly: &Arc<Assembly>, first: u64, end: Option<u64>) -> Self {
        let ahead = shared.config.images_ahead() as u64;
        let state =
            State { wanted: first, next: first, ready: BTreeMap::new(), is_over: false, is_broken: false };
        let work = Arc::new(Work {
            state: Mutex::new(state),
            ready: Condvar::new(),
            taken: Condvar::new(),
            ahead,
            end,
        });
        let spawn = |_| {
            let (work, shared, assembly) = (Arc::clone(&work), Arc::clone(shared), Arc::clone(assembly));
            thread::spawn(move || work.go_on(&shared, &assembly))
        };
        let threads = (0..shared.config.workers).map(spawn).collect();
        Self { work, threads }
    }

    /// The next image, as soon as it is ready.
    fn take(&self) -> Result<Made, DataError> {
        let mut state = self.work.lock();
        loop {
            let wanted = state.wanted;
            if let Some(made) = state.ready.remove(&wanted) {
                state.wanted += 1;
                self.work.taken.notify_one();
                return Ok(made);
            }
            if state.is_broken {
                return Err(DataError::WorkerPanicked);
            }
            state = self.work.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.work.lock().is_over = true;
        self.work.taken.notify_all();
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes images until no more are wanted.
    fn go_on(&self, shared: &Shared, assembly: &Assembly) {
        let _alarm = Alarm(self);
        while let Some(number) = self.assign() {
            let made = shared.make(number, assembly);
            self.lock().ready.insert(number, made);
            self.ready.notify_one();
        }
    }

    /// The number of an image to make, once there is room for it.
    fn assign(&self) -> Option<u64> {
        let mut state = self.lock();
        loop {
            if state.is_over || state.is_broken || self.end.is_some_and(|end| state.next >= end) {
                return None;
            }
            if state.next < state.wanted + self.ahead {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Tells of the panic of the thread that it is on.
struct Alarm<'a>(&'a Work);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().is_broken = true;
            self.0.ready.notify_all();
            self.0.taken.notify_all();
        }
    }
}
