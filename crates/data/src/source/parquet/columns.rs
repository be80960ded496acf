//! What the columns of a Parquet file mean.

use std::collections::BTreeMap;

use parquet::basic::{ConvertedType, Type as Physical};
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::{SchemaDescriptor, Type};
use serde::Deserialize;

use crate::image_list::normal;
use crate::source::shards::SHARD_LABEL;

/// What the column of images is called where several may be meant.
const IMAGE: &str = "image";
/// Where Hugging Face's `datasets` keeps what columns mean.
const FEATURES: &str = "huggingface";

/// Where images and labels stand.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Columns {
    /// Names of all columns, by which files are known to go together.
    all: Vec<String>,
    /// Number of the column of the bytes of images.
    pub(super) image: usize,
    /// The column of labels, or why there is none.
    pub(super) label: Result<Label, String>,
    /// Those that mean nothing here.
    pub(super) ignored: Vec<String>,
}

/// A column of labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    pub(super) name: String,
    pub(super) column: usize,
    pub(super) kind: Kind,
    /// Names of the classes that are numbered; none if nothing names them.
    pub(super) classes: Option<Vec<String>>,
}

/// How labels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int32,
    Int64,
    Text,
}

impl Columns {
    /// The columns of a file; `label` is the name of that of labels.
    ///
    /// # Errors
    /// No column of images, or several; as a predicate of the file.
    pub(super) fn find(file: &ParquetMetaData, label: &str) -> Result<Self, String> {
        let schema = file.file_metadata().schema_descr();
        let fields: Vec<&Type> = schema.root_schema().get_fields().iter().map(AsRef::as_ref).collect();
        let all: Vec<_> = fields.iter().map(|field| field.name().to_owned()).collect();
        let path = image(&fields, &all)?;
        let image = leaf(schema, &path).ok_or("is damaged: its schema lacks a column")?;
        let label = Label::find(schema, &fields, label, &ClassLabels::of(file));
        let used = |name: &String| path[0] == *name || label.as_ref().is_ok_and(|label| label.name == *name);
        let ignored = all.iter().filter(|name| !used(name)).cloned().collect();
        Ok(Self { image, label, ignored, all })
    }
}

/// The path of the bytes of images: in the only structure of `bytes` and more, as Hugging Face stores
/// images, or else the only column of bytes that are no text.
fn image(fields: &[&Type], all: &[String]) -> Result<Vec<String>, String> {
    let is_bytes = |field: &Type| field.is_primitive() && field.get_physical_type() == Physical::BYTE_ARRAY;
    let is_structure = |field: &&&Type| {
        field.is_group() && field.get_fields().iter().any(|child| child.name() == "bytes" && is_bytes(child))
    };
    let is_raw = |field: &&&Type| is_bytes(field) && !is_annotated(field);
    let names = |fields: Vec<&&Type>| fields.iter().map(|field| field.name().to_owned()).collect();
    let structures: Vec<String> = names(fields.iter().filter(is_structure).collect());
    let raw: Vec<String> = names(fields.iter().filter(is_raw).collect());
    let (found, child) = if structures.is_empty() { (raw, None) } else { (structures, Some("bytes")) };
    let one = match &found[..] {
        [] => {
            return Err(format!(
                "has no column of images, neither a structure with `bytes` nor bytes that are no text; its \
                 columns are {}",
                listed(all)
            ));
        }
        [one] => one,
        several => several.iter().find(|name| *name == IMAGE).ok_or_else(|| {
            format!("has several columns that may be the images: {}; call one `{IMAGE}`", listed(several))
        })?,
    };
    Ok([Some(one.clone()), child.map(str::to_owned)].into_iter().flatten().collect())
}

fn is_annotated(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.logical_type_ref().is_some() || info.converted_type() != ConvertedType::NONE
}

/// The number of the column of a path.
fn leaf(schema: &SchemaDescriptor, path: &[String]) -> Option<usize> {
    let is_there = |column: usize| {
        let column = schema.column(column);
        column.path().parts() == path && column.max_rep_level() == 0
    };
    (0..schema.num_columns()).find(|column| is_there(*column))
}

impl Label {
    /// The column of this name; where nobody has named one, the only one that is described as a class.
    fn find(
        schema: &SchemaDescriptor,
        fields: &[&Type],
        name: &str,
        described: &ClassLabels,
    ) -> Result<Self, String> {
        let named = |name: &str| fields.iter().find(|field| field.name() == name);
        let mut classes = described.0.keys().filter(|name| named(name).is_some());
        let found = named(name).or_else(|| match (classes.next(), classes.next()) {
            (Some(only), None) if name == SHARD_LABEL => named(only),
            _ => None,
        });
        let Some(field) = found else {
            let all: Vec<_> = fields.iter().map(|field| field.name().to_owned()).collect();
            return Err(format!(
                "has no column `{name}` of classes; its columns are {}; say which it is: --set \
                 data.label_key=NAME",
                listed(&all)
            ));
        };
        let name = field.name().to_owned();
        let column = leaf(schema, std::slice::from_ref(&name));
        let kind = column.and_then(|column| Kind::of(schema.column(column).self_type()));
        match column.zip(kind) {
            Some((column, kind)) => {
                let classes = described.0.get(&name).filter(|_| kind != Kind::Text).cloned();
                Ok(Self { name, column, kind, classes })
            }
            None => Err(format!(
                "has a column `{name}` that is no class, neither whole numbers nor text; say which column is: \
                 --set data.label_key=NAME"
            )),
        }
    }
}

impl Kind {
    fn of(field: &Type) -> Option<Self> {
        let converted = field.get_basic_info().converted_type();
        let is_integer = matches!(
            converted,
            ConvertedType::NONE
                | ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64
                | ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64
        );
        match field.get_physical_type() {
            Physical::BOOLEAN => Some(Self::Bool),
            Physical::INT32 if is_integer => Some(Self::Int32),
            Physical::INT64 if is_integer => Some(Self::Int64),
            Physical::BYTE_ARRAY if matches!(converted, ConvertedType::UTF8 | ConvertedType::ENUM) => {
                Some(Self::Text)
            }
            _ => None,
        }
    }
}

/// Columns that Hugging Face's metadata describe as classes, and the names of these.
#[derive(Default)]
struct ClassLabels(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
struct Described {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    features: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Feature {
    #[serde(rename = "_type")]
    kind: String,
    names: Vec<String>,
}

impl ClassLabels {
    /// Those of a file; none if it has no such metadata, or they are of another form.
    fn of(file: &ParquetMetaData) -> Self {
        let pairs = file.file_metadata().key_value_metadata().into_iter().flatten();
        let text = pairs.filter(|pair| pair.key == FEATURES).find_map(|pair| pair.value.as_deref());
        let described = text.and_then(|text| serde_json::from_str::<Described>(text).ok());
        let features = described.into_iter().flat_map(|described| described.info.features);
        let classes = features.filter_map(|(name, feature)| {
            let feature: Feature = serde_json::from_value(feature).ok()?;
            (feature.kind == "ClassLabel").then(|| (name, distinct(&feature.names)))
        });
        Self(classes.collect())
    }
}

/// Names of classes in their normal form; those that several have get their numbers, as the two classes
/// of ImageNet that are called crane.
fn distinct(names: &[String]) -> Vec<String> {
    let names: Vec<_> = names.iter().map(|name| normal(name)).collect();
    let mut times = BTreeMap::new();
    names.iter().for_each(|name| *times.entry(name).or_insert(0) += 1);
    let number = |(number, name): (usize, &String)| match times[name] {
        1 => name.clone(),
        _ => format!("{name} ({number})"),
    };
    names.iter().enumerate().map(number).collect()
}

fn listed(names: &[String]) -> String {
    format!("`{}`", names.join("`, `"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_one_name_are_told_apart() {
        let names = ["crane", "cat", "crane"].map(str::to_owned);
        assert_eq!(distinct(&names), ["crane (0)", "cat", "crane (2)"]);
    }
}
