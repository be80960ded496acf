//! What differs between two configurations of one run.

use std::fmt;

use crate::document::SectionDoc;
use crate::error::SettingError;
use crate::parse::Config;
use crate::section::OnResume;

/// A key whose value is another one now, which has to be said.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The key with its section, as in `train.epochs`.
    pub key: String,
    /// The former value in TOML; none where it was left out.
    pub before: Option<toml::Value>,
    /// The present value.
    pub now: Option<toml::Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.key, shown(&self.before), shown(&self.now))
    }
}

fn shown(value: &Option<toml::Value>) -> String {
    value.as_ref().map_or("unset".to_owned(), ToString::to_string)
}

/// What has changed of a run that goes on and has to be said ([`OnResume::Said`]). `sections` tell
/// which keys may change; what is in none of them may not.
///
/// # Errors
/// The first key that may not change and has, with both values.
pub fn changes<C: Config>(before: &C, now: &C, sections: &[SectionDoc]) -> Result<Vec<Change>, SettingError> {
    let table = |config: &C| {
        toml::Table::try_from(config).map_err(|error| SettingError::text(&error.to_string(), ""))
    };
    let (before, now) = (table(before)?, table(now)?);
    let mut keys: Vec<String> = [&before, &now].into_iter().flat_map(keys).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut said = Vec::new();
    for key in keys {
        let (before, now) = (value(&before, &key), value(&now, &key));
        if before == now {
            continue;
        }
        let change = Change { before: before.cloned(), now: now.cloned(), key };
        match on_resume(sections, &change.key) {
            OnResume::Free => {}
            OnResume::Said => said.push(change),
            OnResume::Fixed => {
                let Change { key, before, now } = &change;
                return Err(SettingError::Together(format!(
                    "{key} was {} in this run and is {} now; a run continues as it began. \
                     For a new run with these weights use --init",
                    shown(before),
                    shown(now)
                )));
            }
        }
    }
    Ok(said)
}

fn on_resume(sections: &[SectionDoc], key: &str) -> OnResume {
    let field = key.split_once('.').and_then(|(name, key)| {
        let of_section = sections.iter().filter(|section| section.name == name);
        of_section.flat_map(|section| &section.fields).find(|field| field.key == key)
    });
    field.map_or(OnResume::Fixed, |field| field.on_resume)
}

/// Every key with its section.
fn keys(table: &toml::Table) -> Vec<String> {
    let of_section = |(section, value): (&String, &toml::Value)| match value {
        toml::Value::Table(keys) => keys.keys().map(|key| format!("{section}.{key}")).collect(),
        _ => vec![section.clone()],
    };
    table.iter().flat_map(of_section).collect()
}

fn value<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    match key.split_once('.') {
        Some((section, key)) => table.get(section)?.as_table()?.get(key),
        None => table.get(key),
    }
}
