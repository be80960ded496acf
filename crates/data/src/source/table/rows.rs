//! The rows of a table: CSV, TSV or JSON lines.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::DataError;

/// Endings of tables.
pub(in crate::source) const ENDINGS: [&str; 3] = ["csv", "tsv", "jsonl"];

/// The names of the columns, and what stands in them.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// A row, with a field for every column.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) fields: Vec<Field>,
}

/// What stands in a column of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    /// Text, or a number as it is written; empty if there is nothing.
    Text(String),
    /// Several of these, as JSON has them.
    List(Vec<String>),
    /// JSON of another form.
    Other,
}

impl Rows {
    /// Reads a table of the kind that its ending says. CSV may have semicolons or tabs instead of commas, as
    /// spreadsheets write it, if the header has no comma.
    ///
    /// # Errors
    /// A file that cannot be read or is no such table, with the line; another encoding than UTF-8.
    pub(super) fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = fs::read(path).map_err(DataError::io(path))?;
        let damaged = |reason| DataError::Damaged { path: path.to_owned(), reason };
        let text = text(&bytes).map_err(damaged)?;
        let is = |ending: &str| path.extension().is_some_and(|known| known.eq_ignore_ascii_case(ending));
        let rows = match text.trim().is_empty() {
            true => return Err(DataError::Empty(path.to_owned())),
            false if is("jsonl") => json_lines(text),
            false => separated(text, if is("tsv") { b'\t' } else { delimiter(text) }),
        };
        rows.map_err(damaged)
    }
}

impl Field {
    /// The text of a field.
    ///
    /// # Errors
    /// A list or an object, in words.
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::List(_) => Err("a list stands where one value is expected".to_owned()),
            Self::Other => Err("an object stands where a text or a number is expected".to_owned()),
        }
    }
}

/// The text of a file, without the mark that some programs begin it with.
fn text(bytes: &[u8]) -> Result<&str, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16; save it as UTF-8".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is no UTF-8; save it as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    b",;\t".iter().copied().find(|delimiter| header.contains(char::from(*delimiter))).unwrap_or(b',')
}

fn separated(text: &str, delimiter: u8) -> Result<Rows, String> {
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::All).from_reader(text.as_bytes());
    let error = |error: csv::Error| error.to_string();
    let header = reader.headers().map_err(error)?.iter().map(str::to_owned).collect();
    let rows = reader.records().map(|record| {
        let record = record.map_err(error)?;
        let line = record.position().map_or(0, csv::Position::line);
        Ok(Row { line, fields: record.iter().map(|field| Field::Text(field.to_owned())).collect() })
    });
    Ok(Rows { header, rows: rows.collect::<Result<_, String>>()? })
}

/// Columns are the keys of all objects, which need not have the same.
fn json_lines(text: &str) -> Result<Rows, String> {
    let mut table = Rows::default();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            let (column, reason) = (error.column(), error.to_string());
            format!("line {line}, column {column}: {}", reason.split(" at line ").next().unwrap_or_default())
        })?;
        let mut fields = vec![Field::Text(String::new()); table.header.len()];
        for (key, value) in object {
            match table.header.iter().position(|known| *known == key) {
                Some(column) => fields[column] = field(value),
                None => {
                    table.header.push(key);
                    fields.push(field(value));
                }
            }
        }
        table.rows.push(Row { line, fields });
    }
    let columns = table.header.len();
    table.rows.iter_mut().for_each(|row| row.fields.resize(columns, Field::Text(String::new())));
    Ok(table)
}

fn field(value: Value) -> Field {
    match value {
        Value::Array(values) => {
            values.into_iter().map(scalar).collect::<Option<_>>().map_or(Field::Other, Field::List)
        }
        value => scalar(value).map_or(Field::Other, Field::Text),
    }
}

fn scalar(value: Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Array(_) | Value::Object(_) => None,
    }
}
