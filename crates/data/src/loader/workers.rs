//! Threads that make batches ahead of time.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::DataError;
use crate::loader::batch::Batch;
use crate::loader::samples::{BatchMaker, PreparedBatch};

/// A sequence of batches. Dropping it stops the workers.
pub struct Batches {
    workers: Vec<Worker>,
    maker: BatchMaker,
    first: u64,
    next: u64,
    /// The number after the last batch, if there is a last one.
    end: Option<u64>,
}

struct Worker {
    receive: Option<Receiver<PreparedBatch>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Batches {
    fn drop(&mut self) {
        // All are told before the first is waited for.
        self.maker.stop.store(true, Relaxed);
        self.workers.iter_mut().for_each(|worker| worker.receive = None);
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        if self.end.is_some_and(|end| number >= end) {
            return None;
        }
        self.next += 1;
        let prepared = if self.workers.is_empty() {
            self.maker.make(number)?
        } else {
            let worker = (number - self.first) as usize % self.workers.len();
            match self.workers[worker].receive.as_ref()?.recv() {
                Ok(prepared) => prepared,
                Err(_) => return Some(Err(DataError::WorkerPanicked)),
            }
        };
        // Counted on delivery: workers run ahead, and how far must not decide when a run fails.
        Some(self.maker.shared.record_corrupt(prepared.unreadable).and(prepared.batch))
    }
}

impl Batches {
    /// The batches from number `first` on, up to number `end` if there is one, made by so many threads;
    /// by none, each is made when it is asked for.
    pub(super) fn start(maker: BatchMaker, workers: usize, first: u64, end: Option<u64>) -> Self {
        let step = workers as u64;
        let workers = (0..step).map(|worker| Worker::spawn(maker.clone(), first + worker, step, end));
        Self { workers: workers.collect(), maker, next: first, first, end }
    }
}

impl Worker {
    /// A worker for every `step`-th batch from `number` on. It has one finished batch waiting and one in
    /// the making, which bounds the memory.
    fn spawn(mut maker: BatchMaker, mut number: u64, step: u64, end: Option<u64>) -> Self {
        let (send, receive) = sync_channel(1);
        let thread = thread::spawn(move || {
            while end.is_none_or(|end| number < end) {
                let Some(prepared) = maker.make(number) else { break };
                // Sending fails when nobody listens any more.
                if send.send(prepared).is_err() {
                    break;
                }
                number += step;
            }
        });
        Self { receive: Some(receive), thread: Some(thread) }
    }
}
