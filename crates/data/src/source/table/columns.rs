//! What the columns of a table mean.

use std::collections::HashMap;

use crate::image_list::normal;
use crate::source::class_order::in_order;
use crate::source::table::rows::{Field, Row, Rows};
use crate::source::{Labels, Split, Target, Task};

/// What separates the names of an image that shows several classes.
const SEPARATOR: char = ';';
/// What the column of images may be called.
const IMAGE: [&str; 3] = ["file_name", "path", "image"];
const MEANINGS: &str = "the image is in file_name, path or image, and what it shows in one of: label (a class), \
                        labels (classes, with ; between them), target or target.NAME (numbers)";
/// How much a name is like the one that is meant, at least.
const ALIKE: f64 = 0.75;

/// Where the columns stand.
pub(super) struct Columns {
    image: usize,
    split: Option<usize>,
    targets: Targets,
    /// Those that mean nothing here.
    pub(super) ignored: Vec<String>,
}

/// Columns that say what is known of an image.
enum Targets {
    Nothing,
    Label(usize),
    Labels(usize),
    /// Name and column of each number.
    Numbers(Vec<(String, usize)>),
}

/// What a column is for.
enum Meaning<'a> {
    Image,
    Split,
    Label,
    Labels,
    Number(&'a str),
}

impl Columns {
    /// The columns of a header; others than the known ones are ignored.
    ///
    /// # Errors
    /// No image, two columns for one purpose, or none for what is required, in words.
    pub(super) fn find(header: &[String], labels: Labels) -> Result<Self, String> {
        let (mut image, mut split, mut targets, mut ignored) = (None, None, Targets::Nothing, Vec::new());
        for (column, name) in header.iter().enumerate() {
            let Some(meaning) = Meaning::of(name) else {
                ignored.push(name.clone());
                continue;
            };
            if header[..column].contains(name) {
                return Err(format!("column `{name}` is there twice"));
            }
            match meaning {
                Meaning::Image => {
                    if let Some(other) = image.replace(column) {
                        let other = &header[other];
                        return Err(format!(
                            "columns `{other}` and `{name}` both name the image; rename one"
                        ));
                    }
                }
                Meaning::Split => split = Some(column),
                meaning if targets.add(&meaning, column) => {}
                _ => return Err(format!("column `{name}` is one too many: {MEANINGS}")),
            }
        }
        // Images to validate on would be trained on.
        if let (None, Some(near)) = (split, ignored.iter().find(|name| likeness(name, "split") >= ALIKE)) {
            return Err(format!(
                "column `{near}` is unknown; rename it to `split` if it is that, or else away"
            ));
        }
        let lack = |what: &str, known: &[&str]| lacking(what, header, &ignored, known);
        let image = image.ok_or_else(|| lack("no column names the image", &IMAGE))?;
        if labels == Labels::Required && matches!(targets, Targets::Nothing) {
            return Err(lack("no column says what the images are", &["label", "labels", "target"]));
        }
        Ok(Self { image, split, targets, ignored })
    }

    /// Whether a header is that of a table of images and what they show.
    pub(super) fn are_in(header: &[String]) -> bool {
        let has =
            |is: fn(&Meaning) -> bool| header.iter().filter_map(|name| Meaning::of(name)).any(|m| is(&m));
        has(|meaning| matches!(meaning, Meaning::Image))
            && has(|meaning| matches!(meaning, Meaning::Label | Meaning::Labels | Meaning::Number(_)))
    }

    /// Refuses a column that tells parts under another name: images to validate on would be trained on.
    pub(super) fn refuse_unnamed_splits(&self, header: &[String], rows: &[Row]) -> Result<(), String> {
        let tells_parts = |column: usize| {
            let is_part =
                |row: &Row| row.fields[column].text().is_ok_and(|text| Split::named(text).is_some());
            !rows.is_empty() && rows.iter().all(is_part)
        };
        let is_unnamed =
            |(column, name): &(usize, &String)| self.ignored.contains(name) && tells_parts(*column);
        match header.iter().enumerate().find(is_unnamed).filter(|_| self.split.is_none()) {
            Some((_, name)) => Err(format!(
                "column `{name}` tells the parts of the data; rename it to `split`, or take it away if it is not that"
            )),
            None => Ok(()),
        }
    }

    /// Takes the images for undivided, whatever a column says of it.
    pub(super) fn without_splits(mut self) -> Self {
        self.ignored.extend(self.split.take().map(|_| "split".to_owned()));
        self
    }

    pub(super) fn task(&self) -> Task {
        match self.targets {
            Targets::Nothing | Targets::Label(_) => Task::Class,
            Targets::Labels(_) => Task::Labels,
            Targets::Numbers(_) => Task::Numbers,
        }
    }

    /// The name of the image of a row.
    pub(super) fn image<'a>(&self, row: &'a Row) -> Result<&'a str, String> {
        match row.fields[self.image].text()? {
            "" => Err("no image is named".to_owned()),
            name => Ok(name),
        }
    }

    /// Names of classes, or of numbers.
    pub(super) fn classes(&self, table: &Rows) -> Vec<String> {
        // Rows of unknown splits are reported where they are read.
        let trained = || table.rows.iter().filter(|row| self.belongs(row, Split::Train).unwrap_or(false));
        // A table of nothing but validation rows is for a network that exists.
        let none_trained = trained().next().is_none();
        let rows = || trained().chain(table.rows.iter().filter(move |_| none_trained));
        // So are fields that are neither text nor list.
        match &self.targets {
            Targets::Nothing => Vec::new(),
            Targets::Label(column) => {
                in_order(rows().filter_map(|row| row.fields[*column].text().ok()).map(normal).collect())
            }
            Targets::Labels(column) => {
                in_order(rows().filter_map(|row| names(&row.fields[*column]).ok()).flatten().collect())
            }
            Targets::Numbers(columns) => columns.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// Whether a row is part of a split.
    pub(super) fn belongs(&self, row: &Row, split: Split) -> Result<bool, String> {
        Ok(self.split_of(row)?.is_none_or(|found| found == split))
    }

    /// The split of a row; none without such a column.
    pub(super) fn split_of(&self, row: &Row) -> Result<Option<Split>, String> {
        let Some(column) = self.split else { return Ok(None) };
        let name = row.fields[column].text()?;
        let unknown = || format!("split `{name}` is none of train, val and test");
        Split::named(name).map(Some).ok_or_else(unknown)
    }

    pub(super) fn target(&self, row: &Row, index: &HashMap<&str, usize>) -> Result<Target, String> {
        Ok(match &self.targets {
            Targets::Nothing => Target::None,
            Targets::Label(column) => match row.fields[*column].text()? {
                "" => return Err("the label is empty".to_owned()),
                class => Target::Class(find(index, &normal(class))? as u32),
            },
            Targets::Labels(column) => {
                let mut values = vec![0.0; index.len()];
                for name in names(&row.fields[*column])? {
                    values[find(index, &name)?] = 1.0;
                }
                Target::Values(values)
            }
            Targets::Numbers(columns) => Target::Values(
                columns.iter().map(|(_, at)| number(&row.fields[*at])).collect::<Result<_, _>>()?,
            ),
        })
    }
}

impl Targets {
    /// Adds a column, if it goes with those before it.
    fn add(&mut self, meaning: &Meaning, column: usize) -> bool {
        match (meaning, &mut *self) {
            (Meaning::Label, Self::Nothing) => *self = Self::Label(column),
            (Meaning::Labels, Self::Nothing) => *self = Self::Labels(column),
            (Meaning::Number(name), Self::Nothing) => {
                *self = Self::Numbers(vec![((*name).to_owned(), column)])
            }
            (Meaning::Number(name), Self::Numbers(found)) => found.push(((*name).to_owned(), column)),
            _ => return false,
        }
        true
    }
}

impl<'a> Meaning<'a> {
    fn of(name: &'a str) -> Option<Self> {
        match name {
            name if IMAGE.contains(&name) => Some(Self::Image),
            "split" => Some(Self::Split),
            "label" => Some(Self::Label),
            "labels" => Some(Self::Labels),
            "target" => Some(Self::Number(name)),
            name => name.strip_prefix("target.").map(Self::Number),
        }
    }
}

fn find(index: &HashMap<&str, usize>, class: &str) -> Result<usize, String> {
    index.get(class).copied().ok_or_else(|| format!("no training image is of class {class}"))
}

fn number(field: &Field) -> Result<f32, String> {
    let text = field.text()?;
    let number = text.parse().ok().filter(|number: &f32| number.is_finite());
    number.ok_or_else(|| format!("`{text}` is no finite number"))
}

fn names(field: &Field) -> Result<Vec<String>, String> {
    let names: Vec<&str> = match field {
        Field::List(names) => names.iter().map(String::as_str).collect(),
        field => field.text()?.split(SEPARATOR).collect(),
    };
    Ok(names.into_iter().map(str::trim).filter(|name| !name.is_empty()).map(normal).collect())
}

/// What is lacking, what there is, and which of the unknown columns may be meant.
fn lacking(what: &str, header: &[String], unknown: &[String], known: &[&str]) -> String {
    let pairs = unknown.iter().flat_map(|name| known.iter().map(move |known| (name, *known)));
    let nearest = pairs
        .map(|(name, known)| (likeness(name, known), name, known))
        .filter(|(likeness, ..)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint =
        nearest.map_or(String::new(), |(_, name, known)| format!("; is `{name}` meant to be `{known}`?"));
    format!("{what}; the columns are `{}`{hint} Columns that are read: {MEANINGS}", header.join("`, `"))
}

fn likeness(name: &str, known: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(&name.trim().to_lowercase(), known)
}
