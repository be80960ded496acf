//! From text to an experiment.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::document::SectionDoc;
use crate::error::SettingError;

/// A whole configuration. Its `Default` holds what an empty file means.
pub trait Config: Default + Clone + PartialEq + Serialize + DeserializeOwned {
    /// Keys that once had another name: old and new, each with its section.
    const MOVED: &'static [(&'static str, &'static str)] = &[];

    /// Checks every section, and what depends on several.
    ///
    /// # Errors
    /// The first value that is not allowed.
    fn check(&self) -> Result<(), SettingError> {
        Ok(())
    }

    /// Every section with its keys, for the documentation.
    fn sections(&self) -> Vec<SectionDoc> {
        Vec::new()
    }
}

/// Reads and checks a configuration file, with `section.key=value` overrides.
///
/// # Errors
/// A file that is unreadable or at fault, named with the line; an override that is.
pub fn load<C: Config>(path: &Path, overrides: &[String]) -> Result<C, SettingError> {
    load_text(path, &read(path)?, overrides)
}

/// Reads and checks the text of a configuration file, with `section.key=value` overrides; `path` is what
/// messages call it.
///
/// # Errors
/// As [`load`].
pub fn load_text<C: Config>(path: &Path, text: &str, overrides: &[String]) -> Result<C, SettingError> {
    // Parsed by itself first: the file's own mistakes are shown as those of the file.
    let in_file = |reason| SettingError::File { path: path.to_owned(), reason: Box::new(reason) };
    lay_over_defaults::<C>(text).map_err(in_file)?;
    parse(text, overrides)
}

/// Reads the configuration that a run has stored. Keys that have moved since are read where they are
/// now, so that checkpoints outlive them.
///
/// # Errors
/// As [`load`].
pub fn load_stored<C: Config>(path: &Path) -> Result<C, SettingError> {
    let in_file = |reason| SettingError::File { path: path.to_owned(), reason: Box::new(reason) };
    let mut table = table(&read(path)?).map_err(in_file)?;
    for (old, new) in C::MOVED {
        if let Some(value) = take(&mut table, old) {
            set(&mut table, new, value).map_err(in_file)?;
        }
    }
    let text =
        toml::to_string(&table).map_err(|error| in_file(SettingError::text(&error.to_string(), "")))?;
    from_table(lay_over_defaults::<C>(&text).map_err(in_file)?).map_err(in_file)
}

/// Parses and checks a configuration, with `section.key=value` overrides. An unknown key is answered
/// with the nearest known one.
///
/// # Errors
/// Text or overrides that are at fault.
pub fn parse<C: Config>(text: &str, overrides: &[String]) -> Result<C, SettingError> {
    let mut table = lay_over_defaults::<C>(text)?;
    for entry in overrides {
        let at_fault = |reason| SettingError::Override { entry: entry.clone(), reason: Box::new(reason) };
        apply_override::<C>(&mut table, entry).map_err(at_fault)?;
        // Read one by one, so that the message names the override at fault.
        from_table::<C>(table.clone()).map_err(at_fault)?;
    }
    let config: C = from_table(table)?;
    config.check()?;
    Ok(config)
}

/// A configuration as the text of a file, every default spelled out.
///
/// # Errors
/// A value that TOML cannot hold.
pub fn to_toml<C: Config>(config: &C) -> Result<String, SettingError> {
    toml::to_string_pretty(config).map_err(|error| SettingError::text(&error.to_string(), ""))
}

/// The text of a configuration file.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<String, SettingError> {
    fs::read_to_string(path)
        .map_err(|error| SettingError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}

fn table(text: &str) -> Result<toml::Table, SettingError> {
    text.parse().map_err(|error: toml::de::Error| SettingError::text(&error.to_string(), error.message()))
}

fn from_table<C: Config>(table: toml::Table) -> Result<C, SettingError> {
    C::deserialize(table).map_err(|error| SettingError::text(error.message(), error.message()))
}

/// The table of a text over the defaults of its experiment.
fn lay_over_defaults<C: Config>(text: &str) -> Result<toml::Table, SettingError> {
    let given = table(text)?;
    if let Some((old, new)) = C::MOVED.iter().find(|(old, _)| get(&given, old).is_some()) {
        return Err(SettingError::Moved { old, new });
    }
    // Read from the text itself, since only that knows its lines.
    let strict: Result<C, _> = toml::from_str(text);
    strict.map_err(|error| SettingError::text(&error.to_string(), error.message()))?;
    let mut all =
        toml::Table::try_from(C::default()).map_err(|error| SettingError::text(&error.to_string(), ""))?;
    for (key, value) in given {
        match (all.get_mut(&key).and_then(toml::Value::as_table_mut), value) {
            (Some(defaults), toml::Value::Table(section)) => defaults.extend(section),
            (_, value) => {
                all.insert(key, value);
            }
        }
    }
    Ok(all)
}

/// Sets `section.key` to a TOML value; what is no TOML value is taken as text.
fn apply_override<C: Config>(table: &mut toml::Table, entry: &str) -> Result<(), SettingError> {
    let (key, value) = entry.split_once('=').ok_or_else(|| {
        SettingError::Together("expected section.key=value, for example train.batch_size=32".to_owned())
    })?;
    if let Some((old, new)) = C::MOVED.iter().find(|(old, _)| *old == key.trim()) {
        return Err(SettingError::Moved { old, new });
    }
    let value = match format!("v = {value}").parse::<toml::Table>() {
        Ok(mut parsed) => parsed.remove("v").unwrap_or_else(|| value.into()),
        Err(_) => toml::Value::from(value),
    };
    set(table, key.trim(), value)
}

fn get<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    let (section, key) = key.split_once('.')?;
    table.get(section)?.as_table()?.get(key)
}

fn take(table: &mut toml::Table, key: &str) -> Option<toml::Value> {
    let (section, key) = key.split_once('.')?;
    table.get_mut(section)?.as_table_mut()?.remove(key)
}

fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), SettingError> {
    let mut path: Vec<&str> = key.split('.').collect();
    let leaf = path.pop().unwrap_or_default();
    let mut here = table;
    for part in path {
        here = here
            .entry(part)
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
            .ok_or_else(|| SettingError::Together(format!("`{part}` is a value, not a section")))?;
    }
    here.insert(leaf.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::Section;
    use serde::Deserialize;

    mod steps {
        #![allow(unreachable_pub, reason = "sections are public types")]

        crate::section! {
            /// Steps.
            pub struct Steps: "steps" {
                /// Size.
                size: usize = 4, "at least 1" => |size| *size > 0;
                /// Speed.
                speed: Option<f64> = None;
                /// Rest.
                rest: bool = false;
            }
            on resume { fixed: size; said: speed; free: rest; }
        }
    }
    use steps::Steps;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Walk {
        steps: Steps,
    }

    impl Default for Walk {
        fn default() -> Self {
            Self { steps: Steps { speed: Some(2.0), ..Steps::default() } }
        }
    }

    impl Config for Walk {
        const MOVED: &'static [(&'static str, &'static str)] = &[("steps.pace", "steps.speed")];

        fn check(&self) -> Result<(), SettingError> {
            self.steps.check()
        }

        fn sections(&self) -> Vec<SectionDoc> {
            vec![SectionDoc::of(&self.steps)]
        }
    }

    fn error(text: &str, overrides: &[&str]) -> String {
        let overrides: Vec<_> = overrides.iter().map(|entry| (*entry).to_owned()).collect();
        parse::<Walk>(text, &overrides).unwrap_err().to_string()
    }

    #[test]
    fn a_file_lies_over_the_defaults_of_the_experiment() {
        let walk: Walk = parse("[steps]\nsize = 7\n", &["steps.speed=3".to_owned()]).unwrap();
        assert_eq!(walk.steps, Steps { size: 7, speed: Some(3.0), rest: false });
        assert_eq!(parse::<Walk>("[steps]\nsize = 7\n", &[]).unwrap().steps.speed, Some(2.0));
    }

    #[test]
    fn mistakes_are_named_with_the_nearest_key() {
        assert!(error("[steps]\nsise = 1\n", &[]).contains("did you mean `size`?"));
        assert!(error("[steps]\nsise = 1\n", &[]).contains('\n'), "the line is shown");
        let found = error("", &["steps.sise=1"]);
        assert!(
            found.starts_with("in --set steps.sise=1: ") && found.contains("did you mean `size`?"),
            "{found}"
        );
        assert!(error("", &["steps.size"]).contains("section.key=value"));
        assert_eq!(error("[steps]\nsize = 0\n", &[]), "steps.size must be at least 1, found 0");
    }

    #[test]
    fn a_key_that_has_moved_says_where_and_stored_ones_are_still_read() {
        let text = "[steps]\npace = 5.0\n";
        assert_eq!(error(text, &[]), "steps.pace is called steps.speed now; write it there");
        assert!(error("", &["steps.pace=5.0"]).contains("is called steps.speed"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        assert_eq!(load_stored::<Walk>(&file).unwrap().steps.speed, Some(5.0));
    }

    #[test]
    fn a_run_goes_on_as_it_began_but_for_what_may_change() {
        let walk = |lines: &str| parse::<Walk>(&format!("[steps]\n{lines}\n"), &[]).unwrap();
        let changes = |now: &str| crate::changes(&walk("size = 4"), &walk(now), &walk("").sections());
        let error = changes("size = 5\nrest = true").unwrap_err().to_string();
        assert!(error.contains("steps.size was 4 in this run and is 5 now"), "{error}");
        assert_eq!(changes("size = 4\nrest = true").unwrap(), []);
        let [change] = &changes("size = 4\nspeed = 3.0").unwrap()[..] else { panic!("one change") };
        assert_eq!(change.to_string(), "steps.speed 2.0 → 3.0");
        // What no section says anything of is fixed.
        assert!(crate::changes(&walk("rest = true"), &walk("rest = false"), &[]).is_err());
    }

    #[test]
    fn the_page_shows_every_key_and_each_default() {
        let page = crate::document(&[
            ("a", Walk::default().sections()),
            ("b", vec![SectionDoc::of(&Steps::default())]),
        ]);
        assert!(page.contains("| `size` | whole number | `4` | at least 1 | fixed | Size. |"), "{page}");
        assert!(
            page.contains("| `speed` | number | a: `2.0`, b: left out |  | may change, said | Speed. |"),
            "{page}"
        );
    }
}
