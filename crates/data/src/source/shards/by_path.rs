//! Images by their paths, whether they are files or lie in shards.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::image_list::normal;
use crate::source::shards::{Container, TarShards};
use crate::source::{ImageSource, Stored};

/// Reads images by their paths; shards are opened when they are needed.
#[derive(Default)]
pub(crate) struct ByPath(HashMap<PathBuf, Option<Names>>);

/// A shard, and the numbers of its images by name.
struct Names {
    shard: TarShards,
    numbers: HashMap<String, usize>,
}

impl ByPath {
    /// The bytes of an image; none if it cannot be read.
    pub(crate) fn read(&mut self, path: &Path) -> Option<Vec<u8>> {
        let Some(shard) = path.ancestors().skip(1).find(|path| Container::Tar.is_one(path) && path.is_file())
        else {
            return fs::read(path).ok();
        };
        let names = match self.0.get(shard) {
            Some(known) => known.as_ref()?,
            None => self.0.entry(shard.to_owned()).or_insert(Names::of(shard)).as_ref()?,
        };
        let number = *names.numbers.get(&normal(&path.to_string_lossy()))?;
        match names.shard.read(number).ok()? {
            Stored::Encoded(bytes) => Some(bytes),
            Stored::Decoded(_) => None,
        }
    }
}

impl Names {
    fn of(shard: &Path) -> Option<Self> {
        let shard = TarShards::one(shard).ok()?;
        let numbers = (0..shard.images.len()).map(|number| (normal(&shard.name(number)), number)).collect();
        Some(Self { shard, numbers })
    }
}
