//! Packing a data set into tar shards.

mod keys;
mod member;
mod record;
mod verify;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use sha2::{Digest, Sha256};

use crate::data_config::DataConfig;
use crate::decode::DecodeOptions;
use crate::error::DataError;
use crate::parts::Part;
use crate::source::{ImageSource, ShardLimits, ShardWriter, Split, Task, in_hexadecimal, with_classes};
use keys::keys;
use member::{Changed, Member};
use record::{Order, PartOrder, Record};
use verify::verify;

/// Images that are made together on each core, before they are written.
const TOGETHER: usize = 2;

/// How images are packed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PackOptions {
    /// How large images are made smaller; otherwise every file is kept as it is, bit for bit.
    pub resize: Option<Resize>,
    /// How large a shard may become.
    pub limits: ShardLimits,
    /// Whether shards that are there already are replaced.
    pub overwrite: bool,
    /// How images are decoded to be resized.
    pub decode: DecodeOptions,
}

/// How images are made smaller: those whose short side is longer become JPEGs, others stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// Pixels of the short side.
    pub short_side: u32,
    /// Quality of the JPEGs, 1 to 100.
    pub quality: u8,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackStage {
    /// Writing shards; counted in images.
    Write,
    /// Reading them back; counted in bytes.
    Verify,
}

/// What has been packed.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    /// The shards, in order.
    pub shards: Vec<PathBuf>,
    /// Their images.
    pub images: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Images in shards that were complete before.
    pub before: usize,
    /// Images that were made smaller this time.
    pub resized: usize,
    /// Images that were to be made smaller this time and cannot be, which are packed as they are: name and
    /// reason.
    pub kept: Vec<(String, String)>,
}

/// Packs all parts of a data set into a folder: shards `train-000000.tar`, …,
/// or `images-000000.tar` of data that are not divided, in the order of the images, and `classes.txt`.
/// Going on after an interruption keeps complete shards. All are read back before this returns. `progress`
/// hears what is done, how much of it, and of how much.
///
/// # Errors
/// Several labels or numbers an image; parts of different classes; a folder that has other things in it, or
/// shards of other images or settings, unless these are to be replaced; what cannot be read or written; a
/// shard that does not read back as it was written.
pub fn pack(
    data: &DataConfig,
    parts: &[Part],
    out: &Path,
    options: &PackOptions,
    progress: &mut dyn FnMut(PackStage, u64, u64),
) -> Result<Packed, DataError> {
    refuse_own_folder(data, out)?;
    let jobs = jobs(parts, data.root()?)?;
    let order = Order::of(options, jobs.iter().map(Job::order).collect());
    let mut record = Record::open(out, order, options.overwrite)?;
    let mut packed = Packed { images: jobs.iter().map(|job| job.keys.len()).sum(), ..Packed::default() };
    let (all, mut done) = (packed.images as u64, 0);
    for job in &jobs {
        job.write(out, options, &mut record, &mut packed, &mut |images| {
            done += images as u64;
            progress(PackStage::Write, done, all);
        })?;
    }
    verify(&jobs, out, &record, &mut |done, all| progress(PackStage::Verify, done, all))?;
    packed.shards = record.shards().map(|(name, _)| out.join(name)).collect();
    packed.bytes = record.shards().map(|(_, shard)| shard.bytes).sum();
    Ok(packed)
}

/// A part that is packed.
struct Job {
    /// What its shards are called.
    name: String,
    split: Option<Split>,
    images: Arc<dyn ImageSource>,
    /// The name of each image in its shard, without ending.
    keys: Vec<String>,
}

/// The parts, with the same classes.
fn jobs(parts: &[Part], root: &Path) -> Result<Vec<Job>, DataError> {
    let classes = parts.first().map_or(&[][..], |part| part.images.classes());
    let any_has_classes = parts.iter().any(|part| !part.images.classes().is_empty());
    let job = |part: &Part| {
        if part.images.task() != Task::Class {
            let reason =
                "has several labels or numbers an image, and a shard holds one class of each; train \
                          on it as it is"
                    .to_owned();
            return Err(DataError::Shard { path: root.to_owned(), reason });
        }
        if let Some(reason) = part.without_classes.as_ref().filter(|_| any_has_classes) {
            return Err(reason.clone());
        }
        let images = with_classes(Arc::clone(&part.images), classes);
        let images = images.map_err(|error| match part.split {
            Some(Split::Val) => DataError::Validation(Box::new(error)),
            _ => error,
        })?;
        let keys = keys(&*images, root, part.split);
        Ok(Job { name: part.name(), split: part.split, images, keys })
    };
    parts.iter().map(job).collect()
}

impl Job {
    /// What is to be packed, by which a changed one is known.
    fn order(&self) -> PartOrder {
        let mut digest = Sha256::new();
        self.images.classes().iter().for_each(|class| digest.update(format!("{class}\0")));
        for (index, key) in self.keys.iter().enumerate() {
            let (bytes, class) = (self.images.bytes(index), self.images.label(index));
            digest.update(format!("{key}\0{bytes}\0{class:?}\n"));
        }
        let images = self.keys.len();
        PartOrder { name: self.name.clone(), images, sha256: in_hexadecimal(&digest.finalize()) }
    }

    fn write(
        &self,
        out: &Path,
        options: &PackOptions,
        record: &mut Record,
        packed: &mut Packed,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), DataError> {
        let (shards, start) = record.keep(&self.name)?;
        let classes = self.images.classes();
        let mut writer = ShardWriter::behind(out, &self.name, classes, options.limits, shards)?;
        packed.before += start;
        progress(start);
        for range in chunks(start..self.keys.len()) {
            let images = range.len();
            let made: Vec<_> = range
                .clone()
                .into_par_iter()
                .map(|index| Member::of(&*self.images, index, options))
                .collect();
            for (index, member) in range.zip(made) {
                let Member { ending, bytes, changed } = member?;
                match changed {
                    Changed::No => {}
                    Changed::Resized => packed.resized += 1,
                    Changed::Kept(reason) => {
                        packed.kept.push((self.images.name(index), reason));
                    }
                }
                writer.add(&self.keys[index], &ending, &bytes, self.images.label(index))?;
                record.note(&self.name, shards, writer.written())?;
            }
            progress(images);
        }
        let written = writer.finish()?;
        record.note(&self.name, shards, &written)
    }
}

/// Stretches of images that are made together.
fn chunks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let (end, step) = (range.end, TOGETHER * rayon::current_num_threads());
    range.step_by(step).map(move |start| start..(start + step).min(end))
}

/// An error of a folder.
fn refused(path: &Path, reason: &str) -> DataError {
    DataError::Shard { path: path.to_owned(), reason: reason.to_owned() }
}

/// Refuses to write shards among the images that they are made of.
fn refuse_own_folder(data: &DataConfig, out: &Path) -> Result<(), DataError> {
    let here = |path: &Path| path.as_os_str().is_empty();
    let existing = out.ancestors().find(|path| here(path) || path.exists()).unwrap_or(out);
    let existing = if here(existing) { Path::new(".") } else { existing };
    let (Ok(place), Ok(root)) = (fs::canonicalize(existing), fs::canonicalize(data.root()?)) else {
        return Ok(());
    };
    let is_within = place == root && existing == out || data.path()?.is_dir() && place.starts_with(&root);
    match is_within {
        true => Err(refused(out, "lies within the data that are to be packed; --out names another folder")),
        false => Ok(()),
    }
}
