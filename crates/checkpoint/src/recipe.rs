//! What a checkpoint says of its network and of the images that it takes, as sections of a
//! configuration.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CheckpointError;

/// The configuration of a checkpoint, section by section: that of its run, or what a checkpoint of
/// another program would say here. Whoever uses a section knows its type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recipe {
    /// The file, for messages; empty for one that was made up.
    path: PathBuf,
    table: toml::Table,
}

impl Recipe {
    /// Reads the configuration of a run. Keys of `moved` (old and new name, each with its section) are
    /// read where they are now.
    ///
    /// # Errors
    /// A file that cannot be read or is no TOML.
    pub fn load(path: &Path, moved: &[(&str, &str)]) -> Result<Self, CheckpointError> {
        let text = fs::read_to_string(path).map_err(CheckpointError::io("read", path))?;
        let table = text.parse().map_err(|error: toml::de::Error| CheckpointError::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let mut recipe = Self { path: path.to_owned(), table };
        moved.iter().for_each(|(old, new)| recipe.rename(old, new));
        Ok(recipe)
    }

    fn rename(&mut self, old: &str, new: &str) {
        let (Some((from, old)), Some((to, new))) = (old.split_once('.'), new.split_once('.')) else { return };
        let value = self.table.get_mut(from).and_then(|section| section.as_table_mut()?.remove(old));
        let Some(value) = value else { return };
        let section = self.table.entry(to).or_insert_with(|| toml::Table::new().into());
        if let Some(section) = section.as_table_mut() {
            section.insert(new.to_owned(), value);
        }
    }

    /// Whether there is such a section.
    pub fn has(&self, section: &str) -> bool {
        self.table.contains_key(section)
    }

    /// A section; none if there is no such one. Keys that it lacks have their defaults.
    ///
    /// # Errors
    /// A section that is of another type.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CheckpointError> {
        let Some(value) = self.table.get(name) else { return Ok(None) };
        value.clone().try_into().map(Some).map_err(|error: toml::de::Error| CheckpointError::Recipe {
            path: self.path.clone(),
            section: name.to_owned(),
            reason: error.message().to_owned(),
        })
    }

    /// Adds or replaces a section or a value outside of sections; one that TOML cannot hold is left
    /// out.
    pub fn set(&mut self, name: &str, value: impl Serialize) {
        if let Ok(value) = toml::Value::try_from(value) {
            self.table.insert(name.to_owned(), value);
        }
    }

    /// The text of a configuration file.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(&self.table).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_by_who_knows_them_and_moved_keys_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "seed = 3\n[data]\nhflip = false\n").unwrap();
        let mut recipe = Recipe::load(&path, &[("data.hflip", "augment.hflip")]).unwrap();
        assert_eq!(recipe.section::<u64>("seed").unwrap(), Some(3));
        assert_eq!(recipe.section::<toml::Table>("augment").unwrap().unwrap()["hflip"], false.into());
        assert!(recipe.section::<toml::Table>("data").unwrap().unwrap().is_empty());
        assert!(!recipe.has("finetune"));
        recipe.set("finetune", toml::Table::from_iter([("classes".to_owned(), vec!["cat"].into())]));
        assert!(recipe.to_toml().contains("classes = [\"cat\"]"));
        let error = recipe.section::<String>("seed").unwrap_err().to_string();
        assert!(error.contains("config.toml") && error.contains("[seed]"), "{error}");
    }
}
