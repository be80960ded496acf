//! What can be wrong with a setting.

use std::path::PathBuf;

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A value that is not allowed.
    #[error("{key} must be {allowed}, found {found}")]
    Value {
        /// The key with its section, as in `optim.lr`.
        key: String,
        /// Which values the key takes, in words.
        allowed: String,
        /// The value that was given, in TOML.
        found: String,
    },
    /// Values of several keys that do not go together.
    #[error("{0}")]
    Together(String),
    /// A key that has another name now.
    #[error("{old} is called {new} now; write it there")]
    Moved {
        /// The former name with its section.
        old: &'static str,
        /// The present name with its section.
        new: &'static str,
    },
    /// Text that is no configuration: bad TOML, an unknown key, a value of another type.
    #[error("{message}{}", hint(nearest, message))]
    Text {
        /// What the parser says; for a file with the line at fault.
        message: String,
        /// The known key or value nearest to an unknown one.
        nearest: Option<String>,
    },
    /// An override on the command line that is at fault.
    #[error("in --set {entry}: {reason}")]
    Override {
        /// The override as given.
        entry: String,
        /// The reason, in words.
        reason: Box<SettingError>,
    },
    /// A file that cannot be read.
    #[error("cannot read the configuration {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason that the operating system gives.
        reason: String,
    },
    /// A file at fault.
    #[error("in {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: Box<SettingError>,
    },
}

/// A hint on a line of its own below the lines of a file, or behind a short message.
fn hint(nearest: &Option<String>, message: &str) -> String {
    match nearest {
        Some(key) if message.contains('\n') => format!("\nhint: did you mean `{key}`?"),
        Some(key) => format!("; did you mean `{key}`?"),
        None => String::new(),
    }
}

impl SettingError {
    /// What a parser says, with the nearest of the names that it expected.
    pub(crate) fn text(shown: &str, message: &str) -> Self {
        Self::Text { message: shown.trim_end().to_owned(), nearest: nearest(message) }
    }
}

/// The expected name nearest to the unknown one of an "unknown field" message.
fn nearest(message: &str) -> Option<String> {
    if !message.starts_with("unknown field") && !message.starts_with("unknown variant") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    quoted
        .map(|known| (strsim::normalized_damerau_levenshtein(unknown, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.4)
        .map(|(_, known)| known.to_owned())
}
