//! Memory for results, which each thread clears where it is about to write.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Numbers that are not there yet. The system's memory is not cleared as a whole first: that would take as long
/// as some of the kernels, on one thread while the others wait. A part is cleared by the thread that is about to
/// write it, in its own cache.
pub(crate) struct Results {
    values: Box<[MaybeUninit<f32>]>,
    /// Numbers of the last call's parts that have been cleared.
    cleared: AtomicUsize,
}

/// A part of the results.
pub(crate) struct Part<'a> {
    values: &'a mut [MaybeUninit<f32>],
    is_cleared: bool,
    cleared: &'a AtomicUsize,
}

impl Results {
    /// Room for so many numbers.
    pub(crate) fn new(len: usize) -> Self {
        Self { values: Box::new_uninit_slice(len), cleared: AtomicUsize::new(0) }
    }

    /// Parts of `len` numbers each, the last one of the rest. Only those of the last call count in the end.
    pub(crate) fn par_parts(&mut self, len: usize) -> impl IndexedParallelIterator<Item = Part<'_>> {
        *self.cleared.get_mut() = 0;
        let cleared = &self.cleared;
        let values = self.values.par_chunks_mut(len);
        values.map(move |values| Part { values, is_cleared: false, cleared })
    }

    /// The same, one after the other.
    pub(crate) fn parts(&mut self, len: usize) -> impl Iterator<Item = Part<'_>> {
        *self.cleared.get_mut() = 0;
        let cleared = &self.cleared;
        self.values.chunks_mut(len).map(move |values| Part { values, is_cleared: false, cleared })
    }

    /// The numbers.
    ///
    /// # Panics
    /// If a part of the last call has never been looked at.
    pub(crate) fn finish(self) -> Vec<f32> {
        assert_eq!(self.cleared.into_inner(), self.values.len(), "a part of the results was forgotten");
        // SAFETY: as many numbers as there are have been cleared, none of them twice: parts of one call do not
        // overlap, and each call counts anew.
        #[allow(unsafe_code, reason = "the standard library's own function for this")]
        let values = unsafe { self.values.assume_init() };
        values.into_vec()
    }
}

impl Part<'_> {
    /// Numbers.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The numbers, zeros at first.
    pub(crate) fn slice(&mut self) -> &mut [f32] {
        if !self.is_cleared {
            self.values.fill(MaybeUninit::new(0.0));
            self.cleared.fetch_add(self.values.len(), Ordering::Relaxed);
            self.is_cleared = true;
        }
        let (start, len) = (self.values.as_mut_ptr().cast(), self.values.len());
        // SAFETY: all of them have been written, and they are borrowed for as long as the slice.
        #[allow(unsafe_code, reason = "the standard library's function for this is not in all its versions")]
        unsafe {
            std::slice::from_raw_parts_mut(start, len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_begin_as_zeros_and_keep_what_is_written() {
        let mut results = Results::new(10);
        results.par_parts(4).enumerate().for_each(|(i, mut part)| {
            assert_eq!(part.len(), if i == 2 { 2 } else { 4 });
            assert!(part.slice().iter().all(|value| *value == 0.0));
            part.slice()[1] = i as f32;
        });
        assert_eq!(results.finish(), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0]);
        assert!(Results::new(0).finish().is_empty());
    }

    #[test]
    #[should_panic(expected = "forgotten")]
    fn nothing_is_given_away_before_it_is_there() {
        let mut results = Results::new(10);
        // One half twice is not the whole.
        results.parts(5).take(1).for_each(|mut part| part.slice().fill(1.0));
        results.parts(5).take(1).for_each(|mut part| part.slice().fill(1.0));
        results.finish();
    }
}
