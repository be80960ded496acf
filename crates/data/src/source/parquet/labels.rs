//! Labels of rows, and the classes that they are.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};

use super::chunk::{Chunk, Read};
use super::columns::{Columns, Kind, Label as Column};
use crate::image_list::normal;
use crate::source::class_order::in_order;

/// What a row says of its class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    Number(i64),
    Name(Arc<str>),
}

/// The labels of a column, one a row; none where nothing is known: null, an empty text, or -1.
///
/// # Errors
/// A page that cannot be read; as a predicate of the file.
pub(super) fn read(column: &Column, chunks: &[Chunk], file: Read) -> Result<Vec<Option<Label>>, String> {
    let mut names = HashSet::new();
    let number = |number| (number != -1).then_some(Label::Number(number));
    let rows = match column.kind {
        Kind::Bool => values::<BoolType, _>(chunks, file, |value| number(value.into())),
        Kind::Int32 => values::<Int32Type, _>(chunks, file, |value| number(value.into())),
        Kind::Int64 => values::<Int64Type, _>(chunks, file, number),
        Kind::Text => values::<ByteArrayType, _>(chunks, file, |value| name(&value, &mut names)),
    };
    rows.map_err(|reason| format!("is damaged: column `{}`: {reason}; download it again", column.name))
}

fn values<T: DataType, L>(
    chunks: &[Chunk],
    file: Read,
    mut label: impl FnMut(T::T) -> Option<L>,
) -> Result<Vec<Option<L>>, String> {
    let mut labels = Vec::new();
    for chunk in chunks {
        let pages = chunk.pages(file)?;
        for page in &pages.data {
            let values = chunk.values::<T>(&pages, page, file)?;
            labels.extend(values.into_iter().map(|value| value.and_then(&mut label)));
        }
    }
    Ok(labels)
}

/// The name of a class, which all of its rows share.
fn name(value: &ByteArray, known: &mut HashSet<Arc<str>>) -> Option<Label> {
    let text = String::from_utf8_lossy(value.data());
    if text.trim().is_empty() {
        return None;
    }
    let name = normal(&text);
    let shared = known.get(&name[..]).cloned().unwrap_or_else(|| Arc::from(name));
    known.insert(Arc::clone(&shared));
    Some(Label::Name(shared))
}

/// Classes, and the class of every row of every file.
pub(super) type Labelled = (Vec<String>, Vec<Option<u32>>);

/// The classes of all files, whose columns are the same: those that are named for numbers, or else all that
/// there are, by number or by name.
///
/// # Errors
/// Number of the file, and what is wrong with it, as a predicate: a row without a class, or with one that
/// has no name.
pub(super) fn classes(columns: &Columns, files: &[Vec<Option<Label>>]) -> Result<Labelled, (usize, String)> {
    let column = columns.label.as_ref().map_err(|reason| (0, reason.clone()))?;
    let name_of = |label: &Label| match label {
        Label::Number(number) => number.to_string(),
        Label::Name(name) => name.to_string(),
    };
    let names = column.classes.clone().unwrap_or_else(|| {
        let there: BTreeSet<&Label> = files.iter().flatten().flatten().collect();
        in_order(there.into_iter().map(name_of).collect())
    });
    let index: HashMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
    let class = |label: &Label| match label {
        Label::Number(number) if column.classes.is_some() => {
            u32::try_from(*number).ok().filter(|class| (*class as usize) < names.len())
        }
        label => index.get(&name_of(label)[..]).copied(),
    };
    let mut classes = Vec::with_capacity(files.iter().map(Vec::len).sum());
    for (file, labels) in files.iter().enumerate() {
        for (row, label) in labels.iter().enumerate() {
            let Some(label) = label else {
                let reason = format!("has no class in row {row}: its `{}` is null, empty or -1", column.name);
                return Err((file, reason));
            };
            let unnamed = || {
                let (class, count) = (name_of(label), names.len());
                (file, format!("has class {class} in row {row}, and names {count} classes, from 0 on"))
            };
            classes.push(Some(class(label).ok_or_else(unnamed)?));
        }
    }
    Ok((names, classes))
}
