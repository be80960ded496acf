//! The files around pickles: archives, and the one stream of PyTorch before 1.6.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::read::ZipReadOptions;
use zip::{CompressionMethod, ZipArchive};

use super::machine::{Fault, Pickle};
use super::value::{Node, Value};

/// The largest pickle that is read. Tensors are not in it.
const LARGEST_PICKLE: u64 = 100 << 20;

/// A number that early files begin with, as a pickle has it.
const EARLY_MAGIC: [u8; 12] = [0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The bytes of storages, by their names.
#[derive(Debug)]
pub(super) enum Storages {
    Archive(Archive),
    /// Where each begins, with the number of its elements, and the bytes of one.
    Stream(File, HashMap<String, (u64, u64)>),
}

#[derive(Debug)]
pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// The folder in it, with its slash.
    root: String,
    file_len: u64,
}

/// A file before its pickle is interpreted.
pub(super) struct Container {
    /// What holds the pickle.
    pub(super) bytes: Vec<u8>,
    source: Source,
}

enum Source {
    Archive(Archive),
    Early(File, u64),
    Bare(File),
}

impl Container {
    /// Opens a file.
    ///
    /// # Errors
    /// Why it is no PyTorch file, or cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let mut file = File::open(path).map_err(text)?;
        let file_len = file.metadata().map_err(text)?.len();
        let mut bytes = Vec::new();
        file.by_ref().take(LARGEST_PICKLE).read_to_end(&mut bytes).map_err(text)?;
        if !bytes.starts_with(b"PK") {
            let start = &bytes[..bytes.len().min(64)];
            let is_early = start.windows(EARLY_MAGIC.len()).any(|window| window == EARLY_MAGIC);
            let source = if is_early { Source::Early(file, file_len) } else { Source::Bare(file) };
            return Ok(Self { bytes, source });
        }
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| error.to_string())?;
        let names = zip.file_names().collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let roots = names.iter().filter_map(|name| name.strip_suffix("data.pkl"));
        let root = roots.filter(|root| root.is_empty() || root.ends_with('/')).min_by_key(|root| root.len());
        let root = root.ok_or("the archive has no data.pkl")?.to_owned();
        let mut archive = Archive { zip, root, file_len };
        let byte_order = archive.file("byteorder", 64).unwrap_or_else(|_| b"little".to_vec());
        if byte_order.trim_ascii() != b"little" {
            return Err("it was saved by a big-endian machine".to_owned());
        }
        let bytes = archive.file("data.pkl", LARGEST_PICKLE)?;
        Ok(Self { bytes, source: Source::Archive(archive) })
    }

    /// The pickle of what was saved.
    ///
    /// # Errors
    /// It is damaged or dangerous.
    pub(super) fn pickle(&self) -> Result<Pickle<'_>, Fault> {
        let mut start = 0;
        if let Source::Early(..) = self.source {
            // The magic number, the version of the format, the machine that wrote it.
            for _ in 0..2 {
                start = Pickle::read(&self.bytes, start)?.end;
            }
            let machine = Pickle::read(&self.bytes, start)?;
            let said = machine.object(machine.root).and_then(|about| {
                let is_it =
                    |key: Value| matches!(key, Value::Text(key) if machine.text(key) == "little_endian");
                about.items.iter().find(|(key, _)| is_it(*key)).map(|(_, value)| *value)
            });
            if said != Some(Value::Int(1)) {
                return Err(Fault::Damaged("it was saved by a big-endian machine".to_owned()));
            }
            start = machine.end;
        }
        Pickle::read(&self.bytes, start)
    }

    /// Leaves the pickle behind and keeps open what tensors are read from. `widths`: bytes of an
    /// element of each storage; `end`: where the pickle ends.
    ///
    /// # Errors
    /// Why the storages are not where they should be.
    pub(super) fn into_storages(
        self,
        widths: &HashMap<String, usize>,
        end: usize,
    ) -> Result<Storages, String> {
        Ok(match self.source {
            Source::Archive(archive) => Storages::Archive(archive),
            Source::Early(file, file_len) => {
                let places = early_places(&file, file_len, &self.bytes, widths, end)?;
                Storages::Stream(file, places)
            }
            Source::Bare(file) => Storages::Stream(file, HashMap::new()),
        })
    }
}

/// Where the storages of an early file begin, and the bytes of their elements. A list of their names
/// comes first, then each with the number of its elements.
fn early_places(
    file: &File,
    file_len: u64,
    bytes: &[u8],
    widths: &HashMap<String, usize>,
    end: usize,
) -> Result<HashMap<String, (u64, u64)>, String> {
    let order = Pickle::read(bytes, end).map_err(|_| "the list of its storages is damaged")?;
    let Some(Node::Sequence(keys)) = order.node(order.root) else {
        return Err("the list of its storages is no list".to_owned());
    };
    let mut places = HashMap::new();
    let mut at = order.end as u64;
    for name in keys {
        let name = order.key(*name).ok_or("a storage without a name")?;
        let width = widths.get(&name).copied().unwrap_or(0) as u64;
        let count = early_count(file, at).map_err(|error| error.to_string())?;
        let end = count.checked_mul(width).and_then(|bytes| bytes.checked_add(at + 8));
        places.insert(name, (at, width));
        at = end.filter(|end| *end <= file_len).ok_or("the file is shorter than its storages")?;
    }
    Ok(places)
}

fn early_count(mut file: &File, at: u64) -> io::Result<u64> {
    let mut count = [0; 8];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut count)?;
    Ok(u64::from_le_bytes(count))
}

impl Storages {
    /// Bytes of a storage.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) fn size(&mut self, name: &str) -> Result<u64, String> {
        match self {
            Self::Archive(archive) => archive.size(&format!("data/{name}")),
            Self::Stream(file, places) => {
                let (at, width) = place(places, name)?;
                let count = early_count(file, at).map_err(|error| format!("storage `{name}`: {error}"))?;
                Ok(count.saturating_mul(width))
            }
        }
    }

    /// All bytes of a storage.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) fn read(&mut self, name: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::Archive(archive) => {
                let most = archive.file_len;
                archive.file(&format!("data/{name}"), most)
            }
            Self::Stream(file, places) => {
                let (at, width) = place(places, name)?;
                let read = early_count(file, at).and_then(|count| {
                    let mut bytes = Vec::new();
                    file.take(count.saturating_mul(width)).read_to_end(&mut bytes)?;
                    Ok(bytes)
                });
                read.map_err(|error| format!("storage `{name}`: {error}"))
            }
        }
    }
}

fn place(places: &HashMap<String, (u64, u64)>, name: &str) -> Result<(u64, u64), String> {
    places.get(name).copied().ok_or_else(|| format!("there is no storage `{name}`"))
}

impl Archive {
    /// Bytes of a file in the archive, as it says.
    fn size(&mut self, name: &str) -> Result<u64, String> {
        let full = format!("{}{name}", self.root);
        let problem = |reason: String| format!("`{full}` in the archive: {reason}");
        let index = self.zip.index_for_name(&full).ok_or_else(|| problem("it is missing".to_owned()))?;
        let raw = self.zip.by_index_raw(index).map_err(|error| problem(error.to_string()))?;
        Ok(raw.size())
    }

    /// The bytes of a file in the archive, no more than `most`.
    fn file(&mut self, name: &str, most: u64) -> Result<Vec<u8>, String> {
        let full = format!("{}{name}", self.root);
        let problem = |reason: String| format!("`{full}` in the archive: {reason}");
        let index = self.zip.index_for_name(&full).ok_or_else(|| problem("it is missing".to_owned()))?;
        let raw = self.zip.by_index_raw(index).map_err(|error| problem(error.to_string()))?;
        // PyTorch writes 0 where it is told to compute no checksum.
        let (unchecked, size, stored) = (raw.crc32() == 0, raw.size(), raw.compression());
        drop(raw);
        if size > most {
            return Err(problem(format!("{size} bytes, more than the {most} that there can be")));
        }
        if stored == CompressionMethod::Stored && size > self.file_len {
            return Err(problem("it is longer than the file".to_owned()));
        }
        let options = ZipReadOptions::new().ignore_crc32(unchecked);
        let entry = self.zip.by_index_with_options(index, options);
        let entry = entry.map_err(|error| problem(error.to_string()))?;
        let mut bytes = Vec::new();
        // One byte more, so that the checksum at the end is compared.
        entry.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| problem(e.to_string()))?;
        match bytes.len() as u64 == size {
            true => Ok(bytes),
            false => Err(problem(format!("{} bytes instead of {size}", bytes.len()))),
        }
    }
}
