//! Images and what is known of them, listed in a table.

mod columns;
mod metadata;
mod rows;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn_dataset::Dataset;
use rayon::prelude::*;

use crate::error::DataError;
use crate::name::shown;
use crate::source::table::columns::Columns;
use crate::source::table::rows::{Row, Rows};
use crate::source::{ImageSource, Labels, LeftOut, Sample, Split, Stored, Target, Task, decoded};

pub(super) use metadata::{open_folder, splits as splits_of_folder};
pub(super) use rows::ENDINGS;

/// Images listed in a CSV or TSV file with a header, or in JSON lines; paths are relative to the file's folder.
///
/// | column or key | meaning |
/// |---|---|
/// | `file_name`, `path` or `image` | the image |
/// | `label` | its class, a text or a number |
/// | `labels` | all classes that it shows, `;` between them or as a JSON list; may be empty |
/// | `target`, or `target.NAME` for each of several | numbers to predict |
/// | `split` | `train`, `val` or `test`, or another [name](Split::names) of these; without it the images are not divided |
///
/// Others are [left out](ImageSource::left_out).
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    files: Vec<File>,
    classes: Vec<String>,
    task: Task,
    left_out: LeftOut,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
struct File {
    path: PathBuf,
    bytes: u64,
    target: Target,
}

impl Table {
    /// The rows of a split. Classes are those of the training rows, by name.
    ///
    /// # Errors
    /// A file that is no such table, names the first line at fault; no row of the split; an image
    /// that does not exist; with labels required, none of the columns that give them.
    pub fn open(path: &Path, split: Split, labels: Labels) -> Result<Self, DataError> {
        let (columns, rows) = read(path, labels)?;
        Self::new(path, &rows, &columns, split, labels)
    }

    /// The splits that the rows are of; none without a column `split`.
    ///
    /// # Errors
    /// A file that is no such table.
    pub fn splits(path: &Path) -> Result<Vec<Split>, DataError> {
        let (columns, rows) = read(path, Labels::Ignored)?;
        splits(path, &columns, &rows)
    }

    fn new(
        path: &Path,
        table: &Rows,
        columns: &Columns,
        split: Split,
        labels: Labels,
    ) -> Result<Self, DataError> {
        let classes = columns.classes(table);
        if classes.is_empty() && labels == Labels::Required && !table.rows.is_empty() {
            let reason = "no training row names a class".to_owned();
            return Err(DataError::Damaged { path: path.to_owned(), reason });
        }
        let index: HashMap<&str, usize> = classes.iter().enumerate().map(|(i, c)| (c.as_str(), i)).collect();
        let rows = rows_of(path, table, columns, split)?;
        if rows.is_empty() {
            return Err(match table.rows.is_empty() {
                true => DataError::Empty(path.to_owned()),
                false => DataError::no_split(path, split, splits(path, columns, table)?),
            });
        }
        let files = rows.into_par_iter().map(|(row, file)| {
            let error = |reason| damaged(path, row.line, reason);
            let Some(bytes) = fs::metadata(&file).ok().filter(fs::Metadata::is_file).map(|file| file.len())
            else {
                return Err(error(format!("there is no image {}", file.display())));
            };
            Ok(File { path: file, bytes, target: columns.target(row, &index).map_err(error)? })
        });
        // In their order, so that the first line at fault is named.
        let files: Vec<_> = files.collect();
        let files = files.into_iter().collect::<Result<_, _>>()?;
        let mut left_out = LeftOut::of(path);
        left_out.add_columns(&columns.ignored);
        Ok(Self { files, task: columns.task(), classes, left_out })
    }
}

/// The rows of a split and the paths of their images.
fn rows_of<'a>(
    path: &Path,
    table: &'a Rows,
    columns: &Columns,
    split: Split,
) -> Result<Vec<(&'a Row, PathBuf)>, DataError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    for row in &table.rows {
        let error = |reason| damaged(path, row.line, reason);
        let name = columns.image(row).map_err(error)?;
        // `./` before a name makes no other file of it.
        let file = folder.join(Path::new(name).strip_prefix(".").unwrap_or(Path::new(name)));
        if !seen.insert(file.clone()) {
            return Err(error(format!("{name} is listed twice")));
        }
        if columns.belongs(row, split).map_err(error)? {
            found.push((row, file));
        }
    }
    Ok(found)
}

/// The columns and rows of a table.
fn read(path: &Path, labels: Labels) -> Result<(Columns, Rows), DataError> {
    let rows = Rows::read(path)?;
    let columns = Columns::find(&rows.header, labels)
        .and_then(|columns| columns.refuse_unnamed_splits(&rows.header, &rows.rows).map(|()| columns));
    Ok((columns.map_err(|reason| DataError::Damaged { path: path.to_owned(), reason })?, rows))
}

/// The splits that rows are of.
fn splits(path: &Path, columns: &Columns, table: &Rows) -> Result<Vec<Split>, DataError> {
    let of = |row: &Row| columns.split_of(row).map_err(|reason| damaged(path, row.line, reason));
    let found = table.rows.iter().map(of).collect::<Result<BTreeSet<_>, _>>()?;
    Ok(found.into_iter().flatten().collect())
}

fn damaged(path: &Path, line: u64, reason: String) -> DataError {
    DataError::Damaged { path: path.to_owned(), reason: format!("line {line}: {reason}") }
}

impl Dataset<Sample, DataError> for Table {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
    }

    fn len(&self) -> usize {
        self.files.len()
    }
}

impl ImageSource for Table {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn task(&self) -> Task {
        self.task
    }

    fn left_out(&self) -> LeftOut {
        self.left_out.clone()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.files[index].target.class()
    }

    fn target(&self, index: usize) -> Target {
        self.files[index].target.clone()
    }

    fn name(&self, index: usize) -> String {
        shown(&self.files[index].path)
    }

    fn bytes(&self, index: usize) -> u64 {
        self.files[index].bytes
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        Stored::of_file(&self.files[index].path)
    }
}
