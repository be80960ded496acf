//! One file, in as many pieces as the connection makes of it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::http::Response;
use ureq::{Body, Error};

use crate::hub::client::{ATTEMPTS, Call};
use crate::hub::error::HubError;
use crate::hub::pull::{Remote, Snapshot};
use crate::hub::push::{hashed, hex};
use crate::hub::repo::segment;
use crate::hub::{Hub, Progress};

impl Hub {
    /// Downloads one file, checks it, and renames it into place. A connection that breaks or stalls is made
    /// anew from the byte that it got to. What has arrived of a large file outlives an error in
    /// [`part_of`], from where the next download goes on.
    ///
    /// # Errors
    /// A refusal of the server, several connections without a byte, a damaged file, a full disk.
    pub(super) fn download(
        &self,
        snapshot: &Snapshot,
        file: &Remote,
        target: &Path,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        let io = |error| HubError::Io { path: target.to_owned(), error };
        fs::create_dir_all(target.parent().unwrap_or(Path::new("."))).map_err(io)?;
        let mut part = Part::open(file, target).map_err(io)?;
        // Another process may have been faster.
        if target.is_file() {
            return Ok(());
        }
        let name: Vec<_> = file.name.split('/').map(segment).collect();
        let address = format!("{}/{}", self.client.endpoint(), snapshot.repo);
        let url = format!("{address}/resolve/{}/{}", snapshot.sha, name.join("/"));
        let transfer = Transfer { hub: self, action: format!("download {}", file.name), url, file, progress };
        progress.start(&file.name, file.bytes);
        progress.advance(part.have);
        transfer.run(&mut part)?;
        part.file.sync_all().and_then(|()| fs::rename(&part.path, target)).map_err(io)?;
        part.is_wanted = true;
        Ok(())
    }
}

/// Where a file comes together before it has its name; the same for every process.
pub(super) fn part_of(file: &Remote, target: &Path) -> PathBuf {
    target.with_file_name(format!(".{}.part", file.etag))
}

/// The bytes of a file that are on the disk.
struct Part {
    path: PathBuf,
    file: File,
    have: u64,
    hash: Sha256,
    /// What the server calls the version of the file that they are of, if it has said so.
    version: Option<String>,
    /// Whether they came in more than one piece.
    is_patched: bool,
    /// Whether the file stays when this goes: it has another name by then, or can be gone on with.
    is_wanted: bool,
}

/// Whether an open file is the one that has this name now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let open = file.metadata()?;
    Ok(path.metadata().is_ok_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    Ok(path.exists())
}

impl Part {
    fn open(remote: &Remote, target: &Path) -> io::Result<Self> {
        let shared = part_of(remote, target);
        let open =
            |path: &Path| File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open(&shared)?;
        // Who finished between opening and locking has given the file its name: it is no part any more.
        while matches!(file.try_lock(), Ok(())) && !is_at(&file, &shared)? {
            file = open(&shared)?;
        }
        let (path, file, is_shared) = match file.try_lock() {
            // Another process is downloading the same.
            Err(TryLockError::WouldBlock) => {
                let own = target.with_file_name(format!(".{}.{}.part", remote.etag, std::process::id()));
                let file = open(&own)?;
                (own, file, false)
            }
            // There are disks without locks.
            Ok(()) | Err(TryLockError::Error(_)) => (shared, file, true),
        };
        let mut part = Self {
            path,
            file,
            have: 0,
            hash: Sha256::new(),
            version: None,
            is_patched: true,
            // Nothing would tell whether the pieces of a small file are of the same version.
            is_wanted: is_shared && remote.large,
        };
        if part.is_wanted && part.file.metadata()?.len() <= remote.bytes {
            (part.have, part.hash) = hashed(&mut part.file)?;
        }
        if part.have == 0 {
            part.start_over()?;
        }
        Ok(part)
    }

    fn start_over(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.have, self.hash) = (0, Sha256::new());
        (self.version, self.is_patched) = (None, false);
        Ok(())
    }

    /// Appends bytes; those that a full disk still takes count.
    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.hash.update(&bytes[..count]);
                    self.have += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_wanted || self.have == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that is being downloaded.
struct Transfer<'a> {
    hub: &'a Hub,
    action: String,
    url: String,
    file: &'a Remote,
    progress: &'a dyn Progress,
}

impl Transfer<'_> {
    /// Fetches what is missing, and compares the hash of a large file.
    fn run(&self, part: &mut Part) -> Result<(), HubError> {
        let mut may_start_over = true;
        loop {
            self.fetch(part)?;
            if !self.file.large || hex(&part.hash.clone().finalize()) == self.file.etag {
                return Ok(());
            }
            if !(part.is_patched && may_start_over) {
                return Err(self.damaged(part, "its SHA-256 is another".into()));
            }
            // One of the pieces was of another version.
            may_start_over = false;
            self.start_over(part)?;
        }
    }

    /// Makes connections until all bytes are there, or several in a row brought none.
    fn fetch(&self, part: &mut Part) -> Result<(), HubError> {
        let (mut most, mut fruitless) = (part.have, 0);
        while part.have < self.file.bytes {
            if !self.file.large && part.version.is_none() {
                self.start_over(part)?;
            }
            let Some(error) = self.connect(part)? else { continue };
            if part.have > most {
                (most, fruitless) = (part.have, 0);
                continue;
            }
            fruitless += 1;
            if fruitless == ATTEMPTS {
                return Err(self.hub.client.unreachable(&self.action, &error));
            }
            self.hub.client.pause(fruitless);
        }
        Ok(())
    }

    /// Asks for the rest of the file and appends what comes; the error says why that is not all.
    fn connect(&self, part: &mut Part) -> Result<Option<Error>, HubError> {
        let mut call = Call::get(self.url.clone());
        if part.have > 0 {
            call.headers.push(("range".into(), format!("bytes={}-", part.have)));
            call.headers.extend(part.version.clone().map(|version| ("if-range".into(), version)));
        }
        let response = match self.hub.client.send(&self.action, &call) {
            // The file has no such part.
            Err(HubError::Refused { status: 416, .. }) if part.have > 0 => {
                self.start_over(part)?;
                return Ok(Some(io::Error::other("it has no rest of the file").into()));
            }
            answer => answer?,
        };
        if part.have > 0 {
            if response.status() != 206 {
                self.start_over(part)?;
            } else if !self.goes_on(part, &response) {
                self.start_over(part)?;
                return Ok(Some(io::Error::other("it has another version of the file").into()));
            } else {
                part.is_patched = true;
            }
        }
        part.version = version_of(&response);
        if let Some(rest) = response.body().content_length()
            && part.have + rest != self.file.bytes
        {
            let reason = format!("{} bytes instead of {}", part.have + rest, self.file.bytes);
            return Err(self.damaged(part, reason));
        }
        self.receive(part, response)
    }

    /// Whether a part of a file goes on where what there is ends.
    fn goes_on(&self, part: &Part, response: &Response<Body>) -> bool {
        let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
        let of = range.and_then(|range| range.strip_prefix("bytes "));
        let is_next = of.and_then(|of| of.split_once('-')).is_some_and(|(from, rest)| {
            let total = rest.split_once('/').map(|(_, total)| total);
            let is_whole = |total: &str| total == "*" || total.parse() == Ok(self.file.bytes);
            from.parse() == Ok(part.have) && total.is_some_and(is_whole)
        });
        let version = version_of(response);
        is_next && (part.version.is_none() || version.is_none() || part.version == version)
    }

    fn receive(&self, part: &mut Part, response: Response<Body>) -> Result<Option<Error>, HubError> {
        let mut reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let missing = self.file.bytes - part.have;
            let count = match reader.read(&mut buffer) {
                Ok(0) if missing > 0 => {
                    return Ok(Some(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
                }
                Ok(0) => return Ok(None),
                Ok(count) => count,
                // All is there, whatever becomes of the connection.
                Err(_) if missing == 0 => return Ok(None),
                Err(error) => return Ok(Some(error.into())),
            };
            if count as u64 > missing {
                return Err(self.damaged(part, format!("more than {} bytes", self.file.bytes)));
            }
            part.append(&buffer[..count]).map_err(|error| {
                let (path, missing) = (part.path.clone(), self.file.bytes - part.have);
                HubError::Disk { path, file: self.file.name.clone(), missing, error }
            })?;
            self.progress.advance(count as u64);
        }
    }

    fn start_over(&self, part: &mut Part) -> Result<(), HubError> {
        self.progress.start(&self.file.name, self.file.bytes);
        part.start_over().map_err(|error| HubError::Io { path: part.path.clone(), error })
    }

    /// The error of a file that is not what the server said; nothing of it stays.
    fn damaged(&self, part: &mut Part, reason: String) -> HubError {
        part.is_wanted = false;
        HubError::Damaged { file: self.file.name.clone(), reason }
    }
}

/// What the server calls the version of a file that it sends, if that tells every byte.
fn version_of(response: &Response<Body>) -> Option<String> {
    let etag = response.headers().get("etag")?.to_str().ok()?;
    (!etag.starts_with("W/")).then(|| etag.to_owned())
}

#[cfg(test)]
mod tests;
