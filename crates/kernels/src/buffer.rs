//! Buffers that are used again instead of being freed and zeroed.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::memory::prefer_large_pages;

/// A slice of numbers with arbitrary content until written, which is kept for others when dropped. Fresh memory
/// is dear: the system zeroes it, and the first touch of every page traps.
#[derive(Debug)]
pub struct Buffer {
    values: Vec<f32>,
    pool: &'static Pool,
    /// The shelf of the thread that took it, where it goes back to.
    home: usize,
}

/// Buffers that are in use or wait to be.
#[derive(Debug)]
struct Pool {
    /// Every thread of the kernels has a shelf of its own, so that a buffer is found where its core may still
    /// have it in its cache, and threads do not wait for each other; the first is that of all other threads.
    shelves: [Shelf; 65],
    /// Numbers in buffers that are in use, and the most that ever were.
    live: AtomicUsize,
    peak: AtomicUsize,
    /// Numbers in unused ones, which are not more than that most either.
    free: AtomicUsize,
}

/// Unused buffers of a thread, by length.
type Shelf = Mutex<BTreeMap<usize, Vec<Vec<f32>>>>;

static POOL: Pool = Pool::new();

/// The shelf of the calling thread.
fn home() -> usize {
    rayon::current_thread_index().map_or(0, |index| 1 + index % (POOL.shelves.len() - 1))
}

impl Pool {
    const fn new() -> Self {
        Self {
            shelves: [const { Mutex::new(BTreeMap::new()) }; 65],
            live: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            free: AtomicUsize::new(0),
        }
    }

    fn shelf(&self, index: usize) -> MutexGuard<'_, BTreeMap<usize, Vec<Vec<f32>>>> {
        self.shelves[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self, len: usize) -> Buffer {
        let home = home();
        // The own shelf first, then those of others that compute.
        let shelves = 1 + rayon::current_num_threads().min(self.shelves.len() - 1);
        let kept = (0..shelves).find_map(|i| self.shelf((home + i) % shelves).get_mut(&len)?.pop());
        if kept.is_some() {
            self.free.fetch_sub(len, Ordering::Relaxed);
        }
        self.counted(kept.unwrap_or_else(|| self.fresh(len)), home)
    }

    /// Memory of the system, which zeroes it; unused buffers of other lengths make room for it.
    fn fresh(&self, len: usize) -> Vec<f32> {
        for index in 0..self.shelves.len() {
            while !self.has_room_for(len)
                && let Some((length, mut buffers)) = self.shelf(index).pop_first()
            {
                self.free.fetch_sub(length * buffers.len(), Ordering::Relaxed);
                buffers.clear();
            }
        }
        let values = vec![0.0; len];
        prefer_large_pages(&values);
        values
    }

    /// Whether so many numbers more are below twice the most that was ever in use. Less would not do: a step has
    /// buffers of other lengths at its begin than at its end, and they would be freed and made in turns.
    fn has_room_for(&self, len: usize) -> bool {
        let [live, free, peak] =
            [&self.live, &self.free, &self.peak].map(|count| count.load(Ordering::Relaxed));
        live + free + len <= 2 * peak || free == 0
    }

    fn counted(&'static self, values: Vec<f32>, home: usize) -> Buffer {
        let live = self.live.fetch_add(values.len(), Ordering::Relaxed) + values.len();
        self.peak.fetch_max(live, Ordering::Relaxed);
        Buffer { values, pool: self, home }
    }

    fn keep(&self, values: Vec<f32>, home: usize) {
        let len = values.len();
        self.live.fetch_sub(len, Ordering::Relaxed);
        let (free, peak) = (self.free.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed));
        if len > 0 && free + len <= peak {
            self.free.fetch_add(len, Ordering::Relaxed);
            self.shelf(home).entry(len).or_default().push(values);
        }
    }
}

impl Buffer {
    /// A buffer of this length, with whatever it last held.
    pub fn take(len: usize) -> Self {
        POOL.take(len)
    }

    /// A buffer of zeros.
    pub fn zeros(len: usize) -> Self {
        let mut zeros = Self::take(len);
        zeros.fill(0.0);
        zeros
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = self.pool.take(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::take(0)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.keep(std::mem::take(&mut self.values), self.home);
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

/// A [`Buffer`] that begins at the start of a line of the cache: a vector that lies on two of them
/// takes two loads.
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    buffer: Buffer,
    start: usize,
}

impl AlignedBuffer {
    const LINE: usize = 64;

    /// See [`Buffer::take`].
    pub(crate) fn take(len: usize) -> Self {
        let spare = Self::LINE / size_of::<f32>();
        let buffer = Buffer::take(len + spare);
        let start = buffer.as_ptr().align_offset(Self::LINE).min(spare);
        Self { buffer, start }
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[self.start..]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use rayon::prelude::*;

    /// A pool that no other test uses.
    fn pool() -> &'static Pool {
        Box::leak(Box::new(Pool::new()))
    }

    fn threads(count: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(count).build().expect("threads")
    }

    #[test]
    fn a_dropped_buffer_is_used_again_by_any_thread() {
        let (pool, threads) = (pool(), threads(3));
        let mut first = pool.take(100);
        first[5] = 7.0;
        let place = first.as_ptr();
        drop(first);
        let second = pool.take(100);
        assert_eq!((second.as_ptr(), second[5], second.len()), (place, 7.0, 100));
        threads.install(|| drop(second));
        let third = threads.install(|| pool.take(100));
        assert_eq!(third.as_ptr(), place);
        let copy = third.clone();
        assert!(copy == third && copy.as_ptr() != place);
        assert_eq!(Buffer::zeros(100)[..], [0.0; 100]);
    }

    /// Whoever drops them, the same buffers go round: step after step none is added.
    #[test]
    fn steps_take_no_more_memory_than_one() {
        let (pool, threads) = (pool(), threads(4));
        let step = || {
            let buffers: Vec<Buffer> =
                threads.install(|| (0..8).into_par_iter().map(|_| pool.take(100)).collect());
            let places: BTreeSet<usize> = buffers.iter().map(|buffer| buffer.as_ptr() as usize).collect();
            std::thread::spawn(move || drop(buffers)).join().expect("nothing fails");
            places
        };
        let first = step();
        assert_eq!(first.len(), 8);
        assert!((0..20).all(|_| step() == first));
        let counts = [&pool.live, &pool.free, &pool.peak].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counts, [0, 800, 800]);
    }

    #[test]
    fn unused_buffers_make_room_for_others() {
        let pool = pool();
        let counts = || [&pool.live, &pool.free, &pool.peak].map(|count| count.load(Ordering::Relaxed));
        drop((pool.take(60), pool.take(40)));
        let other = pool.take(100);
        assert_eq!(counts(), [100, 100, 100], "twice the peak is there");
        let third = pool.take(10);
        assert_eq!(counts(), [110, 60, 110], "the least of the unused ones has gone");
        drop((other, third));
        assert_eq!(counts(), [0, 70, 110], "not more than the peak waits");
    }
}
