//! The tensors of a file, or of several that are one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use checkpoint::StateDict;
use serde::Deserialize;

use crate::error::InteropError;
use crate::networks::Names;
use crate::pickle::{self, PickleFile};
use crate::transformers_config::read_json;

/// How the name of a list of shards ends.
pub(crate) const INDEX_ENDING: &str = ".index.json";

/// Dictionaries of tensors, of which those of a PyTorch file are not read yet.
pub(crate) enum Tensors {
    Loaded(StateDict),
    Pickle(Box<PickleFile>),
}

/// Which file has which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Tensors {
    /// Opens a safetensors file, a PyTorch file, or the shards that an index lists.
    ///
    /// # Errors
    /// A file that is missing, damaged or dangerous.
    pub(crate) fn open(path: &Path) -> Result<Self, InteropError> {
        if path.to_str().is_some_and(|name| name.ends_with(INDEX_ENDING)) {
            return Ok(Self::Loaded(shards(path)?));
        }
        let mut start = Vec::new();
        let read = File::open(path).and_then(|opened| opened.take(16).read_to_end(&mut start));
        read.map_err(InteropError::io(path))?;
        Ok(match pickle::is_pickle(&start) {
            true => Self::Pickle(Box::new(PickleFile::open(path)?)),
            false => Self::Loaded(StateDict::load(path)?),
        })
    }

    /// Keys and names of the dictionaries.
    pub(crate) fn groups(&self) -> Vec<Names<'_>> {
        match self {
            Self::Loaded(tensors) => vec![Names { key: "", names: tensors.names().collect() }],
            Self::Pickle(file) => {
                let groups = file.groups.iter();
                groups.map(|group| Names { key: &group.key, names: group.names().collect() }).collect()
            }
        }
    }

    /// Those tensors of a dictionary that are wanted.
    ///
    /// # Errors
    /// Tensors that cannot be read.
    pub(crate) fn take(
        self,
        group: usize,
        is_wanted: &dyn Fn(&str) -> bool,
    ) -> Result<StateDict, InteropError> {
        match self {
            Self::Loaded(tensors) => Ok(tensors.into_iter().filter(|(name, _)| is_wanted(name)).collect()),
            Self::Pickle(mut file) => file.read(group, is_wanted),
        }
    }
}

/// All tensors of the files that an index lists.
fn shards(index: &Path) -> Result<StateDict, InteropError> {
    let refuse = |reason: String| InteropError::Config { path: index.to_owned(), reason };
    let Index { weight_map } = read_json(index)?;
    let files: BTreeSet<&String> = weight_map.values().collect();
    let mut all = StateDict::default();
    for name in files {
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        // The latter two mean other folders on Windows.
        if !inside || name.is_empty() || name.contains(['\\', ':']) {
            return Err(refuse(format!("names the file `{name}`, which is outside of its folder")));
        }
        let file = index.with_file_name(name);
        if !file.is_file() {
            return Err(refuse(format!("lists the file `{name}`, which is missing beside it")));
        }
        let tensors = Tensors::open(&file)?;
        let bare = tensors.groups().iter().position(|group| group.key.is_empty());
        let bare = bare.ok_or_else(|| refuse(format!("lists `{name}`, which is no state dictionary")))?;
        for (tensor, entry) in tensors.take(bare, &|_| true)? {
            if all.get(&tensor).is_some() {
                return Err(refuse(format!("has `{tensor}` in two of its files, one of them `{name}`")));
            }
            all.insert(tensor, entry);
        }
    }
    match weight_map.iter().find(|(tensor, _)| all.get(tensor).is_none()) {
        Some((tensor, file)) => Err(refuse(format!("says that `{tensor}` is in `{file}`, but it is not"))),
        None => Ok(all),
    }
}
