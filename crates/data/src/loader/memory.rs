//! Memory that a device reads from, in which threads put batches together.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where memory for batches comes from.
pub trait MemoryPool: Send + Sync {
    /// Memory for a batch of so many images of so many bytes each.
    fn batch(&self, images: usize, bytes: usize) -> Arc<dyn BatchMemory>;
}

/// Memory for the intensities of a batch, image after image. Who made it knows what it is.
pub trait BatchMemory: Any + fmt::Debug + Send + Sync {
    /// Has image number `image` written by `write`, which gets memory for that image alone.
    fn write(&self, image: usize, write: &mut dyn FnMut(&mut [u8]));
}

/// Intensities in memory that a device reads from.
#[derive(Debug, Clone)]
pub struct Staged {
    memory: Arc<dyn BatchMemory>,
    /// The image that is written next.
    place: usize,
}

impl Staged {
    /// The memory, for who made it.
    pub fn memory(self) -> Arc<dyn Any + Send + Sync> {
        self.memory
    }

    /// Has the next image written.
    pub(super) fn write<T>(&self, write: impl FnOnce(&mut [u8]) -> T) -> Option<T> {
        let (mut write, mut result) = (Some(write), None);
        self.memory.write(self.place, &mut |bytes| result = write.take().map(|write| write(bytes)));
        result
    }
}

/// The same memory, whatever is in it.
impl PartialEq for Staged {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }
}

/// The memory of those batches of a sequence that are being put together.
pub(super) struct Assembly {
    pool: Option<Arc<dyn MemoryPool>>,
    /// By the number of the batch.
    open: Mutex<BTreeMap<u64, Arc<dyn BatchMemory>>>,
}

impl Assembly {
    pub(super) fn new(pool: Option<Arc<dyn MemoryPool>>) -> Self {
        Self { pool, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<dyn BatchMemory>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory of an image of a batch, if batches have memory of their own.
    pub(super) fn place(&self, batch: u64, place: usize, images: usize, bytes: usize) -> Option<Staged> {
        let pool = self.pool.as_ref()?;
        let memory = Arc::clone(self.open().entry(batch).or_insert_with(|| pool.batch(images, bytes)));
        Some(Staged { memory, place })
    }

    /// Forgets the memory of a batch that is delivered.
    pub(super) fn close(&self, batch: u64) {
        self.open().remove(&batch);
    }
}
