//! Which shards a path names, and the parts of a data set that they are: tar archives or Parquet files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::source::Split;
use crate::source::listing::{is_data, is_image};
use crate::source::shards::braces::expand;
use crate::source::shards::scan::UNPACK;
use crate::source::split::divisions;

/// A shard, and the part that it is; none if the data are not divided.
pub(in crate::source) type Part = (Option<Split>, PathBuf);

/// Files that hold many images each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Tar,
    Parquet,
}

impl Container {
    const ALL: [Self; 2] = [Self::Tar, Self::Parquet];

    /// The container whose files a path names itself: one, several with commas between them, or braces.
    pub(crate) fn named(path: &Path) -> Option<Self> {
        let is_pattern =
            |ending| path.to_str().is_some_and(|text| text.contains(['{', ',']) && text.contains(ending));
        let is_named = |container: &Self| {
            container.is_one(path)
                || container.is_compressed(path)
                || (!path.exists() && is_pattern(container.ending()))
        };
        Self::ALL.into_iter().find(|container| !path.is_dir() && is_named(container))
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Tar => ".tar",
            Self::Parquet => ".parquet",
        }
    }

    /// Whether a path is that of such a file, by its ending.
    pub(super) fn is_one(self, path: &Path) -> bool {
        ends_with(path, &[self.ending()])
    }

    /// Whether it is one that is compressed as a whole, and cannot be read where it lies.
    fn is_compressed(self, path: &Path) -> bool {
        self == Self::Tar && ends_with(path, &[".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"])
    }

    /// Whether a folder, or every part of a divided one, holds such files, and neither images nor other
    /// folders.
    pub(crate) fn fills(self, path: &Path) -> Result<bool, DataError> {
        let parts = divisions(path)?;
        if parts.is_empty() {
            return self.alone_in(path);
        }
        let all = parts.iter().map(|(_, folder)| self.alone_in(folder)).collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().all(|only| only))
    }

    fn alone_in(self, folder: &Path) -> Result<bool, DataError> {
        let mut found = false;
        for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
            let path = entry.map_err(DataError::io(folder))?.path();
            match &path {
                hidden if is_hidden(hidden) => {}
                shard if self.is_one(shard) || self.is_compressed(shard) => found = true,
                other if other.file_name().is_some_and(|name| !is_data(name)) => {}
                // Arrays beside shards are what somebody has computed of them.
                other if other.extension().is_some_and(|ending| ending == "npy") => {}
                other if other.is_dir() || is_image(other) => return Ok(false),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// The folder that names of images are listed below: that of the path, or the one that all shards of a
/// pattern lie in or below.
pub(crate) fn root(path: &Path) -> &Path {
    let parent = || path.parent().unwrap_or(Path::new(""));
    let Some(text) = path.to_str().filter(|_| !path.exists()) else { return parent() };
    let Ok(names) = expand(text) else { return parent() };
    let plain = Path::new(&text[..text.find(['{', ',']).unwrap_or(text.len())]);
    let holds_all = |folder: &&Path| {
        names.iter().all(|name| Path::new(name).parent().is_some_and(|of| of.starts_with(folder)))
    };
    plain.ancestors().find(holds_all).unwrap_or(Path::new(""))
}

/// The shards that a path names, in order.
///
/// # Errors
/// None there, one that is missing or compressed, some whose names say which part they are and others
/// whose do not.
pub(in crate::source) fn shards(path: &Path, container: Container) -> Result<Vec<Part>, DataError> {
    let parts = if path.is_dir() { in_folder(path, container)? } else { named(path)? };
    if let Some((_, compressed)) = parts.iter().find(|(_, shard)| container.is_compressed(shard)) {
        return Err(refused(compressed, format!("is compressed; {UNPACK}")));
    }
    if let Some((_, other)) = parts.iter().find(|(_, shard)| !container.is_one(shard)) {
        return Err(refused(other, format!("is no {} file", container.ending())));
    }
    let mut seen = BTreeSet::new();
    if let Some((_, twice)) = parts.iter().find(|(_, shard)| !seen.insert(shard)) {
        return Err(refused(twice, "is named twice".to_owned()));
    }
    let is_part = |(split, _): &&Part| split.is_some();
    if let Some((_, other)) = parts.iter().find(|part| !is_part(part))
        && let Some((Some(split), part)) = parts.iter().find(is_part)
    {
        let reason = format!(
            "has a name that tells no part of the data, while {} is {split}; name all of them so, or none",
            part.display()
        );
        return Err(refused(other, reason));
    }
    Ok(parts)
}

/// The shards of a split; all of them if they are not divided.
///
/// # Errors
/// None of that split.
pub(in crate::source) fn of_split(
    path: &Path,
    parts: Vec<Part>,
    split: Split,
) -> Result<Vec<PathBuf>, DataError> {
    let splits = splits(&parts);
    let is_wanted = |of: &Option<Split>| of.is_none_or(|of| of == split);
    let paths = parts.into_iter().filter(|(of, _)| is_wanted(of)).map(|(_, shard)| shard);
    let paths: Vec<PathBuf> = paths.collect();
    match paths.is_empty() {
        true => Err(DataError::no_split(path, split, splits)),
        false => Ok(paths),
    }
}

/// The parts that shards are of, each once.
pub(in crate::source) fn splits(parts: &[Part]) -> Vec<Split> {
    parts.iter().filter_map(|(split, _)| *split).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Shards of a folder, or of its parts.
fn in_folder(path: &Path, container: Container) -> Result<Vec<Part>, DataError> {
    let divisions = divisions(path)?;
    if divisions.is_empty() {
        return Ok(files_in(path, container)?.into_iter().map(|shard| (split_of(&shard), shard)).collect());
    }
    let mut parts = Vec::new();
    for (split, folder) in divisions {
        parts.extend(files_in(&folder, container)?.into_iter().map(|shard| (Some(split), shard)));
    }
    Ok(parts)
}

fn files_in(folder: &Path, container: Container) -> Result<Vec<PathBuf>, DataError> {
    let entries = fs::read_dir(folder).map_err(DataError::io(folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(DataError::io(folder))?;
    let is_one = |path: &Path| container.is_one(path) || container.is_compressed(path);
    paths.retain(|path| is_one(path) && !is_hidden(path) && path.is_file());
    paths.sort();
    match paths.is_empty() {
        true => Err(refused(folder, format!("holds no {} file", container.ending()))),
        false => Ok(paths),
    }
}

/// The shards of a pattern, all of which exist.
fn named(path: &Path) -> Result<Vec<Part>, DataError> {
    let one = || Ok(vec![path.to_string_lossy().into_owned()]);
    let names = if path.exists() { one() } else { expand(&path.to_string_lossy()) };
    let names = names.map_err(DataError::Shards)?;
    let paths: Vec<_> = names.into_iter().map(PathBuf::from).collect();
    let missing: Vec<_> = paths.iter().filter(|path| !path.is_file()).cloned().collect();
    match (missing.len(), paths.len()) {
        (0, _) => {
            // A folder alone may have its name for other reasons, as `dev` has in many homes.
            let folders: BTreeSet<_> = paths.iter().map(|path| folder_split(path)).collect();
            let divide = folders.len() > 1 && !folders.contains(&None);
            let by_folder = |path: &Path| folder_split(path).filter(|_| divide);
            Ok(paths.into_iter().map(|path| (split_of(&path).or(by_folder(&path)), path)).collect())
        }
        (_, 1) => Err(DataError::NotFound(path.to_owned())),
        (_, of) => Err(DataError::MissingShards { missing, of }),
    }
}

/// The part that the folder of a shard is named after.
fn folder_split(shard: &Path) -> Option<Split> {
    Split::named(&shard.parent()?.file_name()?.to_string_lossy())
}

/// The part that the name of a shard tells, as `imagenet1k-validation-07.tar` does; none if it tells two.
fn split_of(shard: &Path) -> Option<Split> {
    let name = shard.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = name.split(|letter: char| !letter.is_alphabetic());
    let found: BTreeSet<_> = words.filter_map(Split::named).collect();
    if found.len() == 1 { found.first().copied() } else { None }
}

fn ends_with(path: &Path, endings: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    endings.iter().any(|ending| name.ends_with(ending))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn refused(path: &Path, reason: String) -> DataError {
    DataError::Shard { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_pattern_is_the_one_that_all_shards_lie_below() {
        for (path, folder) in [
            ("a/b/train-{0..3}.tar", "a/b"),
            ("a/{train,val}/{0..3}.tar", "a"),
            ("a/b/x.tar,a/c/y.tar", "a"),
            ("a/x.tar,a/x-1.tar", "a"),
            ("/d/x.tar", "/d"),
            ("train-{0..3}.tar", ""),
            ("a/x.tar,b/y.tar", ""),
            ("/a/x.tar,/b/y.tar", "/"),
        ] {
            assert_eq!(root(path.as_ref()), Path::new(folder), "{path}");
        }
    }

    #[test]
    fn names_tell_parts() {
        for (name, split) in [
            ("train-000000.tar", Some(Split::Train)),
            ("a/imagenet1k-validation-07.tar", Some(Split::Val)),
            ("val/000.tar", None),
            ("pets_TEST_1.tar", Some(Split::Test)),
            ("trainval-0.tar", None),
            ("train-val-0.tar", None),
            ("shard-0.tar", None),
        ] {
            assert_eq!(split_of(name.as_ref()), split, "{name}");
        }
    }
}
