//! Images that were decompressed with others of their page, and wait to be asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of a row group, and of a page in it.
pub(super) type Key = (usize, usize);
/// The images of a page by row: none that are null, or were taken.
pub(super) type Images = Vec<Option<Vec<u8>>>;

/// Images that wait, each of which is taken once: an epoch shows every image once, so that those still to
/// come are all that is worth its memory.
pub(super) struct Waiting {
    /// Bytes that may wait.
    most: i64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pages: HashMap<Key, Page>,
    bytes: i64,
    /// Counts what is asked for.
    clock: u64,
}

#[derive(Default)]
struct Page {
    images: Arc<Mutex<Images>>,
    bytes: i64,
    /// When it was asked for last.
    used: u64,
}

impl Waiting {
    pub(super) fn new(most: u64) -> Self {
        Self { most: most as i64, state: Mutex::default() }
    }

    /// Takes the image of a row of a page, which is decoded if the image does not wait; none if it is null.
    ///
    /// # Errors
    /// Those of `decode`.
    pub(super) fn take<E>(
        &self,
        key: Key,
        row: usize,
        decode: impl FnOnce() -> Result<Images, E>,
    ) -> Result<Option<Vec<u8>>, E> {
        let page = self.page(key);
        // Who wants another image of this page waits for it; nobody else does.
        let mut images = page.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = images.get_mut(row).and_then(Option::take) {
            self.settle(key, &page, -(image.len() as i64));
            return Ok(Some(image));
        }
        let mut decoded = decode()?;
        let image = decoded.get_mut(row).and_then(Option::take);
        let (before, after) = (total(&images), total(&decoded));
        if after <= self.most {
            *images = decoded;
            self.settle(key, &page, after - before);
        }
        Ok(image)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, key: Key) -> Arc<Mutex<Images>> {
        let mut state = self.state();
        state.clock += 1;
        let clock = state.clock;
        let page = state.pages.entry(key).or_default();
        page.used = clock;
        Arc::clone(&page.images)
    }

    /// Counts bytes of a page, if it is still the one that is known, and drops the pages that were asked
    /// for longest ago while too many bytes wait.
    fn settle(&self, key: Key, images: &Arc<Mutex<Images>>, bytes: i64) {
        let mut state = self.state();
        let Some(page) = state.pages.get_mut(&key).filter(|page| Arc::ptr_eq(&page.images, images)) else {
            return;
        };
        page.bytes += bytes;
        let is_empty = page.bytes == 0;
        state.bytes += bytes;
        if is_empty {
            state.pages.remove(&key);
        }
        while state.bytes > self.most
            && let Some(oldest) = state.pages.iter().min_by_key(|(_, page)| page.used).map(|(key, _)| *key)
            && let Some(page) = state.pages.remove(&oldest)
        {
            state.bytes -= page.bytes;
        }
    }
}

fn total(images: &Images) -> i64 {
    images.iter().flatten().map(|image| image.len() as i64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn page(images: &[&[u8]]) -> Images {
        images.iter().map(|image| Some(image.to_vec())).collect()
    }

    /// Takes a row of a page of three images of ten bytes, and whether that was decoded.
    fn take(waiting: &Waiting, page_number: usize, row: usize) -> (Option<Vec<u8>>, bool) {
        let mut decoded = false;
        let image = waiting.take((0, page_number), row, || {
            decoded = true;
            Ok::<_, Infallible>(page(&[&[page_number as u8; 10], &[1; 10], &[2; 10]]))
        });
        (image.unwrap(), decoded)
    }

    #[test]
    fn a_page_is_decoded_once_for_all_its_images() {
        let waiting = Waiting::new(100);
        assert_eq!(take(&waiting, 7, 1), (Some(vec![1; 10]), true));
        assert_eq!(take(&waiting, 7, 0), (Some(vec![7; 10]), false));
        assert_eq!(take(&waiting, 7, 2), (Some(vec![2; 10]), false));
        assert!(waiting.state().pages.is_empty());
        assert_eq!(take(&waiting, 7, 1), (Some(vec![1; 10]), true));
        assert_eq!(take(&waiting, 7, 1), (Some(vec![1; 10]), true), "taken before");
        assert_eq!(waiting.state().bytes, 20);
    }

    #[test]
    fn what_waits_is_bounded_and_the_longest_forgotten_goes() {
        let waiting = Waiting::new(45);
        for number in [1, 2] {
            assert!(take(&waiting, number, 0).1);
        }
        assert!(!take(&waiting, 1, 1).1);
        assert!(take(&waiting, 3, 0).1);
        let mut known: Vec<_> = waiting.state().pages.keys().map(|(_, number)| *number).collect();
        known.sort_unstable();
        assert_eq!((known, waiting.state().bytes), (vec![1, 3], 30));
        assert!(take(&waiting, 2, 1).1);
        let small = Waiting::new(19);
        assert_eq!(take(&small, 1, 0), (Some(vec![1; 10]), true));
        assert_eq!((take(&small, 1, 1).1, small.state().bytes), (true, 0), "too large to wait");
    }

    #[test]
    fn rows_without_an_image_and_errors_are_passed_on() {
        let waiting = Waiting::new(100);
        let null = waiting.take((0, 0), 1, || Ok::<_, Infallible>(vec![Some(vec![1]), None]));
        assert_eq!(null, Ok(None));
        assert_eq!(waiting.take((1, 0), 0, || Err("damaged")), Err("damaged"));
    }
}
