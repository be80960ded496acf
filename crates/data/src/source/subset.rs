//! Part of a source.

use std::sync::Arc;

use burn_dataset::Dataset;

use crate::error::DataError;
use crate::source::{ImageSource, LeftOut, Sample, Stored, Target, Task};

/// Some images of a source, with the classes of the whole.
pub struct Subset {
    source: Arc<dyn ImageSource>,
    indices: Vec<usize>,
}

impl Subset {
    /// The images of a source for whose index `keep` holds.
    pub fn new(source: &Arc<dyn ImageSource>, keep: impl Fn(usize) -> bool) -> Self {
        let indices = (0..source.len()).filter(|index| keep(*index)).collect();
        Self { source: Arc::clone(source), indices }
    }
}

impl Dataset<Sample, DataError> for Subset {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        self.source.get(self.indices[index])
    }

    fn len(&self) -> usize {
        self.indices.len()
    }
}

impl ImageSource for Subset {
    fn classes(&self) -> &[String] {
        self.source.classes()
    }

    fn task(&self) -> Task {
        self.source.task()
    }

    fn left_out(&self) -> LeftOut {
        self.source.left_out()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.source.label(self.indices[index])
    }

    fn target(&self, index: usize) -> Target {
        self.source.target(self.indices[index])
    }

    fn shards(&self) -> Option<Vec<usize>> {
        let (mut rest, mut end) = (&self.indices[..], 0);
        let mut of_shard = |images: usize| {
            end += images;
            // Indices are kept in order.
            let (shard, others) = rest.split_at(rest.partition_point(|index| *index < end));
            rest = others;
            shard.len()
        };
        Some(self.source.shards()?.into_iter().map(&mut of_shard).collect())
    }

    fn bytes(&self, index: usize) -> u64 {
        self.source.bytes(self.indices[index])
    }

    fn name(&self, index: usize) -> String {
        self.source.name(self.indices[index])
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        self.source.read(self.indices[index])
    }
}
