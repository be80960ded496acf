//! A folder becomes a commit.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ureq::http::Method;

use crate::hub::client::{Call, Content};
use crate::hub::error::HubError;
use crate::hub::multipart::Parts;
use crate::hub::repo::{RepoId, require_revision, segment};
use crate::hub::{Hub, Progress};
use crate::model_card::{CARD_FILE, on_the_hub};

/// Bytes from which the server tells text from data.
const SAMPLE: u64 = 512;
/// Large files named to the server at a time.
const LFS_BATCH: usize = 100;
const LFS_JSON: &str = "application/vnd.git-lfs+json";

/// What to upload, and where to.
#[derive(Debug, Clone)]
pub struct Push<'a> {
    /// All of its files but hidden ones.
    pub folder: &'a Path,
    /// Created unless it exists.
    pub repo: &'a RepoId,
    /// Whether a new repository is hidden from others.
    pub private: bool,
    /// A branch, created from `main` unless it exists.
    pub revision: &'a str,
    /// First line of the commit's message.
    pub message: &'a str,
}

/// What an upload has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Address of the commit's page.
    pub url: String,
    /// Hash of the commit.
    pub sha: String,
}

/// A file of the folder.
pub(super) struct Local {
    pub(super) path: PathBuf,
    /// Path in the repository, with `/` between folders.
    pub(super) name: String,
    pub(super) bytes: u64,
    /// What is uploaded instead of what lies there.
    text: Option<String>,
    /// SHA-256, of files that go by LFS.
    pub(super) oid: Option<String>,
}

impl Local {
    /// A file, but with the repository's name if it is a model card.
    fn open(path: PathBuf, name: String, bytes: u64, repo: &RepoId) -> Result<Self, HubError> {
        let mut file = Self { path, name, bytes, text: None, oid: None };
        if file.name == CARD_FILE {
            let card = fs::read(&file.path).map_err(|error| unreadable(&file.path, error))?;
            file.text = String::from_utf8(card).ok().map(|card| on_the_hub(&card, &repo.owner, &repo.name));
            file.bytes = file.text.as_ref().map_or(file.bytes, |text| text.len() as u64);
        }
        Ok(file)
    }

    fn read(&self) -> Result<Vec<u8>, HubError> {
        match &self.text {
            Some(text) => Ok(text.clone().into_bytes()),
            None => fs::read(&self.path).map_err(|error| unreadable(&self.path, error)),
        }
    }
}

impl Hub {
    /// Uploads the files of a folder as one commit: the repository shows all of them or, after a
    /// failure, none.
    ///
    /// # Errors
    /// A folder without a model, no token, a refusal of the server or no answer, files that cannot be
    /// read.
    pub fn push(&self, push: &Push, progress: &dyn Progress) -> Result<Commit, HubError> {
        require_revision(push.revision)?;
        let files = files_of(push.folder, push.repo)?;
        self.client.require_token()?;
        self.whoami()?;
        self.ensure_repository(push)?;
        self.ensure_branch(push)?;
        let files = self.classified(push, files)?;
        let large: Vec<_> = files.iter().filter(|file| file.oid.is_some()).collect();
        for files in large.chunks(LFS_BATCH) {
            self.upload_large(push, files, progress)?;
        }
        self.commit(push, &files)
    }

    /// Finds out early whether the server knows the token.
    fn whoami(&self) -> Result<(), HubError> {
        let url = format!("{}/api/whoami-v2", self.client.endpoint());
        self.client.json("log in", &Call::get(url)).map(drop)
    }

    fn api(&self, repo: &RepoId) -> String {
        format!("{}/api/models/{repo}", self.client.endpoint())
    }

    fn ensure_repository(&self, push: &Push) -> Result<(), HubError> {
        let found = self.client.json(&format!("look up {}", push.repo), &Call::get(self.api(push.repo)));
        match found {
            Ok(info) if push.private && info["private"] == false => {
                Err(HubError::Public(push.repo.to_string()))
            }
            Ok(_) => Ok(()),
            Err(HubError::Refused { status: 401 | 404, .. }) => self.create_repository(push),
            Err(error) => Err(error),
        }
    }

    fn create_repository(&self, push: &Push) -> Result<(), HubError> {
        let RepoId { owner, name } = push.repo;
        let wanted = json!({ "type": "model", "organization": owner, "name": name, "private": push.private });
        let url = format!("{}/api/repos/create", self.client.endpoint());
        let created = self.client.send(&format!("create {}", push.repo), &Call::post(url, &wanted));
        unless_present(created)
    }

    fn ensure_branch(&self, push: &Push) -> Result<(), HubError> {
        if push.revision == "main" {
            return Ok(());
        }
        let url = format!("{}/branch/{}", self.api(push.repo), segment(push.revision));
        let action = format!("create the branch {} of {}", push.revision, push.repo);
        unless_present(self.client.send(&action, &Call::post(url, &json!({}))))
    }

    /// Asks the server which files go by LFS, and which it would rather not have.
    fn classified(&self, push: &Push, files: Vec<Local>) -> Result<Vec<Local>, HubError> {
        let described: Result<Vec<_>, _> = files.iter().map(describe).collect();
        let url = format!("{}/preupload/{}", self.api(push.repo), segment(push.revision));
        let action = format!("announce files to {}", push.repo);
        let answer = self.client.json(&action, &Call::post(url, &json!({ "files": described? })))?;
        let modes =
            answer["files"].as_array().ok_or_else(|| self.client.strange(&action, "no list of files"))?;
        let mut kept = Vec::new();
        for mut file in files {
            let mode = modes.iter().find(|mode| mode["path"] == file.name);
            let mode = mode.ok_or_else(|| {
                self.client.strange(&action, &format!("it says nothing about `{}`", file.name))
            })?;
            if mode["shouldIgnore"] == true {
                continue;
            }
            if mode["uploadMode"] == "lfs" && file.bytes > 0 {
                if file.text.take().is_some() {
                    // Large files are sent from the disk; no server takes a model card for one.
                    file.bytes = fs::metadata(&file.path).map_err(|e| unreadable(&file.path, e))?.len();
                }
                file.oid = Some(sha256(&file.path)?);
            }
            kept.push(file);
        }
        Ok(kept)
    }

    fn upload_large(&self, push: &Push, files: &[&Local], progress: &dyn Progress) -> Result<(), HubError> {
        let objects: Vec<_> =
            files.iter().map(|file| json!({ "oid": file.oid, "size": file.bytes })).collect();
        let wanted = json!({
            "operation": "upload", "transfers": ["basic", "multipart"], "objects": objects,
            "hash_algo": "sha256", "ref": { "name": push.revision },
        });
        let url = format!("{}/{}.git/info/lfs/objects/batch", self.client.endpoint(), push.repo);
        let action = format!("prepare the upload to {}", push.repo);
        let answer = self.client.json(&action, &lfs_call(url, &wanted))?;
        let objects = answer["objects"].as_array();
        for file in files {
            let object = objects.and_then(|list| list.iter().find(|object| object["oid"] == json!(file.oid)));
            let object = object.ok_or_else(|| {
                self.client.strange(&action, &format!("it says nothing about `{}`", file.name))
            })?;
            self.upload_object(file, object, progress)?;
        }
        Ok(())
    }

    /// Sends one file to where the server says, unless it has it already.
    fn upload_object(&self, file: &Local, object: &Value, progress: &dyn Progress) -> Result<(), HubError> {
        let action = format!("upload {}", file.name);
        if let Some(error) = object.get("error") {
            let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(422);
            let message = self.client.redact(error["message"].as_str().unwrap_or_default());
            return Err(HubError::Refused { action, status, message });
        }
        progress.start(&file.name, file.bytes);
        let Some(upload) = object["actions"].get("upload") else {
            progress.advance(file.bytes);
            return Ok(());
        };
        let url =
            upload["href"].as_str().ok_or_else(|| self.client.strange(&action, "no address to upload to"))?;
        let parts = Parts::of(&upload["header"], file.bytes);
        match parts.map_err(|reason| self.client.strange(&action, &reason))? {
            Some(parts) => self.upload_parts(file, &parts, url, progress)?,
            None => {
                let (path, name, total) = (&file.path, &file.name, file.bytes);
                let content = Content::File { path, name, range: 0..total, total, progress };
                let headers = headers_of(upload);
                let put = Call { method: Method::PUT, headers, content, ..Call::get(url.to_owned()) };
                self.client.send(&action, &put)?;
            }
        }
        match object["actions"]["verify"]["href"].as_str() {
            None => Ok(()),
            Some(url) => {
                let mut call = lfs_call(url.to_owned(), &json!({ "oid": file.oid, "size": file.bytes }));
                call.headers.extend(headers_of(&object["actions"]["verify"]));
                self.client.send(&action, &call).map(drop)
            }
        }
    }

    fn commit(&self, push: &Push, files: &[Local]) -> Result<Commit, HubError> {
        let header = json!({ "summary": push.message, "description": "" });
        let mut body = line("header", header);
        for file in files {
            body += &match &file.oid {
                Some(oid) => {
                    let entry =
                        json!({ "path": file.name, "algo": "sha256", "oid": oid, "size": file.bytes });
                    line("lfsFile", entry)
                }
                None => {
                    let content = STANDARD.encode(file.read()?);
                    line("file", json!({ "path": file.name, "encoding": "base64", "content": content }))
                }
            };
        }
        let url = format!("{}/commit/{}", self.api(push.repo), segment(push.revision));
        let content = Content::Bytes(body.into_bytes(), "application/x-ndjson");
        let action = format!("commit to {}", push.repo);
        let call =
            Call { method: Method::POST, content, repeatable: false, answers_late: true, ..Call::get(url) };
        let answer = self.client.json(&action, &call)?;
        let text = |key: &str| self.client.redact(answer[key].as_str().unwrap_or_default());
        Ok(Commit { url: text("commitUrl"), sha: text("commitOid") })
    }
}

/// A line of a commit.
fn line(key: &str, value: Value) -> String {
    format!("{}\n", json!({ "key": key, "value": value }))
}

pub(super) fn lfs_call<'a>(url: String, json: &Value) -> Call<'a> {
    let content = Content::Bytes(json.to_string().into_bytes(), LFS_JSON);
    let headers = vec![("accept".to_owned(), LFS_JSON.to_owned())];
    Call { method: Method::POST, headers, content, ..Call::get(url) }
}

/// Headers that an LFS action asks for.
fn headers_of(action: &Value) -> Vec<(String, String)> {
    let pairs = action["header"].as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// Takes "exists already" for success.
fn unless_present<T>(result: Result<T, HubError>) -> Result<(), HubError> {
    match result {
        Ok(_) | Err(HubError::Refused { status: 409, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The files of a folder and its subfolders, by name; hidden ones are left out.
fn files_of(folder: &Path, repo: &RepoId) -> Result<Vec<Local>, HubError> {
    let mut files = Vec::new();
    collect(folder, "", repo, &mut files)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let is_model = |file: &Local| {
        let extension = Path::new(&file.name).extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|e| matches!(e, "safetensors" | "onnx" | "pth" | "pt" | "bin"))
    };
    if files.iter().any(is_model) { Ok(files) } else { Err(HubError::NoModel(folder.to_owned())) }
}

fn collect(folder: &Path, prefix: &str, repo: &RepoId, files: &mut Vec<Local>) -> Result<(), HubError> {
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let (name, kind) = (format!("{prefix}{name}"), fs::metadata(&path));
        let kind = kind.map_err(|error| unreadable(&path, error))?;
        if kind.is_dir() {
            collect(&path, &format!("{name}/"), repo, files)?;
        } else {
            files.push(Local::open(path, name, kind.len(), repo)?);
        }
    }
    Ok(())
}

/// A file as the server wants it announced.
fn describe(file: &Local) -> Result<Value, HubError> {
    let mut sample = Vec::new();
    let read = match &file.text {
        Some(text) => text.as_bytes().take(SAMPLE).read_to_end(&mut sample),
        None => File::open(&file.path).and_then(|f| f.take(SAMPLE).read_to_end(&mut sample)),
    };
    read.map_err(|error| unreadable(&file.path, error))?;
    Ok(json!({ "path": file.name, "size": file.bytes, "sample": STANDARD.encode(sample) }))
}

pub(super) fn sha256(path: &Path) -> Result<String, HubError> {
    let hash = File::open(path).and_then(|mut file| hashed(&mut file));
    Ok(hex(&hash.map_err(|error| unreadable(path, error))?.1.finalize()))
}

/// The rest of a file: its bytes and their hash so far.
pub(super) fn hashed(file: &mut File) -> std::io::Result<(u64, Sha256)> {
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((bytes, hash));
        }
        hash.update(&buffer[..count]);
        bytes += count as u64;
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unreadable(path: &Path, error: std::io::Error) -> HubError {
    HubError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests;
