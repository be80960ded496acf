//! A repository becomes files.

use std::collections::HashSet;
use std::fs::{self, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::Value;
use whole::NewFolder;

use crate::hub::client::Call;
use crate::hub::download::part_of;
use crate::hub::error::HubError;
use crate::hub::push::sha256;
use crate::hub::repo::{RepoId, Source, relative_path, segment};
use crate::hub::{Hub, Progress};

/// A file of a repository.
pub(super) struct Remote {
    /// Below the root, checked to stay there.
    pub(super) path: PathBuf,
    /// Path of the file on the server.
    pub(super) name: String,
    pub(super) bytes: u64,
    /// Its name in caches: SHA-256 of large files, Git's hash of others.
    pub(super) etag: String,
    /// Whether the former.
    pub(super) large: bool,
}

/// The files of one commit.
pub(super) struct Snapshot {
    pub(super) repo: RepoId,
    pub(super) sha: String,
    pub(super) files: Vec<Remote>,
}

impl Hub {
    /// Downloads all files of a repository into a new or empty folder. They arrive in a hidden folder,
    /// and have their place once all are there. After an error large files stay in it, also incomplete ones,
    /// and the next pull goes on with them.
    ///
    /// # Errors
    /// A folder in use, a refusal of the server or no answer, damaged files, a full disk.
    pub fn pull(&self, source: &Source, folder: &Path, progress: &dyn Progress) -> Result<(), HubError> {
        let new = NewFolder::go_on(folder).map_err(|refused| match refused.error.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory => HubError::Occupied(folder.to_owned()),
            _ => refused.into(),
        })?;
        // Held until the end; there are disks without locks.
        let lock = fs::File::open(new.part()).ok();
        if lock.as_ref().is_some_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock))) {
            new.keep();
            return Err(HubError::InUse(folder.to_owned()));
        }
        match self.fill(source, new.part(), progress) {
            Ok(()) => Ok(new.finish()?),
            Err(error) if is_empty(new.part()) => Err(error),
            Err(error) => {
                let part = new.part().to_owned();
                new.keep();
                Err(HubError::Interrupted { error: Box::new(error), part })
            }
        }
    }

    /// Puts all files of a repository into a folder, in which an earlier attempt may have left some.
    fn fill(&self, source: &Source, folder: &Path, progress: &dyn Progress) -> Result<(), HubError> {
        let snapshot = self.snapshot(source)?;
        let tidy =
            || tidy(folder, &snapshot).map_err(|error| HubError::Io { path: folder.to_owned(), error });
        tidy()?;
        let done = snapshot.files.iter().try_for_each(|file| {
            let target = folder.join(&file.path);
            if target.is_file() {
                if sha256(&target)? == file.etag {
                    progress.start(&file.name, file.bytes);
                    progress.advance(file.bytes);
                    return Ok(());
                }
                fs::remove_file(&target).map_err(|error| HubError::Io { path: target.clone(), error })?;
            }
            self.download(&snapshot, file, &target, progress)
        });
        if done.is_err() {
            tidy()?;
        }
        done
    }

    /// What a revision consists of.
    pub(super) fn snapshot(&self, source: &Source) -> Result<Snapshot, HubError> {
        let (repo, action) = (&source.repo, format!("look up {source}"));
        let api = format!("{}/api/models/{repo}", self.client.endpoint());
        let info =
            self.client.json(&action, &Call::get(format!("{api}/revision/{}", segment(&source.revision))))?;
        let sha = info["sha"].as_str().filter(|sha| is_commit(sha));
        let sha = sha.ok_or_else(|| self.client.strange(&action, "no commit"))?.to_owned();
        let mut files = Vec::new();
        let mut next = Some(format!("{api}/tree/{sha}?recursive=true"));
        while let Some(url) = next {
            let (page, headers) = self.client.json_and_headers(&action, &Call::get(url))?;
            let link = headers.get("link").and_then(|link| link.to_str().ok());
            next = link.and_then(|link| self.next_page(link));
            let page = page.as_array().ok_or_else(|| self.client.strange(&action, "no list of files"))?;
            for entry in page.iter().filter(|entry| entry["type"] == "file") {
                let file = remote(entry)?;
                files.push(file.ok_or_else(|| self.client.strange(&action, "a file without size or hash"))?);
            }
        }
        Ok(Snapshot { repo: repo.clone(), sha, files })
    }

    /// The address in a header `Link: <…>; rel="next"`, if it is one of this server.
    fn next_page(&self, link: &str) -> Option<String> {
        let (address, kind) = link.split_once('>')?;
        let address = address.trim_start().strip_prefix('<')?;
        let own = address.strip_prefix(self.client.endpoint()).is_some_and(|rest| rest.starts_with('/'));
        (own && kind.contains("rel=\"next\"")).then(|| address.to_owned())
    }
}

/// Whether a text is the full id of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A file as the server lists it; none if the entry lacks something.
fn remote(entry: &Value) -> Result<Option<Remote>, HubError> {
    let large = entry.get("lfs").filter(|lfs| lfs.is_object());
    let etag = large.map_or(&entry["oid"], |lfs| &lfs["oid"]).as_str();
    let (Some(name), Some(etag), Some(bytes)) = (entry["path"].as_str(), etag, entry["size"].as_u64()) else {
        return Ok(None);
    };
    if !etag.bytes().all(|byte| byte.is_ascii_hexdigit()) || etag.is_empty() {
        return Ok(None);
    }
    let path = relative_path(name).ok_or_else(|| HubError::UnsafePath(name.to_owned()))?;
    let (name, etag) = (name.to_owned(), etag.to_owned());
    Ok(Some(Remote { path, name, bytes, etag, large: large.is_some() }))
}

/// Removes from a folder what is no large file of a snapshot, or a part of one: of all else nothing tells
/// whether it is what it should be.
fn tidy(folder: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let large = snapshot.files.iter().filter(|file| file.large);
    let wanted: HashSet<_> = large
        .flat_map(|file| {
            let target = folder.join(&file.path);
            [part_of(file, &target), target]
        })
        .collect();
    tidy_below(folder, &wanted)
}

fn tidy_below(folder: &Path, wanted: &HashSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            tidy_below(&path, wanted)?;
            if is_empty(&path) {
                fs::remove_dir(&path)?;
            }
        } else if !wanted.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests;
