//! Images in Parquet files, as data sets on the Hugging Face Hub have them: read where they lie.

mod chunk;
mod columns;
mod footer;
mod header;
mod labels;
mod waiting;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn_dataset::Dataset;
use parquet::data_type::ByteArrayType;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::error::DataError;
use crate::name::shown;
use crate::source::listing::subfolders;
use crate::source::shards::{Container, OpenFiles, layout};
use crate::source::{ImageSource, Labels, LeftOut, Sample, Split, Stored, decoded};
use chunk::{Chunk, Pages};
use columns::Columns;
use labels::Label;
use waiting::{Images, Waiting};

/// Bytes of decompressed images that wait to be asked for. Where row groups are shuffled, that many images
/// wait as are [mixed](crate::SHUFFLE_BUFFER), and the rest of a row group: of ImageNet, 450 to 560 MB.
const WAITING: u64 = 1 << 30;

/// The folder of Parquet files that a path means: itself, or `data` in it, as in repositories of the Hub. None
/// if neither holds Parquet files without images or folders beside them.
///
/// # Errors
/// Two folders for one split; a folder that cannot be read.
pub(super) fn folder(path: &Path) -> Result<Option<PathBuf>, DataError> {
    if Container::Parquet.fills(path)? {
        return Ok(Some(path.to_owned()));
    }
    let inner = path.join("data");
    let is_alone = || Ok::<_, DataError>(subfolders(path)? == [inner.clone()]);
    Ok(if is_alone()? && Container::Parquet.fills(&inner)? { Some(inner) } else { None })
}

/// Images in Parquet files: a row is an image. Its bytes are in a structure of `bytes` and `path`, as Hugging
/// Face's `datasets` stores them, or in a column of bytes; its class is a number or a text in another column.
///
/// Classes have the names that Hugging Face's metadata give to numbers, or else are called by their numbers.
/// Other columns are [left out](ImageSource::left_out).
///
/// An image is read with those of its page, which is a row group in most files, and these wait for their
/// turn in bounded memory. [`ImageSource::shards`] are the row groups, so that images can be shuffled group
/// by group.
pub struct Parquet {
    files: Vec<File>,
    groups: Vec<Group>,
    labels: Vec<Option<u32>>,
    classes: Vec<String>,
    left_out: LeftOut,
    open: OpenFiles,
    waiting: Waiting,
}

/// A Parquet file.
struct File {
    path: PathBuf,
    /// Its size.
    bytes: u64,
}

/// A row group.
struct Group {
    file: usize,
    /// Number of its first row in the file.
    row: usize,
    /// Number of the image behind its last one.
    end: usize,
    images: Chunk,
    /// Where its images lie, once the first was asked for.
    pages: OnceLock<Pages>,
}

impl Parquet {
    /// The rows of a split: of a `.parquet` file, of several with commas between them, of a pattern such as
    /// `train-{00000..00004}-of-00005.parquet`, or of a folder. Files are divided as
    /// [tar shards](crate::source::TarShards::open) are, by folders or by names. `label` is the column of
    /// classes; without it the only one counts that Hugging Face's metadata describe as one.
    ///
    /// # Errors
    /// A file that is missing, damaged, or has other columns than the first; no images, or several columns
    /// that may be; with labels required, a row without one. File and row are named.
    pub fn open(path: &Path, split: Split, labels: Labels, label: &str) -> Result<Self, DataError> {
        let parts = layout::shards(path, Container::Parquet)?;
        let paths = layout::of_split(path, parts, split)?;
        let sizes = paths.iter().map(|path| fs::metadata(path).map_err(DataError::io(path)));
        let sizes: Vec<_> = sizes.map(|file| file.map(|file| file.len())).collect::<Result<_, _>>()?;
        let files: Vec<_> = paths.into_iter().zip(sizes).map(|(path, bytes)| File { path, bytes }).collect();
        let open = OpenFiles::default();
        // All are read before the first error is told, so that it is the same one each time.
        let scans: Vec<_> = files
            .par_iter()
            .enumerate()
            .map(|(number, file)| Scan::of(file, &|at, bytes| file.read(&open, number, at, bytes), label))
            .collect();
        let scans = scans.into_iter().collect::<Result<Vec<_>, _>>()?;
        Self::of(files, scans, labels, open)
    }

    /// The splits that files are of; none if they are not divided.
    ///
    /// # Errors
    /// Files that are missing, or only some of which are named after a split.
    pub fn splits(path: &Path) -> Result<Vec<Split>, DataError> {
        layout::shards(path, Container::Parquet).map(|parts| layout::splits(&parts))
    }

    fn of(files: Vec<File>, scans: Vec<Scan>, labels: Labels, open: OpenFiles) -> Result<Self, DataError> {
        let columns = scans[0].columns.clone();
        if let Some(other) = scans.iter().position(|scan| scan.columns != columns) {
            let reason = format!("has other columns or classes than {}", files[0].path.display());
            return Err(files[other].unusable(reason));
        }
        let (mut groups, mut rows, mut end) = (Vec::new(), Vec::new(), 0);
        for (file, scan) in scans.into_iter().enumerate() {
            let mut row = 0;
            for (images, count) in scan.images {
                end += count;
                groups.push(Group { file, row, end, images, pages: OnceLock::new() });
                row += count;
            }
            rows.push(scan.labels);
        }
        if end == 0 {
            return Err(DataError::Empty(files[0].path.clone()));
        }
        let rows = rows.into_iter().enumerate();
        let rows = rows.map(|(file, labels)| labels.map_err(|reason| (file, reason)));
        let rows: Result<Vec<_>, _> = rows.collect();
        let labelled = rows.and_then(|rows| labels::classes(&columns, &rows));
        let (classes, classed) = match (labelled, labels) {
            (Ok(labelled), _) => labelled,
            // Images of which some have no class are images without labels.
            (Err(_), Labels::Ignored) => (Vec::new(), vec![None; end]),
            (Err((file, reason)), Labels::Required) => return Err(files[file].unusable(reason)),
        };
        let mut left_out = LeftOut::of(files[0].path.parent().unwrap_or(Path::new("")));
        left_out.add_columns(&columns.ignored);
        Ok(Self { files, groups, labels: classed, classes, left_out, open, waiting: Waiting::new(WAITING) })
    }

    /// The row group of an image, its number, and the row of the image in it.
    fn group(&self, index: usize) -> (usize, &Group, usize) {
        let number = self.groups.partition_point(|group| group.end <= index);
        let start = number.checked_sub(1).map_or(0, |before| self.groups[before].end);
        (number, &self.groups[number], index - start)
    }

    fn encoded(&self, index: usize) -> Result<Vec<u8>, String> {
        let (number, group, row) = self.group(index);
        let file = &self.files[group.file];
        let read = |at, bytes| file.read(&self.open, group.file, at, bytes);
        let pages = group.pages(&read)?;
        let page = pages.data.partition_point(|page| page.first_row + page.rows <= row);
        let place = &pages.data[page];
        let wanted = row - place.first_row;
        let decode = || -> Result<Images, String> {
            let images = group.images.values::<ByteArrayType>(pages, place, &read)?;
            // Rows of a dictionary share their bytes, and copies of them all may be any number.
            let keeps_all = images.iter().flatten().map(|image| image.len() as u64).sum::<u64>() <= WAITING;
            let kept = images.into_iter().enumerate().map(|(at, image)| {
                image.filter(|_| keeps_all || at == wanted).map(|image| image.data().to_vec())
            });
            Ok(kept.collect())
        };
        let image = self.waiting.take((number, page), wanted, decode)?;
        image.ok_or_else(|| "the row has no bytes; images that only `path` names are not read".to_owned())
    }
}

impl File {
    fn read(&self, open: &OpenFiles, number: usize, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        open.read(number, &self.path, self.bytes, (at, bytes))
    }

    fn unusable(&self, reason: String) -> DataError {
        DataError::Shard { path: self.path.clone(), reason }
    }
}

impl Group {
    fn pages(&self, read: chunk::Read) -> Result<&Pages, String> {
        match self.pages.get() {
            Some(pages) => Ok(pages),
            None => {
                let pages = self.images.pages(read)?;
                Ok(self.pages.get_or_init(|| pages))
            }
        }
    }
}

/// What is in a file.
struct Scan {
    columns: Columns,
    /// The images of each row group, and their number.
    images: Vec<(Chunk, usize)>,
    /// The label of every row, or why there are none, as a predicate.
    labels: Result<Vec<Option<Label>>, String>,
}

impl Scan {
    /// Reads the footer and the labels of a file.
    fn of(file: &File, read: chunk::Read, label: &str) -> Result<Self, DataError> {
        let scan = || -> Result<Self, String> {
            let metadata = footer::read(file.bytes, read)?;
            let columns = Columns::find(&metadata, label)?;
            let (mut images, mut labels) = (Vec::new(), Vec::new());
            for group in metadata.row_groups() {
                let rows = usize::try_from(group.num_rows()).unwrap_or(usize::MAX);
                let chunk = Chunk::new(group, columns.image, rows, file.bytes)?;
                // No image takes less than a byte, and so the rows that are claimed cannot fill the memory.
                if rows as u64 > chunk.bytes() {
                    return Err("is damaged: it claims more images than bytes".to_owned());
                }
                if let Ok(label) = &columns.label {
                    labels.push(Chunk::new(group, label.column, rows, file.bytes)?);
                }
                images.push((chunk, rows));
            }
            let label = columns.label.as_ref().map_err(Clone::clone);
            let labels = label.and_then(|column| labels::read(column, &labels, read));
            Ok(Self { columns, images, labels })
        };
        scan().map_err(|reason| file.unusable(reason))
    }
}

impl Dataset<Sample, DataError> for Parquet {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
    }

    fn len(&self) -> usize {
        self.labels.len()
    }
}

impl ImageSource for Parquet {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels[index]
    }

    fn name(&self, index: usize) -> String {
        let (_, group, row) = self.group(index);
        format!("{}:{}", shown(&self.files[group.file].path), group.row + row)
    }

    fn shards(&self) -> Option<Vec<usize>> {
        let starts = [0].into_iter().chain(self.groups.iter().map(|group| group.end));
        Some(self.groups.iter().zip(starts).map(|(group, start)| group.end - start).collect())
    }

    /// Those of all images of the row group: what one takes is known only when it is read.
    fn bytes(&self, index: usize) -> u64 {
        self.group(index).1.images.bytes()
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        let named = |reason| DataError::Io { path: self.name(index).into(), reason };
        self.encoded(index).map(Stored::Encoded).map_err(named)
    }

    fn left_out(&self) -> LeftOut {
        self.left_out.clone()
    }
}
