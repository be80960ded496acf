//! How tensors fit a network.

use crate::allow::Allow;
use crate::state_dict_error::StateDictError;

/// How the names and shapes of a state dict fit a module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadReport {
    /// Parameters that the state dict lacks; they keep their values.
    pub missing: Vec<String>,
    /// Tensors that the module has no parameter for.
    pub unused: Vec<String>,
    /// Name, shape in the module, shape in the state dict; the parameters keep their values.
    pub mismatched: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl LoadReport {
    /// Takes out what may differ: missing tensors that `may_be_fresh` or `allow` accepts, which are
    /// returned, and unused ones that `allow` accepts.
    pub fn accept(&mut self, allow: &Allow, may_be_fresh: impl Fn(&str) -> bool) -> Vec<String> {
        let missing = std::mem::take(&mut self.missing);
        let (fresh, missing) =
            missing.into_iter().partition(|name| may_be_fresh(name) || allow.missing(name));
        self.missing = missing;
        self.unused.retain(|name| !allow.unused(name));
        fresh
    }

    /// Whether every parameter got its tensor and every tensor its parameter.
    ///
    /// # Errors
    /// Names the first tensor of another shape, and what is missing or unused.
    pub fn require_complete(&self) -> Result<(), StateDictError> {
        let mut problems = Vec::new();
        if let Some((name, expected, found)) = self.mismatched.first() {
            let others = match self.mismatched.len() - 1 {
                0 => String::new(),
                count => format!(" (and {count} more of another shape)"),
            };
            problems.push(format!("`{name}`: expected {expected:?}, found {found:?}{others}"));
        }
        for (what, names) in [("missing", &self.missing), ("not known to this model", &self.unused)] {
            if !names.is_empty() {
                let few: Vec<_> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
                let dots = if names.len() > 3 { ", …" } else { "" };
                problems.push(format!("{} {what}: {}{dots}", names.len(), few.join(", ")));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(StateDictError::Mismatch(problems.join("; "))) }
    }
}
