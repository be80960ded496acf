//! Images and what is known of them, listed in a CSV file.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};

use burn_dataset::Dataset;
use csv::StringRecord;

use crate::error::DataError;
use crate::image_list::normal;
use crate::source::{ImageSource, Labels, Sample, Split, Stored, Target, Task, decoded};

/// What separates the names of an image that shows several classes.
const SEPARATOR: char = ';';
const COLUMNS: &str = "file_name, split, and one of: label (a class), labels (classes, with ; between \
                       them), target or target.NAME (numbers)";

/// Images listed in a CSV file with a header; paths are relative to the file's folder.
///
/// | column | meaning |
/// |---|---|
/// | `file_name` | the image |
/// | `label` | its class |
/// | `labels` | all classes that it shows, `;` between them; may be empty |
/// | `target`, or `target.NAME` for each of several | numbers to predict |
/// | `split` | `train`, `val` or `test`, or another [name](Split::names) of these; without it the images are not divided |
#[derive(Debug, Clone, PartialEq)]
pub struct CsvTable {
    files: Vec<File>,
    classes: Vec<String>,
    task: Task,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
struct File {
    path: PathBuf,
    bytes: u64,
    target: Target,
}

/// Where the columns stand.
struct Columns {
    file_name: usize,
    split: Option<usize>,
    targets: TargetColumns,
}

/// Columns that say what is known of an image.
enum TargetColumns {
    Nothing,
    Label(usize),
    Labels(usize),
    /// Name and column of each number.
    Numbers(Vec<(String, usize)>),
}

impl CsvTable {
    /// The rows of a split. Classes are those of the training rows, by name.
    ///
    /// # Errors
    /// A file that is no such table, names the first line at fault; no row of the split; an image
    /// that does not exist; with labels required, none of the columns that give them.
    pub fn open(path: &Path, split: Split, labels: Labels) -> Result<Self, DataError> {
        let (columns, records) = read(path, labels)?;
        let classes = columns.classes(&records);
        if classes.is_empty() && labels == Labels::Required && !records.is_empty() {
            let reason = "no training row names a class".to_owned();
            return Err(DataError::Damaged { path: path.to_owned(), reason });
        }
        let index: HashMap<&str, usize> = classes.iter().enumerate().map(|(i, c)| (c.as_str(), i)).collect();
        let folder = path.parent().unwrap_or(Path::new(""));
        let (mut files, mut seen) = (Vec::new(), HashSet::new());
        for record in &records {
            let error = |reason| damaged(path, record, reason);
            // The same file may be named in two ways.
            let parts = Path::new(&record[columns.file_name]).components();
            if !seen.insert(parts.filter(|part| *part != Component::CurDir).collect::<PathBuf>()) {
                return Err(error(format!("{} is listed twice", &record[columns.file_name])));
            }
            if !columns.belongs(record, split).map_err(error)? {
                continue;
            }
            let file = folder.join(&record[columns.file_name]);
            let Some(metadata) = file.metadata().ok().filter(Metadata::is_file) else {
                return Err(error(format!("there is no image {}", file.display())));
            };
            let target = columns.target(record, &index).map_err(error)?;
            files.push(File { path: file, bytes: metadata.len(), target });
        }
        if files.is_empty() {
            return Err(match records.is_empty() {
                true => DataError::Empty(path.to_owned()),
                false => DataError::no_split(path, split, columns.splits(path, &records)?),
            });
        }
        Ok(Self { files, classes, task: columns.task() })
    }

    /// The splits that the rows are of; none without a column `split`.
    ///
    /// # Errors
    /// A file that is no such table.
    pub fn splits(path: &Path) -> Result<Vec<Split>, DataError> {
        let (columns, records) = read(path, Labels::Ignored)?;
        columns.splits(path, &records)
    }
}

/// The columns and rows of a table.
fn read(path: &Path, labels: Labels) -> Result<(Columns, Vec<StringRecord>), DataError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(table(path))?;
    if reader.headers().map_err(table(path))?.is_empty() {
        return Err(DataError::Empty(path.to_owned()));
    }
    let columns = Columns::find(path, reader.headers().map_err(table(path))?, labels)?;
    let records = reader.records().collect::<Result<Vec<_>, _>>().map_err(table(path))?;
    Ok((columns, records))
}

impl Columns {
    fn find(path: &Path, header: &StringRecord, labels: Labels) -> Result<Self, DataError> {
        let error = |reason| DataError::Damaged { path: path.to_owned(), reason };
        let (mut file_name, mut split, mut targets) = (None, None, TargetColumns::Nothing);
        for (column, name) in header.iter().enumerate() {
            if header.iter().take(column).any(|before| before == name) {
                return Err(error(format!("column `{name}` is there twice")));
            }
            let number = (name == "target").then_some(name).or(name.strip_prefix("target."));
            match (name, number, &mut targets) {
                ("file_name", ..) => file_name = Some(column),
                ("split", ..) => split = Some(column),
                ("label", _, TargetColumns::Nothing) => targets = TargetColumns::Label(column),
                ("labels", _, TargetColumns::Nothing) => targets = TargetColumns::Labels(column),
                (_, Some(number), TargetColumns::Nothing) => {
                    targets = TargetColumns::Numbers(vec![(number.into(), column)])
                }
                (_, Some(number), TargetColumns::Numbers(columns)) => columns.push((number.into(), column)),
                ("label" | "labels", ..) | (_, Some(_), _) => {
                    return Err(error(format!("column `{name}` is one too many; columns are {COLUMNS}")));
                }
                _ => return Err(error(format!("column `{name}` is unknown; columns are {COLUMNS}"))),
            }
        }
        let file_name = file_name
            .ok_or_else(|| error(format!("there is no column `file_name`; columns are {COLUMNS}")))?;
        if labels == Labels::Required && matches!(targets, TargetColumns::Nothing) {
            return Err(error(format!("no column says what the images are; columns are {COLUMNS}")));
        }
        Ok(Self { file_name, split, targets })
    }

    fn task(&self) -> Task {
        match self.targets {
            TargetColumns::Nothing | TargetColumns::Label(_) => Task::Class,
            TargetColumns::Labels(_) => Task::Labels,
            TargetColumns::Numbers(_) => Task::Numbers,
        }
    }

    /// Names of classes, or of numbers.
    fn classes(&self, records: &[StringRecord]) -> Vec<String> {
        // Rows of unknown splits are reported where they are read.
        let trained = || records.iter().filter(|r| self.belongs(r, Split::Train).unwrap_or(false));
        // A table of nothing but validation rows is for a network that exists.
        let none_trained = trained().next().is_none();
        let records = || trained().chain(records.iter().filter(move |_| none_trained));
        let distinct = |names: BTreeSet<String>| names.into_iter().collect();
        match &self.targets {
            TargetColumns::Nothing => Vec::new(),
            TargetColumns::Label(column) => {
                distinct(records().map(|record| normal(&record[*column])).collect())
            }
            TargetColumns::Labels(column) => distinct(records().flat_map(|r| names(&r[*column])).collect()),
            TargetColumns::Numbers(columns) => columns.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// Whether a row is part of a split.
    fn belongs(&self, record: &StringRecord, split: Split) -> Result<bool, String> {
        Ok(self.split_of(record)?.is_none_or(|found| found == split))
    }

    /// The split of a row; none without such a column.
    fn split_of(&self, record: &StringRecord) -> Result<Option<Split>, String> {
        let Some(column) = self.split else { return Ok(None) };
        let unknown = || format!("split `{}` is none of train, val and test", &record[column]);
        Split::named(&record[column]).map(Some).ok_or_else(unknown)
    }

    /// The splits that rows are of.
    fn splits(&self, path: &Path, records: &[StringRecord]) -> Result<Vec<Split>, DataError> {
        let of = |record| self.split_of(record).map_err(|reason| damaged(path, record, reason));
        let found = records.iter().map(of).collect::<Result<BTreeSet<_>, _>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    fn target(&self, record: &StringRecord, index: &HashMap<&str, usize>) -> Result<Target, String> {
        Ok(match &self.targets {
            TargetColumns::Nothing => Target::None,
            TargetColumns::Label(column) if record[*column].is_empty() => {
                return Err("the label is empty".to_owned());
            }
            TargetColumns::Label(column) => Target::Class(find(index, &normal(&record[*column]))? as u32),
            TargetColumns::Labels(column) => {
                let mut values = vec![0.0; index.len()];
                for name in names(&record[*column]) {
                    values[find(index, &name)?] = 1.0;
                }
                Target::Values(values)
            }
            TargetColumns::Numbers(columns) => {
                let number = |(_, column): &(String, usize)| {
                    let parsed: Option<f32> = record[*column].parse().ok();
                    parsed
                        .filter(|number| number.is_finite())
                        .ok_or_else(|| format!("`{}` is no finite number", &record[*column]))
                };
                Target::Values(columns.iter().map(number).collect::<Result<_, _>>()?)
            }
        })
    }
}

fn find(index: &HashMap<&str, usize>, class: &str) -> Result<usize, String> {
    index.get(class).copied().ok_or_else(|| format!("no training image is of class {class}"))
}

fn names(field: &str) -> impl Iterator<Item = String> {
    field.split(SEPARATOR).map(str::trim).filter(|name| !name.is_empty()).map(normal)
}

fn table(path: &Path) -> impl Fn(csv::Error) -> DataError {
    let path = path.to_owned();
    move |error| DataError::Damaged { path: path.clone(), reason: error.to_string() }
}

fn damaged(path: &Path, record: &StringRecord, reason: String) -> DataError {
    let reason = match record.position() {
        Some(position) => format!("line {}: {reason}", position.line()),
        None => reason,
    };
    DataError::Damaged { path: path.to_owned(), reason }
}

impl Dataset<Sample, DataError> for CsvTable {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
    }

    fn len(&self) -> usize {
        self.files.len()
    }
}

impl ImageSource for CsvTable {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn task(&self) -> Task {
        self.task
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.files[index].target.class()
    }

    fn target(&self, index: usize) -> Target {
        self.files[index].target.clone()
    }

    fn name(&self, index: usize) -> String {
        self.files[index].path.display().to_string()
    }

    fn bytes(&self, index: usize) -> u64 {
        self.files[index].bytes
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        Stored::of_file(&self.files[index].path)
    }
}
