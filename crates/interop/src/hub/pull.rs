//! A repository becomes files.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::hub::client::Call;
use crate::hub::error::HubError;
use crate::hub::push::hex;
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
    /// Downloads all files of a repository into a new or empty folder. They arrive in a folder beside
    /// it, which takes its name once it is complete.
    ///
    /// # Errors
    /// A folder in use, a refusal of the server or no answer, damaged files, a full disk.
    pub fn pull(&self, source: &Source, folder: &Path, progress: &dyn Progress) -> Result<(), HubError> {
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
            return Err(HubError::Occupied(folder.to_owned()));
        }
        let snapshot = self.snapshot(source)?;
        let part = part_of(folder);
        // What an interrupted download left.
        let _ = fs::remove_dir_all(&part);
        let done = (snapshot.files.iter())
            .try_for_each(|file| self.download(&snapshot, file, &part.join(&file.path), progress));
        let renamed = done.and_then(|()| {
            fs::create_dir_all(&part)
                .and_then(|()| if folder.exists() { fs::remove_dir(folder) } else { Ok(()) })
                .and_then(|()| fs::rename(&part, folder))
                .map_err(|error| HubError::Io { path: folder.to_owned(), error })
        });
        if renamed.is_err() {
            let _ = fs::remove_dir_all(&part);
        }
        renamed
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
            let mut response = self.client.send(&action, &Call::get(url))?;
            let link = response.headers().get("link").and_then(|link| link.to_str().ok());
            next = link.and_then(|link| self.next_page(link));
            let bytes = response.body_mut().read_to_vec();
            let bytes = bytes.map_err(|error| self.client.unreachable(&action, &error))?;
            let page: Vec<Value> = serde_json::from_slice(&bytes)
                .map_err(|error| self.client.strange(&action, &error.to_string()))?;
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

    /// Downloads one file, checks it, and renames it into place.
    pub(super) fn download(
        &self,
        snapshot: &Snapshot,
        file: &Remote,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        let io = |error| HubError::Io { path: target.to_owned(), error };
        fs::create_dir_all(target.parent().unwrap_or(Path::new("."))).map_err(io)?;
        let name: Vec<_> = file.name.split('/').map(segment).collect();
        let address = format!("{}/{}", self.client.endpoint(), snapshot.repo);
        let url = format!("{address}/resolve/{}/{}", snapshot.sha, name.join("/"));
        let action = format!("download {}", file.name);
        progress.start(&file.name, file.bytes);
        let response = self.client.send(&action, &Call::get(url))?;
        // Of this process alone, should another download the same.
        let part = target.with_file_name(format!(".{}.{}.part", file.etag, std::process::id()));
        let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let result = receive(&mut reader, file, &part, progress)
            .map_err(|error| match error {
                Failure::Disk(error) => io(error),
                Failure::Network(error) => self.client.unreachable(&action, &ureq::Error::Io(error)),
                Failure::Content(reason) => HubError::Damaged { file: file.name.clone(), reason },
            })
            .and_then(|()| fs::rename(&part, target).map_err(io));
        if result.is_err() {
            let _ = fs::remove_file(&part);
        }
        result
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

enum Failure {
    Disk(std::io::Error),
    Network(std::io::Error),
    Content(String),
}

/// Writes what arrives, and compares its size and, of large files, its hash.
fn receive(
    reader: &mut dyn Read,
    expected: &Remote,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let mut file = BufWriter::new(File::create(path).map_err(Failure::Disk)?);
    let (mut hash, mut total, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let count = reader.read(&mut buffer).map_err(Failure::Network)?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).map_err(Failure::Disk)?;
        if expected.large {
            hash.update(&buffer[..count]);
        }
        total += count as u64;
        progress.advance(count as u64);
    }
    let file = file.into_inner().map_err(|error| Failure::Disk(error.into_error()))?;
    file.sync_all().map_err(Failure::Disk)?;
    if total != expected.bytes {
        return Err(Failure::Content(format!("{total} bytes instead of {}", expected.bytes)));
    }
    if expected.large && hex(&hash.finalize()) != expected.etag {
        return Err(Failure::Content("its SHA-256 is another".into()));
    }
    Ok(())
}

/// The folder beside `folder` in which it comes together.
fn part_of(folder: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(folder.file_name().unwrap_or("pull".as_ref()));
    name.push(".part");
    folder.with_file_name(name)
}

#[cfg(test)]
mod tests;
