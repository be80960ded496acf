//! A file that says which class is which output of a network.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::DataError;
use crate::image_list::normal;
use crate::imagenet::imagenet_positions;
use crate::source::class_match::{ClassMatch, Matched, Naming};
use crate::source::with_classes::renumbered;
use crate::source::{ImageSource, Task};

/// Classes and outputs: a CSV file with the columns `folder,class`, where the class is a name or a
/// number; or, as timm's `class_map.txt`, a name a line in the order of the outputs, or a name and a
/// number on each.
#[derive(Debug, Clone)]
pub struct ClassMap {
    path: PathBuf,
    entries: Entries,
}

#[derive(Debug, Clone)]
enum Entries {
    /// The name of every output.
    Names(Vec<String>),
    /// A folder, and the name or number of its output.
    Pairs(Vec<(String, String)>),
}

impl ClassMap {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, is empty, or lists a class twice.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let text = fs::read_to_string(path).map_err(DataError::io(path))?;
        let refuse = |reason: String| DataError::ClassMap { path: path.to_owned(), reason };
        let text = text.trim_start_matches('\u{feff}');
        let entries =
            match text.lines().next().is_some_and(|line| line.trim().eq_ignore_ascii_case("folder,class")) {
                true => Entries::Pairs(table(text).map_err(refuse)?),
                false => lines(text).map_err(refuse)?,
            };
        let mut seen = HashSet::new();
        let twice = match &entries {
            Entries::Names(names) => names.iter().find(|name| !seen.insert(*name)),
            Entries::Pairs(pairs) => {
                pairs.iter().map(|(folder, _)| folder).find(|folder| !seen.insert(*folder))
            }
        };
        match twice {
            Some(twice) => Err(refuse(format!("lists `{twice}` twice"))),
            None => Ok(Self { path: path.to_owned(), entries }),
        }
    }

    /// Numbers the classes of a source as the outputs of a network.
    ///
    /// # Errors
    /// A class that the file does not list, an output that the network does not have, images with
    /// other targets than classes.
    pub fn apply(
        &self,
        source: Arc<dyn ImageSource>,
        names: &[String],
        naming: Naming,
    ) -> Result<Matched, DataError> {
        if source.task() != Task::Class {
            let reason = "is for images of one class each; others are matched by the names of their columns";
            return Err(self.refuse(reason.to_owned()));
        }
        let outputs = self.outputs(names)?.into_iter();
        let outputs: HashMap<String, usize> =
            outputs.map(|(class, output)| (normal(&class), output)).collect();
        let missing: Vec<&String> =
            source.classes().iter().filter(|class| !outputs.contains_key(&normal(class))).collect();
        if let [first, ..] = missing[..] {
            let count = missing.len();
            return Err(self.refuse(format!("does not list {count} classes of the data, such as `{first}`")));
        }
        let index: Vec<usize> = source.classes().iter().map(|class| outputs[&normal(class)]).collect();
        let mut classes = names.to_vec();
        if naming == Naming::Numbers {
            index.iter().zip(source.classes()).for_each(|(index, class)| classes[*index].clone_from(class));
        }
        Ok(Matched { source: renumbered(source, &classes, index), classes, how: ClassMatch::Map })
    }

    /// The names of a network's outputs, with those of the file in their places.
    ///
    /// # Errors
    /// An output that the network does not have, or that two classes are.
    pub fn names(&self, names: &[String]) -> Result<Vec<String>, DataError> {
        let (mut named, mut seen) = (names.to_vec(), HashSet::new());
        for (class, output) in self.outputs(names)? {
            if !seen.insert(output) {
                return Err(self.refuse(format!("has two names for output {output}, one of them `{class}`")));
            }
            named[output] = class;
        }
        Ok(named)
    }

    /// Every class that is listed, and its output.
    fn outputs(&self, names: &[String]) -> Result<Vec<(String, usize)>, DataError> {
        match &self.entries {
            Entries::Names(listed) if listed.len() != names.len() => {
                let (listed, outputs) = (listed.len(), names.len());
                Err(self.refuse(format!(
                    "lists {listed} classes, a line each; the network has {outputs} outputs"
                )))
            }
            Entries::Names(listed) => Ok(listed.iter().cloned().zip(0..).collect()),
            Entries::Pairs(pairs) => pairs
                .iter()
                .map(|(folder, class)| {
                    let unknown = || {
                        let outputs = names.len();
                        self.refuse(format!(
                            "says that `{folder}` is `{class}`, which is none of the {outputs} outputs"
                        ))
                    };
                    Ok((folder.clone(), output(class, names).ok_or_else(unknown)?))
                })
                .collect(),
        }
    }

    fn refuse(&self, reason: String) -> DataError {
        DataError::ClassMap { path: self.path.clone(), reason }
    }
}

/// The output of a name or number; none if there is none, or several of the name.
fn output(class: &str, names: &[String]) -> Option<usize> {
    let mut called =
        names.iter().enumerate().filter(|(_, name)| normal(name) == normal(class)).map(|(index, _)| index);
    match (called.next(), called.next()) {
        (Some(index), None) => Some(index),
        (Some(_), Some(_)) => None,
        (None, _) => match class.parse() {
            Ok(index) => Some(index).filter(|index| *index < names.len()),
            Err(_) => imagenet_positions(&[class.to_owned()], names)[0],
        },
    }
}

/// The rows of a CSV file.
fn table(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let rows = reader.records().map(|row| {
        let row = row.map_err(|error| error.to_string())?;
        match (&row[0], &row[1]) {
            ("", _) | (_, "") => Err(format!("line {}: a folder or a class is missing", line_of(&row))),
            (folder, class) => Ok((folder.to_owned(), class.to_owned())),
        }
    });
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() { Err("lists no class".to_owned()) } else { Ok(rows) }
}

fn line_of(row: &csv::StringRecord) -> u64 {
    row.position().map_or(0, csv::Position::line)
}

/// A name a line, or on every line a name and a number, where the names alone are all different:
/// otherwise a number belongs to its name, as in `Boeing 737`, `Boeing 747`.
fn lines(text: &str) -> Result<Entries, String> {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim).collect();
    if lines == [""] || lines.is_empty() {
        return Err("lists no class".to_owned());
    }
    if let Some(empty) = lines.iter().position(|line| line.is_empty()) {
        return Err(format!("line {} is empty; a line is an output", empty + 1));
    }
    let pair = |line: &&str| {
        let (name, number) = line.rsplit_once([' ', '\t', ','])?;
        let name = name.trim_end_matches([' ', '\t', ',', ':']);
        number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
        (!name.is_empty() && !number.is_empty()).then(|| (name.to_owned(), number.to_owned()))
    };
    let pairs: Option<Vec<(String, String)>> = lines.iter().map(pair).collect();
    let are_different = |pairs: &Vec<(String, String)>| {
        pairs.iter().map(|(name, _)| name).collect::<HashSet<_>>().len() == pairs.len()
    };
    Ok(match pairs.filter(are_different) {
        Some(pairs) => Entries::Pairs(pairs),
        None => Entries::Names(lines.into_iter().map(str::to_owned).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::Named;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn load(text: &str) -> Result<ClassMap, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("map");
        fs::write(&path, text).unwrap();
        ClassMap::load(&path)
    }

    /// The outputs of these folders in a network of three.
    fn applied(text: &str, folders: &[&str], naming: Naming) -> Result<(Vec<u32>, Vec<String>), DataError> {
        let source = Arc::new(Named(owned(folders)));
        let matched = load(text)?.apply(source, &owned(&["cat", "dog", "red fox"]), naming)?;
        let labels = (0..folders.len()).filter_map(|index| matched.source.label(index)).collect();
        Ok((labels, matched.classes))
    }

    #[test]
    fn a_map_says_which_output_a_folder_is() {
        for text in [
            "folder,class\nB,cat\nA,red fox\n",
            "folder,class\r\nA,2\r\nB,0\r\nC,dog\r\n",
            "B\nC\nA\n",
            "B 0\nA 2\n",
            "A\t2\nB, 0\n",
        ] {
            let (labels, names) = applied(text, &["A", "B"], Naming::Own).unwrap();
            assert_eq!((labels, &names[2][..]), (vec![2, 0], "red fox"), "{text}");
        }
        let (_, names) = applied("B\nC\nA\n", &["A", "B"], Naming::Numbers).unwrap();
        assert_eq!(names, ["B", "dog", "A"]);
        let (labels, _) = applied("A 310\nA 320\nA 330\n", &["A 320"], Naming::Own).unwrap();
        assert_eq!(labels, [1]);
        let names = load("folder,class\nB,cat\n").unwrap().names(&owned(&["cat", "dog"])).unwrap();
        assert_eq!(names, ["B", "dog"]);
    }

    #[test]
    fn what_is_wrong_with_a_map_is_named() {
        for (text, said) in [
            ("folder,class\nA,cat\nA,dog\n", "lists `A` twice"),
            ("folder,class\nA,cat\n", "does not list 1 classes of the data, such as `B`"),
            ("folder,class\nA,cat\nB,lynx\n", "says that `B` is `lynx`, which is none of the 3 outputs"),
            ("folder,class\nA,cat\nB,3\n", "says that `B` is `3`"),
            ("folder,class\nA,cat\nB,\n", "line 3: a folder or a class is missing"),
            ("folder,class\n", "lists no class"),
            ("", "lists no class"),
            ("A\nB\n", "lists 2 classes, a line each; the network has 3 outputs"),
            ("A\n\nB\n", "line 2 is empty"),
            ("A\nB\nA\n", "lists `A` twice"),
        ] {
            let error = applied(text, &["A", "B"], Naming::Own).unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
        let error = load("folder,class\nA,cat\nB,cat\n").unwrap().names(&owned(&["cat"])).unwrap_err();
        assert!(error.to_string().contains("two names for output 0"), "{error}");
    }
}
