//! What lies with the images of a source and is not used.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::name::shown;

/// What lies with the images of a source and is not used: files by their ending, and columns of a table.
///
/// Shown as `20 .heic, 3 .txt in photos`, the most numerous first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeftOut {
    place: PathBuf,
    files: BTreeMap<String, usize>,
    columns: Vec<String>,
}

impl LeftOut {
    /// Nothing yet, of a folder or a table.
    pub(super) fn of(place: &Path) -> Self {
        Self { place: place.to_owned(), ..Self::default() }
    }

    /// Whether everything is used.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.columns.is_empty()
    }

    /// Files in all.
    pub fn files(&self) -> usize {
        self.files.values().sum()
    }

    /// Files by kind: by their ending, or in words that follow a number.
    pub fn kinds(&self) -> &BTreeMap<String, usize> {
        &self.files
    }

    /// Files of one kind, in words that follow a number.
    pub(super) fn add(&mut self, kind: impl Into<String>, files: usize) {
        if files > 0 {
            *self.files.entry(kind.into()).or_default() += files;
        }
    }

    /// The files that another one counts.
    pub(super) fn add_all(&mut self, other: &Self) {
        other.files.iter().for_each(|(kind, files)| self.add(kind, *files));
    }

    /// A file of a kind is used after all.
    pub(super) fn subtract(&mut self, kind: &str) {
        if let Some(files) = self.files.get_mut(kind) {
            *files -= 1;
        }
        self.files.retain(|_, files| *files > 0);
    }

    /// Columns of a table that mean nothing here. The index that pandas writes has no name.
    pub(super) fn add_columns(&mut self, names: &[String]) {
        let name = |name: &String| if name.is_empty() { "(unnamed)".to_owned() } else { name.clone() };
        self.columns.extend(names.iter().map(name));
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<_> = self.files.iter().collect();
        kinds.sort_by_key(|(_, files)| Reverse(**files));
        let mut parts: Vec<_> = kinds.iter().map(|(kind, files)| format!("{files} {kind}")).collect();
        match &self.columns[..] {
            [] => {}
            [column] => parts.push(format!("column `{column}`")),
            columns => parts.push(format!("columns `{}`", columns.join("`, `"))),
        }
        write!(f, "{}", parts.join(", "))?;
        if parts.is_empty() { Ok(()) } else { write!(f, " in {}", shown(&self.place)) }
    }
}

/// The ending of a file as it is counted, in lower case.
pub(super) fn ending(path: &Path) -> String {
    let ending = path.extension().map(|ending| format!(".{}", shown(ending).to_lowercase()));
    ending.unwrap_or_else(|| "without ending".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_numerous_is_told_first() {
        let mut left_out = LeftOut::of("photos".as_ref());
        assert!(left_out.is_empty());
        left_out.add(".txt", 0);
        assert_eq!(left_out.to_string(), "");
        for (name, files) in [("a.txt", 3), ("b.HEIC", 19), ("c.heic", 1), ("README", 1), ("d.xml", 3)] {
            left_out.add(ending(name.as_ref()), files);
        }
        assert_eq!(left_out.to_string(), "20 .heic, 3 .txt, 3 .xml, 1 without ending in photos");
        assert_eq!(left_out.files(), 27);
        left_out.add_columns(&["caption".to_owned()]);
        assert!(left_out.to_string().ends_with("1 without ending, column `caption` in photos"));
    }
}
