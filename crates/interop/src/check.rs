//! Every tensor against the network it is for.

use std::collections::BTreeMap;
use std::fmt;

use checkpoint::StateDict;

use checkpoint::Allow;

/// Tensors listed by name before the rest is only counted.
const LISTED: usize = 12;

/// What tensors and network do not agree on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors of the network that the checkpoint lacks.
    pub missing: Vec<String>,
    /// Tensors that the network does not know.
    pub unused: Vec<String>,
    /// Name, shape in the network, shape in the checkpoint.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let shapes = self
            .shapes
            .iter()
            .map(|(name, expected, found)| format!("`{name}` (expected {expected:?}, found {found:?})"));
        let mut groups = Vec::new();
        for (what, hint, names) in [
            ("of another shape", "", shapes.collect()),
            ("missing", " (accept with --allow-missing PATTERN)", quoted(&self.missing)),
            ("unused", " (accept with --allow-unused PATTERN)", quoted(&self.unused)),
        ] {
            if !names.is_empty() {
                let more = names.len().saturating_sub(LISTED);
                let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
                let listed = names[..names.len() - more].join(", ");
                groups.push(format!("{} tensors {what}{hint}: {listed}{rest}", names.len()));
            }
        }
        f.write_str(&groups.join("; "))
    }
}

/// Holds tensors against names and shapes, and leaves out those that are allowed to be unused.
/// `outside`: names of tensors that are of no network.
///
/// # Errors
/// Everything that differs and is not allowed to.
pub(crate) fn check(
    weights: StateDict,
    mut outside: Vec<String>,
    expected: Vec<(String, Vec<usize>)>,
    allow: &Allow,
) -> Result<StateDict, Mismatch> {
    outside.retain(|name| !allow.unused(name));
    let mut mismatch = Mismatch { unused: outside, ..Mismatch::default() };
    let mut expected: BTreeMap<_, _> = expected.into_iter().collect();
    let mut kept = StateDict::default();
    for (name, entry) in weights {
        match expected.remove(&name) {
            Some(shape) if shape == entry.shape => kept.insert(name, entry),
            Some(shape) => mismatch.shapes.push((name, shape, entry.shape)),
            None if allow.unused(&name) => {}
            None => mismatch.unused.push(name),
        }
    }
    mismatch.missing = expected.into_keys().filter(|name| !allow.missing(name)).collect();
    if mismatch == Mismatch::default() { Ok(kept) } else { Err(mismatch) }
}
