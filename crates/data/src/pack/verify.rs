//! Reading shards back.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::record::Record;
use super::{Job, refused};
use crate::error::DataError;
use crate::source::{Format, Labels, SHARD_LABEL, Split, in_hexadecimal, open_labelled};

/// Bytes that are read at a time.
const BLOCK: usize = 1 << 20;

/// Reads every byte of all shards and compares them with what was written; and opens the shards as training
/// does, and compares their images with those that were packed. `progress` hears how many bytes have been
/// read, and of how many.
///
/// # Errors
/// The first shard or image that differs.
pub(super) fn verify(
    jobs: &[Job],
    out: &Path,
    record: &Record,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), DataError> {
    let (all, mut done) = (record.shards().map(|(_, shard)| shard.bytes).sum(), 0);
    for (name, shard) in record.shards() {
        let path = out.join(name);
        let mut count = |bytes| {
            done += bytes;
            progress(done, all);
        };
        if digest(&path, &mut count).map_err(DataError::io(&path))? != shard.sha256 {
            let reason = "is not what was written into it; see to the disk, remove it and start again, which \
                          keeps those before it";
            return Err(refused(&path, reason));
        }
    }
    jobs.iter().try_for_each(|job| compare(job, out))
}

/// SHA-256 of a file.
fn digest(path: &Path, progress: &mut dyn FnMut(u64)) -> std::io::Result<String> {
    let (mut file, mut digest, mut block) = (File::open(path)?, Sha256::new(), vec![0; BLOCK]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(in_hexadecimal(&digest.finalize())),
            read => {
                digest.update(&block[..read]);
                progress(read as u64);
            }
        }
    }
}

/// Compares the images of shards with those that were packed, one by one.
fn compare(job: &Job, out: &Path) -> Result<(), DataError> {
    let labels = if job.images.classes().is_empty() { Labels::Ignored } else { Labels::Required };
    let shards = open_labelled(out, Format::Shards, job.split.unwrap_or(Split::Train), labels, SHARD_LABEL)?;
    let differs = |index: &usize| {
        let name = shards.name(*index);
        let key = name.rsplit_once('.').map_or(&name[..], |(key, _)| key);
        !key.ends_with(&format!(".tar{}{}", std::path::MAIN_SEPARATOR, job.keys[*index]))
            || shards.label(*index) != job.images.label(*index)
    };
    if shards.len() != job.keys.len() || shards.classes() != job.images.classes() {
        return Err(refused(out, "does not hold the images or classes that were packed into it"));
    }
    match (0..job.keys.len()).find(differs) {
        None => Ok(()),
        Some(index) => {
            let reason = format!("stands where {} was packed, or has another class", job.keys[index]);
            Err(refused(Path::new(&shards.name(index)), &reason))
        }
    }
}
