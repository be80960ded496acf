//! The names of repositories.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::hub::error::HubError;

/// `user/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoId {
    /// A user or an organisation.
    pub owner: String,
    /// The model.
    pub name: String,
}

impl FromStr for RepoId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let fits = |part: &str| {
            let inside = part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            let ends = part.starts_with(['-', '.']) || part.ends_with(['-', '.']);
            inside && !part.is_empty() && part.len() <= 96 && !ends
        };
        match text.split_once('/') {
            Some((owner, name)) if fits(owner) && fits(name) && !text.contains("..") => {
                Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
            }
            _ => Err(HubError::Name(text.to_owned())),
        }
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// `user/name` or `user/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where.
    pub repo: RepoId,
    /// A branch, a tag or a commit; `main` unless given.
    pub revision: String,
}

impl FromStr for Source {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        require_revision(revision)?;
        Ok(Self { repo: repo.parse()?, revision: revision.to_owned() })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repo, self.revision)
    }
}

/// A branch, tag or commit that Git would take and that can be a path.
pub(super) fn require_revision(revision: &str) -> Result<(), HubError> {
    let graphic = revision.bytes().all(|b| b.is_ascii_graphic() && !b"~^:?*[\\".contains(&b));
    match graphic && relative_path(revision).is_some() {
        true => Ok(()),
        false => Err(HubError::Revision(revision.to_owned())),
    }
}

/// A path that stays below the folder that it is joined to; servers and users can name any.
pub(super) fn relative_path(path: &str) -> Option<PathBuf> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    // The latter two mean other folders on Windows.
    (plain && !path.is_empty() && !path.contains(['\\', ':'])).then(|| path.into())
}

/// A text as one segment of an address.
pub(super) fn segment(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_printed() {
        let source: Source = "user/my-model.v2@refs/pr/1".parse().unwrap();
        assert_eq!((source.repo.to_string(), &source.revision[..]), ("user/my-model.v2".into(), "refs/pr/1"));
        assert_eq!("user/name".parse::<Source>().unwrap().to_string(), "user/name@main");
    }

    #[test]
    fn malformed_names_are_refused() {
        let bad = [
            "",
            "name",
            "a/b/c",
            "user/",
            "/name",
            "us er/name",
            "user/..",
            "../name",
            "https://x/y",
            "a/b?c",
        ];
        for name in bad {
            let error = name.parse::<RepoId>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")) && error.contains("user/name"), "{error}");
        }
        for revision in ["", "../x", "/x", "a b", "a:b", "x/../../y"] {
            let error = format!("user/name@{revision}").parse::<Source>().unwrap_err();
            assert!(matches!(error, HubError::Revision(_)), "{error}");
        }
    }

    #[test]
    fn segments_are_encoded() {
        assert_eq!(segment("refs/pr/1 ä"), "refs%2Fpr%2F1%20%C3%A4");
    }
}
