//! What is in a shard, kept beside it: reading every header again takes long on slow disks.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use serde::{Deserialize, Serialize};

use crate::error::{DataError, EXTENSIONS};
use crate::source::shards::scan::{Scan, scan};

/// Version of the file; others are not read.
const VERSION: u32 = 1;

/// The file: gzipped JSON.
#[derive(Serialize, Deserialize)]
struct Kept {
    basis: Basis,
    scan: Scan,
}

/// What an index follows from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Basis {
    version: u32,
    /// Size of the shard.
    bytes: u64,
    /// When the shard was written: seconds and nanoseconds.
    modified: (u64, u32),
    /// The key of labels in `.json` files; none if they were not read.
    label_key: Option<String>,
    /// Endings of images.
    endings: Vec<String>,
}

impl Basis {
    /// None for a shard from before 1970, or of a disk that keeps no times.
    pub(super) fn of(shard: &Metadata, label_key: Option<&str>) -> Option<Self> {
        let modified = shard.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self {
            version: VERSION,
            bytes: shard.len(),
            modified: (modified.as_secs(), modified.subsec_nanos()),
            label_key: label_key.map(str::to_owned),
            endings: EXTENSIONS.map(str::to_owned).to_vec(),
        })
    }

    /// Whether an index of this basis tells what is wanted; where no key is, labels do not matter.
    fn serves(&self, wanted: &Self) -> bool {
        let label_key = wanted.label_key.as_ref().or(self.label_key.as_ref()).cloned();
        *self == Self { label_key, ..wanted.clone() }
    }
}

/// What is in a shard, and its size: from its index if that is up to date; otherwise from the shard, and
/// the index is written beside it, or into the folder `cache` where that is not possible. It is no error
/// if neither is.
///
/// # Errors
/// A shard that cannot be read or used.
pub(super) fn contents(
    shard: &Path,
    label_key: Option<&str>,
    cache: Option<&Path>,
) -> Result<(Scan, u64), DataError> {
    let file = File::open(shard).map_err(DataError::io(shard))?;
    let metadata = file.metadata().map_err(DataError::io(shard))?;
    let (bytes, basis) = (metadata.len(), Basis::of(&metadata, label_key));
    let places = places(shard, cache);
    if let Some(basis) = &basis
        && let Some(scan) = places.iter().find_map(|place| load(File::open(place).ok()?, basis))
    {
        return Ok((scan, bytes));
    }
    let scan = scan(&file, bytes, label_key)
        .map_err(|reason| DataError::Shard { path: shard.to_owned(), reason })?;
    let Some(basis) = basis else { return Ok((scan, bytes)) };
    let kept = Kept { basis, scan };
    // An index only saves time: where none can be written, the shard is read again.
    let _ = places.iter().find(|place| store(place, &kept).is_ok());
    Ok((kept.scan, bytes))
}

/// Where an index may be: beside the shard, or in the folder `cache` under a name of its own.
fn places(shard: &Path, cache: Option<&Path>) -> Vec<PathBuf> {
    let name = shard.file_name().unwrap_or_default().to_string_lossy();
    let mut places = vec![shard.with_file_name(format!(".{name}.index"))];
    if let (Some(cache), Ok(place)) = (cache, fs::canonicalize(shard)) {
        let mut crc = Crc::new();
        crc.update(place.as_os_str().as_encoded_bytes());
        places.push(cache.join(format!("{:08x}-{name}.index", crc.sum())));
    }
    places
}

/// The folder of this user for what can be made again.
pub(super) fn user_cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || set("HOME").or_else(|| set("USERPROFILE")).map(|user| user.join(".cache"));
    set("XDG_CACHE_HOME").or_else(user).map(|caches| caches.join("train-cli/shards"))
}

/// An index; none if there is none, or it is damaged or of another shard.
pub(super) fn load(file: impl Read, basis: &Basis) -> Option<Scan> {
    let mut text = Vec::new();
    // A sample takes at least two blocks of a shard, and less than one of an index.
    let most = basis.bytes / 2 + (64 << 10);
    GzDecoder::new(file).take(most).read_to_end(&mut text).ok()?;
    let kept: Kept = serde_json::from_slice(&text).ok()?;
    let lies_within = |offset: u64, bytes| offset.checked_add(bytes).is_some_and(|end| end <= basis.bytes);
    let is_whole = kept.scan.samples.iter().all(|sample| lies_within(sample.offset, sample.bytes));
    (kept.basis.serves(basis) && is_whole).then_some(kept.scan)
}

/// Writes an index, whole or not at all.
fn store(path: &Path, kept: &Kept) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    if !folder.as_os_str().is_empty() {
        fs::create_dir_all(folder)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Processes that train together may write at the same time, each a file of its own.
    let part = path.with_file_name(format!("{name}.{}.part", std::process::id()));
    let written = write(&part, kept).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let file = File::create(path)?;
    let mut gzip = GzEncoder::new(file, Compression::fast());
    gzip.write_all(&serde_json::to_vec(kept)?)?;
    // Not waited for: one that a power cut damages is known by its checksum.
    gzip.finish().map(drop)
}
