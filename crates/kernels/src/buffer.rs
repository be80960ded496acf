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
    free: BTreeMap<usize, Vec<Vec<f32>>>,
    free_len: usize,
    live_len: usize,
    /// The most that was ever in use; no more than this is kept unused.
    peak_len: usize,
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
        match pool.free.get_mut(&len).and_then(Vec::pop) {
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

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.0);
        let mut pool = pool();
        pool.live_len -= values.len();
        if pool.free_len + values.len() <= pool.peak_len {
            pool.free_len += values.len();
            pool.free.entry(values.len()).or_default().push(values);
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

#[cfg(test)]
mod tests {
    use super::*;

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
