//! PyTorch files: a pickle that describes tensors, and their bytes beside it.
//!
//! The pickle is interpreted as far as tensors and dictionaries go, by a [`machine`] that runs nothing.
//! What else is in it (paths, dates, arguments, classes of anybody's) is passed over; what names
//! something that [runs programs](globals) is refused.

mod container;
mod globals;
mod machine;
mod tensors;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::StateDict;

use self::container::{Container, Storages};
use self::machine::Fault;
use self::tensors::{Content, groups};
use crate::error::InteropError;

pub(crate) use self::tensors::Group;

/// How often a number of the file may be in the tensors of a network, on average. Tied weights are in it
/// once and in the network twice; views that repeat it more often would only fill the memory.
const MOST_VIEWS: usize = 4;

/// Whether these are the first bytes of a PyTorch file: an archive or a bare pickle.
pub(crate) fn is_pickle(start: &[u8]) -> bool {
    // The length of a safetensors header may begin with the byte of a pickle; its brace follows.
    start.starts_with(b"PK") || (start.starts_with(&[0x80]) && start.get(8) != Some(&b'{'))
}

/// An open file whose tensors are known, but not read.
#[derive(Debug)]
pub(crate) struct PickleFile {
    path: PathBuf,
    file_len: usize,
    /// Its dictionaries of tensors.
    pub(crate) groups: Vec<Group>,
    storages: Storages,
}

impl PickleFile {
    /// # Errors
    /// A damaged file, one that names what runs something, one without tensors.
    pub(crate) fn open(path: &Path) -> Result<Self, InteropError> {
        let damaged = |reason: String| InteropError::Pickle { path: path.to_owned(), reason };
        let fault = |fault: Fault| match fault {
            Fault::Damaged(reason) => damaged(reason),
            Fault::Dangerous(global) => InteropError::ForeignGlobal { path: path.to_owned(), global },
        };
        let file_len = fs::metadata(path).map_err(InteropError::io(path))?.len();
        let container = Container::open(path).map_err(damaged)?;
        let pickle = container.pickle().map_err(fault)?;
        let groups = groups(&pickle).map_err(damaged)?;
        if groups.is_empty() {
            let items = pickle.object(pickle.root).map(|object| &object.items[..]).unwrap_or_default();
            let keys = items.iter().filter_map(|(key, _)| pickle.key(*key));
            let mut keys: Vec<String> = keys.map(|key| format!("`{key}`")).take(20).collect();
            keys.sort();
            return Err(InteropError::NoWeights { path: path.to_owned(), keys });
        }
        let widths = pickle.storages().filter_map(|storage| {
            Some((pickle.key(storage.key)?, storage.element.map_or(1, |element| element.bytes())))
        });
        let (widths, end): (HashMap<_, _>, _) = (widths.collect(), pickle.end);
        let storages = container.into_storages(&widths, end).map_err(damaged)?;
        Ok(Self { path: path.to_owned(), file_len: file_len as usize, groups, storages })
    }

    /// Reads those tensors of a dictionary that are wanted.
    ///
    /// # Errors
    /// Tensors that are damaged, of a type that no weight has, or larger than the file.
    pub(crate) fn read(
        &mut self,
        group: usize,
        is_wanted: &dyn Fn(&str) -> bool,
    ) -> Result<StateDict, InteropError> {
        let damaged = |reason: String| InteropError::Pickle { path: self.path.clone(), reason };
        let mut wanted = Vec::new();
        for (name, content) in self.groups[group].tensors.iter().filter(|(name, _)| is_wanted(name)) {
            match content {
                Content::Tensor(tensor) => wanted.push((name, tensor)),
                Content::Unknown(class) => {
                    return Err(damaged(format!("`{name}` is made by `{class}`, which is no plain tensor")));
                }
            }
        }
        // A view may repeat its elements without end; a weight of a file is not larger than it.
        let mut viewed: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, tensor) in &wanted {
            let bytes = tensor.bytes().filter(|bytes| *bytes <= self.file_len);
            let shape = &tensor.shape;
            let bytes = bytes
                .ok_or_else(|| damaged(format!("`{name}` of shape {shape:?} is larger than the file")))?;
            let of_storage = viewed.entry(&tensor.storage).or_default();
            *of_storage = of_storage.saturating_add(bytes);
        }
        require_few_views(&viewed, self.file_len, &mut self.storages).map_err(damaged)?;
        // Each storage is read once, and no two are in memory together.
        wanted.sort_by(|a, b| a.1.storage.cmp(&b.1.storage));
        let mut read: Option<(&str, Vec<u8>)> = None;
        let mut weights = StateDict::default();
        for (name, tensor) in wanted {
            let bytes = match read.take().filter(|(key, _)| *key == tensor.storage) {
                Some((_, bytes)) => bytes,
                None => self.storages.read(&tensor.storage).map_err(damaged)?,
            };
            let entry = tensor.entry(&bytes);
            weights.insert(name.clone(), entry.map_err(|reason| damaged(format!("`{name}` {reason}")))?);
            read = Some((&tensor.storage, bytes));
        }
        Ok(weights)
    }
}

/// Refuses tensors that take much more memory than the storages that they are views of, given the bytes
/// that they take of each.
fn require_few_views(
    viewed: &BTreeMap<&str, usize>,
    file_len: usize,
    storages: &mut Storages,
) -> Result<(), String> {
    let (mut stored, mut total) = (0usize, 0usize);
    for (storage, bytes) in viewed {
        stored = stored.saturating_add(storages.size(storage)? as usize);
        total = total.saturating_add(*bytes);
    }
    // Those of a compressed archive may be said to be larger than it.
    let stored = stored.min(file_len);
    let most = viewed.iter().max_by_key(|(_, bytes)| **bytes);
    match most.filter(|_| total > stored.saturating_mul(MOST_VIEWS)) {
        None => Ok(()),
        Some((storage, bytes)) => Err(format!(
            "its tensors repeat the {stored} bytes that they are views of until they are {total}, more than \
             {MOST_VIEWS} times as many; {bytes} are views of storage `{storage}`"
        )),
    }
}

#[cfg(test)]
mod tests;
