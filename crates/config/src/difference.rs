//! Whether two configurations say the same.

use crate::error::SettingError;
use crate::parse::Config;

/// Checks that a run goes on as it began: only the keys of `may_change` may differ.
///
/// # Errors
/// The first other key whose value differs, with both values.
pub fn require_same<C: Config>(before: &C, now: &C, may_change: &[&str]) -> Result<(), SettingError> {
    let table = |config: &C| {
        toml::Table::try_from(config).map_err(|error| SettingError::text(&error.to_string(), ""))
    };
    let (before, now) = (table(before)?, table(now)?);
    let mut keys: Vec<String> = [&before, &now].into_iter().flat_map(keys).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (old, new) = (value(&before, &key), value(&now, &key));
        if old != new && !may_change.contains(&key.as_str()) {
            let show = |value: Option<&toml::Value>| value.map_or("unset".to_owned(), |v| v.to_string());
            return Err(SettingError::Together(format!(
                "{key} was {} in this run and is {} now; a run continues as it began. \
                 For a new run with these weights use --init",
                show(old),
                show(new)
            )));
        }
    }
    Ok(())
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
