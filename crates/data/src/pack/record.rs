//! What is packed into a folder, and how far that has come.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{PackOptions, refused};
use crate::error::DataError;
use crate::source::{CLASSES_FILE, Split, WrittenShard, is_data};

/// The file of the folder.
const RECORD_FILE: &str = ".pack.json";
/// Version of the file, and of the way in which images are packed.
const VERSION: u32 = 1;

/// What is to be packed, and how; all that the bytes of the shards follow from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    version: u32,
    short_side: Option<u32>,
    quality: Option<u8>,
    shard_images: usize,
    shard_bytes: u64,
    parts: Vec<PartOrder>,
}

/// The images of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PartOrder {
    pub(super) name: String,
    pub(super) images: usize,
    /// Digest of their names, sizes and classes.
    pub(super) sha256: String,
}

/// A shard that is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Complete {
    pub(super) images: usize,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Kept {
    order: Order,
    /// Complete shards by the name of their part, in order.
    shards: BTreeMap<String, Vec<Complete>>,
}

/// What is packed into a folder, and the shards that are complete.
pub(super) struct Record {
    folder: PathBuf,
    kept: Kept,
}

impl Order {
    pub(super) fn of(options: &PackOptions, parts: Vec<PartOrder>) -> Self {
        Self {
            version: VERSION,
            short_side: options.resize.map(|resize| resize.short_side),
            quality: options.resize.map(|resize| resize.quality),
            shard_images: options.limits.images,
            shard_bytes: options.limits.bytes,
            parts,
        }
    }

    /// In what another one differs, in words.
    fn difference(&self, other: &Self) -> &'static str {
        match self.parts == other.parts {
            false => "other images (or these have changed)",
            true => "other settings",
        }
    }
}

impl Record {
    /// That of a folder, which is made if need be.
    ///
    /// # Errors
    /// A folder with other things in it, or with shards of another order, unless they are to be replaced; one
    /// that cannot be read or written.
    pub(super) fn open(folder: &Path, order: Order, overwrite: bool) -> Result<Self, DataError> {
        fs::create_dir_all(folder).map_err(DataError::unwritten(folder))?;
        let found = if overwrite { None } else { read(&folder.join(RECORD_FILE))? };
        let kept = match found {
            Some(kept) if kept.order == order => kept,
            Some(kept) => {
                let difference = kept.order.difference(&order);
                let reason = format!(
                    "was begun with {difference}; --overwrite replaces its shards, --out names another folder"
                );
                return Err(refused(folder, &reason));
            }
            None => {
                if overwrite {
                    clear(folder)?
                } else {
                    refuse_content(folder)?
                }
                Kept { order, shards: BTreeMap::new() }
            }
        };
        let record = Self { folder: folder.to_owned(), kept };
        record.write()?;
        Ok(record)
    }

    /// The complete shards of a part that are still there, from the first on, and the images in them; others
    /// are forgotten.
    pub(super) fn keep(&mut self, part: &str) -> Result<(usize, usize), DataError> {
        let shards = self.kept.shards.entry(part.to_owned()).or_default();
        let is_there = |(number, shard): &(usize, &Complete)| {
            let path = self.folder.join(shard_name(part, *number));
            fs::metadata(path).is_ok_and(|file| file.len() == shard.bytes)
        };
        let whole = shards.iter().enumerate().take_while(is_there).count();
        if whole < shards.len() {
            shards.truncate(whole);
            self.write()?;
        }
        let images = self.kept.shards[part].iter().map(|shard| shard.images).sum();
        Ok((whole, images))
    }

    /// Notes those of the shards behind the first `before` that are not noted yet.
    pub(super) fn note(
        &mut self,
        part: &str,
        before: usize,
        written: &[WrittenShard],
    ) -> Result<(), DataError> {
        let shards = self.kept.shards.entry(part.to_owned()).or_default();
        let new = written.get(shards.len() - before..).unwrap_or_default();
        if new.is_empty() {
            return Ok(());
        }
        shards.extend(new.iter().map(|shard| Complete {
            images: shard.images,
            bytes: shard.bytes,
            sha256: shard.sha256.clone(),
        }));
        self.write()
    }

    /// The names of all shards, in the order of the parts.
    pub(super) fn shards(&self) -> impl Iterator<Item = (String, &Complete)> {
        self.kept.order.parts.iter().flat_map(|part| {
            let shards = self.kept.shards.get(&part.name).into_iter().flatten().enumerate();
            shards.map(|(number, shard)| (shard_name(&part.name, number), shard))
        })
    }

    fn write(&self) -> Result<(), DataError> {
        let path = self.folder.join(RECORD_FILE);
        let text = serde_json::to_vec(&self.kept).map_err(std::io::Error::other);
        let text = text.map_err(DataError::unwritten(&path))?;
        Ok(whole::write(&path, &text)?)
    }
}

fn shard_name(part: &str, number: usize) -> String {
    format!("{part}-{number:06}.tar")
}

fn read(path: &Path) -> Result<Option<Kept>, DataError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| DataError::Damaged {
            path: path.to_owned(),
            reason: format!("{error}; --overwrite packs anew"),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DataError::io(path)(error)),
    }
}

/// The names of what lies in a folder.
fn names(folder: &Path) -> Result<Vec<String>, DataError> {
    let entries = fs::read_dir(folder).map_err(DataError::io(folder))?;
    let name = |entry: std::io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = entries.map(name).collect::<std::io::Result<Vec<_>>>().map_err(DataError::io(folder))?;
    names.sort();
    Ok(names)
}

fn refuse_content(folder: &Path) -> Result<(), DataError> {
    match names(folder)?.into_iter().find(|name| is_data(name.as_ref())) {
        Some(name) => Err(refused(
            folder,
            &format!(
                "has other things in it ({name}); --out names another folder, --overwrite replaces shards"
            ),
        )),
        None => Ok(()),
    }
}

/// Removes shards, what belongs to them, and the record. Whatever else is there stays.
fn clear(folder: &Path) -> Result<(), DataError> {
    let ours = names(folder)?.into_iter().filter(|name| is_ours(name));
    ours.map(|name| folder.join(name))
        .try_for_each(|path| fs::remove_file(&path).map_err(DataError::io(path)))
}

fn is_ours(name: &str) -> bool {
    let plain = name.trim_start_matches('.');
    let numbered = |of: &str| {
        let rest = plain.strip_prefix(of)?.strip_prefix('-')?;
        let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
        Some(end >= 6 && rest[end..].starts_with(".tar"))
    };
    let parts = Split::ALL.map(|split| split.to_string());
    let is_shard = parts.iter().map(String::as_str).chain(["images"]).any(|of| numbered(of) == Some(true));
    is_shard || name == CLASSES_FILE || name == RECORD_FILE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_what_was_packed_is_replaced() {
        for name in ["train-000000.tar", ".val-000012.tar.part", ".images-000001.tar.index", "classes.txt"] {
            assert!(is_ours(name), "{name}");
        }
        for name in ["train.tar", "train-1.tar", "pets-000000.tar", "images", "train-000000", "photo.jpg"] {
            assert!(!is_ours(name), "{name}");
        }
    }
}
