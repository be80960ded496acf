//! Writing tar shards.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tar::{Builder, Header};
use whole::{NewFile, Unwritten};

use crate::error::{DataError, EXTENSIONS};
use crate::source::shards::CLASSES_FILE;
use crate::source::shards::scan::key_and_ending;

/// How large a shard may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardLimits {
    /// Images of a shard.
    pub images: usize,
    /// Bytes of a shard's images; one image alone may have more.
    pub bytes: u64,
}

impl Default for ShardLimits {
    /// The limits of WebDataset's own writer.
    fn default() -> Self {
        Self { images: 100_000, bytes: 3_000_000_000 }
    }
}

/// Writes images into shards `NAME-000000.tar`, `NAME-000001.tar`, …, and the names of their classes into
/// `classes.txt` beside them. The same images make the same bytes. A shard gets its name when it is
/// complete; one that is not is removed.
pub struct ShardWriter {
    folder: PathBuf,
    name: String,
    classes: usize,
    limits: ShardLimits,
    /// Shards that were there before.
    before: usize,
    written: Vec<WrittenShard>,
    open: Option<Open>,
}

/// A shard that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenShard {
    /// The shard.
    pub path: PathBuf,
    /// Its images.
    pub images: usize,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of what was to be written, in hexadecimal.
    pub sha256: String,
}

/// A shard that is being written.
struct Open {
    archive: Builder<Hashed>,
    keys: HashSet<String>,
    bytes: u64,
}

impl ShardWriter {
    /// A writer of shards of this name; the folder is made if need be.
    ///
    /// # Errors
    /// A folder that cannot be written, has shards of this name, or a list of other classes.
    pub fn new(
        folder: &Path,
        name: &str,
        classes: &[String],
        limits: ShardLimits,
    ) -> Result<Self, DataError> {
        fs::create_dir_all(folder).map_err(DataError::unwritten(folder))?;
        for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
            let entry = entry.map_err(DataError::io(folder))?.file_name();
            let entry = entry.to_string_lossy();
            if entry.starts_with(&format!("{name}-")) && entry.ends_with(".tar") {
                let reason =
                    format!("is there already; remove the shards {name}-*.tar, or choose another name");
                return Err(DataError::Shard { path: folder.join(&*entry), reason });
            }
        }
        Self::behind(folder, name, classes, limits, 0)
    }

    /// A writer that goes on behind so many shards of this name, and replaces others.
    ///
    /// # Errors
    /// A folder that cannot be written, or has a list of other classes.
    pub(crate) fn behind(
        folder: &Path,
        name: &str,
        classes: &[String],
        limits: ShardLimits,
        before: usize,
    ) -> Result<Self, DataError> {
        write_classes(&folder.join(CLASSES_FILE), classes)?;
        let (folder, name) = (folder.to_owned(), name.to_owned());
        Ok(Self { folder, name, classes: classes.len(), limits, before, written: Vec::new(), open: None })
    }

    /// The shards that it has completed.
    pub(crate) fn written(&self) -> &[WrittenShard] {
        &self.written
    }

    /// Appends an image: its key, which is its name without ending and may have folders, its ending, the
    /// bytes of its file, and its class.
    ///
    /// # Errors
    /// A key with a dot in its last part, or one that the shard has already; an ending that no image has; an
    /// unknown class; a shard that cannot be written, which is removed.
    pub fn add(
        &mut self,
        key: &str,
        ending: &str,
        image: &[u8],
        class: Option<u32>,
    ) -> Result<(), DataError> {
        let name = format!("{key}.{ending}");
        let refuse = |reason: &str| {
            Err(DataError::Shard {
                path: self.folder.join(&name),
                reason: format!("cannot be packed: {reason}"),
            })
        };
        if !EXTENSIONS.contains(&ending) {
            return refuse("images do not end so");
        }
        if key_and_ending(&name) != Some((key, ending.to_owned())) {
            return refuse("its name has a dot before its ending, or begins with one");
        }
        if class.is_some_and(|class| class as usize >= self.classes) {
            return refuse("its class has no name");
        }
        let size = image.len() as u64;
        if self.open.as_ref().is_some_and(|open| open.is_full(size, self.limits)) {
            self.complete()?;
        }
        let path = self.path();
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::create(&path)?),
        };
        if !open.keys.insert(key.to_owned()) {
            return Err(DataError::Shard { path, reason: format!("would hold two samples `{key}`") });
        }
        let written = open.append(&name, image, class.map(|class| (format!("{key}.cls"), class)));
        if written.is_err() {
            self.open = None;
        }
        written.map_err(DataError::unwritten(path))
    }

    /// Completes the last shard, and gives all.
    ///
    /// # Errors
    /// A shard that cannot be written.
    pub fn finish(mut self) -> Result<Vec<WrittenShard>, DataError> {
        self.complete()?;
        Ok(std::mem::take(&mut self.written))
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}-{:06}.tar", self.name, self.before + self.written.len()))
    }

    fn complete(&mut self) -> Result<(), DataError> {
        let path = self.path();
        let Some(open) = self.open.take() else { return Ok(()) };
        let file = open.archive.into_inner().map_err(DataError::unwritten(&path))?;
        let (bytes, sha256) = file.publish()?;
        self.written.push(WrittenShard { path, images: open.keys.len(), bytes, sha256 });
        Ok(())
    }
}

impl Open {
    fn create(path: &Path) -> Result<Self, Unwritten> {
        let archive = Builder::new(Hashed::new(NewFile::create(path)?));
        Ok(Self { archive, keys: HashSet::new(), bytes: 0 })
    }

    fn is_full(&self, more: u64, limits: ShardLimits) -> bool {
        self.keys.len() >= limits.images || self.bytes + more > limits.bytes
    }

    fn append(&mut self, name: &str, image: &[u8], class: Option<(String, u32)>) -> io::Result<()> {
        self.bytes += image.len() as u64;
        self.archive.append_data(&mut header(image.len()), name, image)?;
        let Some((name, class)) = class else { return Ok(()) };
        let class = class.to_string();
        self.archive.append_data(&mut header(class.len()), name, class.as_bytes())
    }
}

/// A header without anything that differs from one machine or day to another.
fn header(bytes: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(bytes as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A file, and a digest of what is written to it.
struct Hashed {
    file: NewFile,
    bytes: u64,
    digest: Sha256,
}

impl Hashed {
    fn new(file: NewFile) -> Self {
        Self { file, bytes: 0, digest: Sha256::new() }
    }

    /// Gives the file its name once its bytes are on the disk; their number and their digest.
    fn publish(self) -> Result<(u64, String), Unwritten> {
        self.file.finish()?;
        Ok((self.bytes, in_hexadecimal(&self.digest.finalize())))
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes as text.
pub(crate) fn in_hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the names of classes, a line each; there may be the same file already, of other shards.
fn write_classes(path: &Path, classes: &[String]) -> Result<(), DataError> {
    if classes.is_empty() {
        return Ok(());
    }
    let refuse = |reason: String| Err(DataError::ClassMap { path: path.to_owned(), reason });
    if let Some(class) = classes.iter().find(|class| class.trim().is_empty() || class.contains(['\n', '\r']))
    {
        return refuse(format!("cannot list the class {class:?}: a line is the name of a class"));
    }
    let text: String = classes.iter().map(|class| format!("{class}\n")).collect();
    match fs::read(path) {
        Ok(there) if there == text.as_bytes() => return Ok(()),
        Ok(_) => return refuse("lists other classes; pack these images into another folder".to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(DataError::io(path)(error)),
        Err(_) => {}
    }
    Ok(whole::write(path, text.as_bytes())?)
}
