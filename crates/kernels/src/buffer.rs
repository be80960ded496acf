//! Buffers that are used again instead of being freed and zeroed.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A slice of numbers with arbitrary content until written, which goes back to a common pool when
/// dropped. Fresh memory is dear: the system zeroes it, and the first touch of every page traps.
#[derive(Debug, PartialEq)]
pub struct Buffer(Vec<f32>);

/// Unused buffers by length.
struct Pool {
    free: BTreeMap<usize, Vec<Free>>,
    free_len: usize,
    live_len: usize,
    /// The most that was ever in use; no more than this is kept unused.
    peak_len: usize,
}

/// An unused buffer, and the thread that used it last: it may still lie in the cache of that one's core.
struct Free {
    thread: Option<usize>,
    values: Vec<f32>,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: BTreeMap::new(), free_len: 0, live_len: 0, peak_len: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buffer {
    /// A buffer of this length, with whatever it last held.
    pub fn take(len: usize) -> Self {
        let mut pool = pool();
        pool.live_len += len;
        pool.peak_len = pool.peak_len.max(pool.live_len);
        match pool.free.get_mut(&len).and_then(pick) {
            Some(values) => {
                pool.free_len -= len;
                Self(values)
            }
            None => {
                drop(pool);
                Self(vec![0.0; len])
            }
        }
    }
}

/// The one that this thread used last, or else the one that others left longest ago.
fn pick(free: &mut Vec<Free>) -> Option<Vec<f32>> {
    let here = rayon::current_thread_index();
    let own = free.iter().rposition(|free| free.thread == here);
    (!free.is_empty()).then(|| free.remove(own.unwrap_or(0)).values)
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.0);
        let mut pool = pool();
        pool.live_len -= values.len();
        if pool.free_len + values.len() <= pool.peak_len {
            pool.free_len += values.len();
            let free = Free { thread: rayon::current_thread_index(), values };
            pool.free.entry(free.values.len()).or_default().push(free);
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
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

/// A vector for results, all of which are written before any is read. The system's memory is not
/// cleared first: that took as long as some of the kernels, on one thread while the others waited.
pub(crate) fn unwritten(len: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is there, any bits are an f32, and kernels write every value first.
    #[allow(unsafe_code, clippy::uninit_vec, reason = "clearing memory twice is what this avoids")]
    unsafe {
        values.set_len(len);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_for_results_holds_what_is_written() {
        let mut values = unwritten(1000);
        values.iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
        assert_eq!((values.len(), values.iter().sum::<f32>()), (1000, 499_500.0));
    }

    #[test]
    fn a_dropped_buffer_is_used_again() {
        // A length that no other test takes, and room for it in the pool beside theirs.
        const LEN: usize = 12_347;
        let _room = Buffer::take(1 << 22);
        let mut first = Buffer::take(LEN);
        first[5] = 7.0;
        let place = first.as_ptr();
        drop(first);
        let second = Buffer::take(LEN);
        assert_eq!((second.as_ptr(), second[5], second.len()), (place, 7.0, LEN));
    }
}
