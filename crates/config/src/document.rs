//! The page that documents every key, made from the types.

use std::fmt::Write;

use crate::section::{Field, OnResume, Section};

/// A section for the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionDoc {
    /// The name in a file.
    pub name: &'static str,
    /// The subject of the section.
    pub doc: &'static str,
    /// The keys of the section.
    pub fields: Vec<Field>,
}

impl SectionDoc {
    /// Describes a section, with its values as defaults.
    pub fn of<S: Section>(section: &S) -> Self {
        Self { name: S::NAME, doc: S::DOC.trim(), fields: section.fields() }
    }
}

/// Sections of several experiments as Markdown: a table a section, a default for each experiment that
/// has the section (`experiments`: name and sections).
pub fn document(experiments: &[(&str, Vec<SectionDoc>)]) -> String {
    let mut text = String::new();
    let mut done: Vec<&str> = Vec::new();
    for section in experiments.iter().flat_map(|(_, sections)| sections) {
        if done.contains(&section.name) {
            continue;
        }
        done.push(section.name);
        let owners: Vec<_> = experiments
            .iter()
            .filter_map(|(name, all)| Some((*name, all.iter().find(|other| other.name == section.name)?)))
            .collect();
        let names: Vec<_> = owners.iter().map(|(name, _)| *name).collect();
        let _ = writeln!(text, "\n## `[{}]`\n\n{} ({})\n", section.name, section.doc, names.join(", "));
        text += "| key | type | default | allowed | on resume | meaning |\n|---|---|---|---|---|---|\n";
        for (i, field) in section.fields.iter().enumerate() {
            let defaults: Vec<_> = owners.iter().map(|(name, owner)| (*name, &owner.fields[i])).collect();
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} | {} |",
                field.key,
                field.kind,
                default_cell(&defaults),
                field.allowed.unwrap_or(""),
                on_resume(field.on_resume),
                field.doc
            );
        }
    }
    text
}

fn on_resume(key: OnResume) -> &'static str {
    match key {
        OnResume::Fixed => "fixed",
        OnResume::Said => "may change, said",
        OnResume::Free => "may change",
    }
}

/// One default, or that of each experiment where they differ.
fn default_cell(defaults: &[(&str, &Field)]) -> String {
    let shown = |field: &Field| match &field.default {
        Some(value) => format!("`{value}`"),
        None => "left out".to_owned(),
    };
    let first = shown(defaults[0].1);
    if defaults.iter().all(|(_, field)| shown(field) == first) {
        return first;
    }
    let each: Vec<_> = defaults.iter().map(|(name, field)| format!("{name}: {}", shown(field))).collect();
    each.join(", ")
}
