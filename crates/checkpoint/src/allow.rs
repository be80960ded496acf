//! Which differences between a checkpoint and its network are accepted.

/// Patterns of tensor names that may be missing or unused; none by default.
///
/// `*` stands for any characters, the rest for itself: `head.*`, `*.bias`, `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    /// Tensors that the checkpoint need not have.
    pub missing: Vec<String>,
    /// Tensors that the network need not know.
    pub unused: Vec<String>,
}

impl Allow {
    /// Whether this tensor may be missing.
    pub fn missing(&self, name: &str) -> bool {
        self.missing.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether this tensor may be unused.
    pub fn unused(&self, name: &str) -> bool {
        self.unused.iter().any(|pattern| matches(pattern, name))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_characters() {
        for pattern in ["head.weight", "head.*", "*.weight", "*", "h*.w*t", "*ad*", "**"] {
            assert!(matches(pattern, "head.weight"), "{pattern}");
        }
        for pattern in ["head", "weight", "head.*.weight", "*.bias", "", "*x*", "head.weight*t"] {
            assert!(!matches(pattern, "head.weight"), "{pattern}");
        }
    }
}
