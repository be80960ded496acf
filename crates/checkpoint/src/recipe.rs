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
    /// The text that it was read from, in which sections have an order.
    text: Option<String>,
}

impl Recipe {
    /// Reads the configuration of a run.
    ///
    /// # Errors
    /// A file that cannot be read or is no TOML.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let text = fs::read_to_string(path).map_err(CheckpointError::io("read", path))?;
        Self::from_text(path, text)
    }

    /// The recipe that a text says; `path` is for messages.
    ///
    /// # Errors
    /// Text that is no TOML.
    pub fn from_text(path: &Path, text: String) -> Result<Self, CheckpointError> {
        let table = text.parse().map_err(|error: toml::de::Error| CheckpointError::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { path: path.to_owned(), table, text: Some(text) })
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
            self.text = None;
        }
    }

    /// The text of a configuration file.
    pub fn to_toml(&self) -> String {
        match &self.text {
            Some(text) => text.clone(),
            None => toml::to_string_pretty(&self.table).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_by_who_knows_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "seed = 3\n[model]\n[augment]\nhflip = false\n").unwrap();
        let mut recipe = Recipe::load(&path).unwrap();
        assert_eq!(recipe.to_toml(), fs::read_to_string(&path).unwrap());
        assert_eq!(recipe.section::<u64>("seed").unwrap(), Some(3));
        assert_eq!(recipe.section::<toml::Table>("augment").unwrap().unwrap()["hflip"], false.into());
        assert!(recipe.section::<toml::Table>("model").unwrap().unwrap().is_empty());
        assert!(!recipe.has("finetune"));
        recipe.set("finetune", toml::Table::from_iter([("classes".to_owned(), vec!["cat"].into())]));
        assert!(recipe.to_toml().contains("classes = [\"cat\"]"));
        let error = recipe.section::<String>("seed").unwrap_err().to_string();
        assert!(error.contains("config.toml") && error.contains("[seed]"), "{error}");
    }
}
