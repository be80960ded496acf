//! Threads that make the pieces of batches ahead of time.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::DataError;
use crate::loader::batch::Batch;
use crate::loader::samples::{BatchMaker, Piece};

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
    receive: Option<Receiver<Piece>>,
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
        let pieces = self.maker.shared.pieces() as u64;
        let (mut batch, mut unreadable) = (None, BTreeMap::new());
        // All of them, also behind an error: the next batch begins behind the last one.
        for piece in number * pieces..(number + 1) * pieces {
            let piece = match self.piece(piece)? {
                Ok(piece) => piece,
                Err(error) => return Some(Err(error)),
            };
            unreadable.extend(piece.unreadable);
            batch = Some(match (batch, piece.images) {
                (None, images) | (Some(Ok(_)), images @ Err(_)) => images,
                (Some(Err(error)), _) => Err(error),
                (Some(Ok(mut batch)), Ok(images)) => Batch::append(&mut batch, images).map(|()| batch),
            });
        }
        // Counted on delivery: workers run ahead, and how far must not decide when a run fails.
        Some(self.maker.shared.record_corrupt(unreadable).and(batch?))
    }
}

impl Batches {
    /// The batches from number `first` on, up to number `end` if there is one, made by so many threads;
    /// by none, each is made when it is asked for.
    pub(super) fn start(maker: BatchMaker, workers: usize, first: u64, end: Option<u64>) -> Self {
        let pieces = maker.shared.pieces() as u64;
        let (step, end_piece) = (workers as u64, end.map(|end| end * pieces));
        let from = first * pieces;
        let workers = (0..step).map(|worker| Worker::spawn(maker.clone(), from + worker, step, end_piece));
        Self { workers: workers.collect(), maker, next: first, first, end }
    }

    /// The piece of a number; none once it is not wanted any more.
    fn piece(&mut self, number: u64) -> Option<Result<Piece, DataError>> {
        if self.workers.is_empty() {
            return self.maker.make(number).map(Ok);
        }
        let first = self.first * self.maker.shared.pieces() as u64;
        let worker = (number - first) as usize % self.workers.len();
        let piece = self.workers[worker].receive.as_ref()?.recv();
        Some(piece.map_err(|_| DataError::WorkerPanicked))
    }
}

impl Worker {
    /// A worker for every `step`-th piece from `number` on. It has a few finished pieces waiting and one
    /// in the making, which bounds the memory.
    fn spawn(mut maker: BatchMaker, mut number: u64, step: u64, end: Option<u64>) -> Self {
        let (send, receive) = sync_channel(maker.shared.pieces_ahead());
        let thread = thread::spawn(move || {
            while end.is_none_or(|end| number < end) {
                let Some(piece) = maker.make(number) else { break };
                // Sending fails when nobody listens any more.
                if send.send(piece).is_err() {
                    break;
                }
                number += step;
            }
        });
        Self { receive: Some(receive), thread: Some(thread) }
    }
}
