//! Files of features, written as they are computed.

use std::io::{Error, Write};
use std::path::{Path, PathBuf};

use data::ImageSource;
use serde_json::json;
use whole::{NewFile, Unwritten};

use crate::error::FinetuneError;

/// How features are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureFormat {
    /// `features` (f32), a row an image, and, where every image has a class, `labels` (i64).
    Safetensors,
    /// NumPy's format: the features alone.
    Npy,
    /// A table: `path`, `label` (the name of the class, empty without one), `f0`, `f1` and so on.
    Csv,
}

impl FeatureFormat {
    /// What the ending of a file's name says.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => Some(Self::Safetensors),
            Some("npy") => Some(Self::Npy),
            Some("csv") => Some(Self::Csv),
            _ => None,
        }
    }
}

/// A file of features under way. It takes rows as they come, so that it can be larger than the memory,
/// and has its name only when it is whole. The names of the images are in a table's first column; those of
/// other files lie beside it, one a line, in [`FeatureFile::names`].
pub struct FeatureFile<'a> {
    path: PathBuf,
    rows: Rows<'a>,
    /// The names of the images, unless they are in the table.
    names: Option<NewFile>,
    /// Numbers that have yet to be written.
    missing: usize,
}

/// How rows are written.
enum Rows<'a> {
    /// As bytes, behind a header.
    Binary(NewFile),
    Table(Box<Table<'a>>),
}

impl<'a> FeatureFile<'a> {
    /// Begins a file for the features of all images of a source, so many numbers each, and writes down
    /// their names.
    ///
    /// # Errors
    /// A file that cannot be written, an image whose name is more than a line.
    pub fn create(
        path: &Path,
        format: FeatureFormat,
        source: &'a dyn ImageSource,
        width: usize,
    ) -> Result<Self, FinetuneError> {
        let names = match format {
            FeatureFormat::Csv => None,
            _ => Some(names_file(&Self::names(path), source)?),
        };
        let file = NewFile::create(path)?;
        let rows = match format {
            FeatureFormat::Safetensors => begin_safetensors(file, source, width).map(Rows::Binary),
            FeatureFormat::Npy => begin_npy(file, [source.len(), width]).map(Rows::Binary),
            FeatureFormat::Csv => Table::begin(file, source, width).map(|table| Rows::Table(Box::new(table))),
        };
        let rows = rows.map_err(Unwritten::at(path))?;
        Ok(Self { path: path.to_owned(), rows, names, missing: source.len() * width })
    }

    /// Where the names of the images in a file that is no table are.
    pub fn names(path: &Path) -> PathBuf {
        path.with_extension("names.txt")
    }

    /// Appends features, row by row.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, features: &[f32]) -> Result<(), FinetuneError> {
        self.missing = self.missing.saturating_sub(features.len());
        let written = match &mut self.rows {
            Rows::Binary(file) => features.iter().try_for_each(|value| file.write_all(&value.to_le_bytes())),
            Rows::Table(table) => table.append(features),
        };
        Ok(written.map_err(Unwritten::at(&self.path))?)
    }

    /// Ends the file and gives it its name.
    ///
    /// # Errors
    /// The file cannot be written, or images are missing.
    pub fn finish(self) -> Result<(), FinetuneError> {
        let unwritten = |error| Unwritten::at(&self.path)(error);
        if self.missing > 0 {
            return Err(unwritten(Error::other(format!("{} numbers are missing", self.missing))).into());
        }
        let mut file = match self.rows {
            Rows::Binary(file) => file,
            Rows::Table(table) => {
                table.writer.into_inner().map_err(|failed| unwritten(failed.into_error()))?
            }
        };
        // Names that go with an earlier file stay until this one is sure of its place.
        file.sync().map_err(unwritten)?;
        self.names.map_or(Ok(()), NewFile::finish)?;
        Ok(file.finish()?)
    }
}

/// A table under way.
struct Table<'a> {
    writer: csv::Writer<NewFile>,
    source: &'a dyn ImageSource,
    width: usize,
    /// The image of the next row.
    next: usize,
}

impl<'a> Table<'a> {
    fn begin(file: NewFile, source: &'a dyn ImageSource, width: usize) -> Result<Self, Error> {
        let mut writer = csv::Writer::from_writer(file);
        let columns = (0..width).map(|index| format!("f{index}"));
        writer.write_record(["path", "label"].map(str::to_owned).into_iter().chain(columns))?;
        Ok(Self { writer, source, width, next: 0 })
    }

    fn append(&mut self, features: &[f32]) -> Result<(), Error> {
        for row in features.chunks_exact(self.width) {
            let label =
                self.source.label(self.next).and_then(|label| self.source.classes().get(label as usize));
            let named = [self.source.name(self.next), label.cloned().unwrap_or_default()];
            self.writer.write_record(named.into_iter().chain(row.iter().map(f32::to_string)))?;
            self.next += 1;
        }
        Ok(())
    }
}

fn names_file(path: &Path, source: &dyn ImageSource) -> Result<NewFile, Unwritten> {
    let mut file = NewFile::create(path)?;
    for name in (0..source.len()).map(|index| source.name(index)) {
        if name.contains(['\n', '\r']) {
            let reason = format!("{name:?} is more than a line; rename the image");
            return Err(Unwritten::at(path)(Error::other(reason)));
        }
        writeln!(file, "{name}").map_err(Unwritten::at(path))?;
    }
    file.sync().map_err(Unwritten::at(path))?;
    Ok(file)
}

/// Header and labels. These come first because readers want numbers of eight bytes at multiples of
/// eight.
fn begin_safetensors(mut file: NewFile, source: &dyn ImageSource, width: usize) -> Result<NewFile, Error> {
    let images = source.len();
    let is_labelled = images > 0 && (0..images).all(|index| source.label(index).is_some());
    let (start, values) = (if is_labelled { 8 * images } else { 0 }, 4 * images * width);
    let mut header = json!({
        "features": { "dtype": "F32", "shape": [images, width], "data_offsets": [start, start + values] },
    });
    if is_labelled {
        header["labels"] = json!({ "dtype": "I64", "shape": [images], "data_offsets": [0, start] });
    }
    let header = header.to_string();
    let length = header.len().next_multiple_of(8);
    file.write_all(&(length as u64).to_le_bytes())?;
    write!(file, "{header:<length$}")?;
    let labels = (0..images).filter_map(|index| source.label(index)).filter(|_| is_labelled);
    for label in labels {
        file.write_all(&i64::from(label).to_le_bytes())?;
    }
    Ok(file)
}

/// Version 1.0: magic, length of the header, a header padded to 64 bytes.
fn begin_npy(mut file: NewFile, [images, width]: [usize; 2]) -> Result<NewFile, Error> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({images}, {width}), }}");
    let length = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 2;
    file.write_all(MAGIC)?;
    file.write_all(&(length as u16).to_le_bytes())?;
    writeln!(file, "{header:<width$}", width = length - 1)?;
    Ok(file)
}
