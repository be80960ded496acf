//! A Hub of a few routes, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::hub::push::hex;
use crate::hub::{Hub, Settings, Token};

/// The token that the server accepts.
pub(super) const TOKEN: &str = "hf_secret";
/// The commit that everything is at.
pub(super) const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Arrived {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn json(status: u16, value: &Value) -> Self {
        Self { status, headers: Vec::new(), body: value.to_string().into_bytes() }
    }
}

/// Answers one request after the other until dropped.
struct Server {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(answer: impl Fn(Arrived) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, stop) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                if let Some(request) = receive(&stream) {
                    send(&mut stream, answer(request));
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes it up.
        let _ = TcpStream::connect(&self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

fn receive(stream: &TcpStream) -> Option<Arrived> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Arrived { method, path, headers, body })
}

fn send(stream: &mut TcpStream, reply: Reply) {
    let mut head = format!("HTTP/1.1 {} Status\r\nconnection: close\r\n", reply.status);
    head += &format!("content-length: {}\r\n", reply.body.len());
    for (name, value) in reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(&reply.body));
}

/// What the server knows.
#[derive(Default)]
pub(super) struct State {
    pub(super) exists: bool,
    pub(super) private: bool,
    pub(super) branches: BTreeSet<String>,
    /// Uploaded files by their SHA-256.
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Branch and message.
    pub(super) commits: Vec<(String, String)>,
    /// Everything that arrived.
    pub(super) log: Vec<Arrived>,
    /// The next so many requests whose path holds the text are answered by this status.
    pub(super) failure: Option<(&'static str, u16, usize)>,
    /// Sent instead of every large file.
    pub(super) damaged: Option<Vec<u8>>,
}

/// The server with its storage for large files, which is another server.
pub(super) struct FakeHub {
    state: Arc<Mutex<State>>,
    main: Server,
    _storage: Server,
}

impl FakeHub {
    pub(super) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let storage = Server::start(move |request| stored(&mut shared.lock().unwrap(), request));
        let (shared, bucket) = (state.clone(), storage.address.clone());
        let main = Server::start(move |request| routed(&mut shared.lock().unwrap(), request, &bucket));
        Self { state, main, _storage: storage }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A client with the right token.
    pub(super) fn hub(&self, cache: &Path) -> Hub {
        self.hub_with(cache, Some(TOKEN))
    }

    pub(super) fn hub_with(&self, cache: &Path, token: Option<&str>) -> Hub {
        Hub::new(self.settings(cache, token)).unwrap()
    }

    pub(super) fn settings(&self, cache: &Path, token: Option<&str>) -> Settings {
        Settings {
            endpoint: format!("http://{}", self.main.address),
            token: token.map(|token| Token::new(token).unwrap()),
            cache: cache.to_owned(),
            patience: Duration::ZERO,
            ..Settings::read(&|_| None)
        }
    }
}

/// The storage: `/<oid>`.
fn stored(state: &mut State, request: Arrived) -> Reply {
    state.log.push(request.clone());
    if let Some(reply) = failure(state, &request) {
        return reply;
    }
    let oid = request.path.trim_start_matches("/bucket/").to_owned();
    if request.method == "PUT" {
        state.objects.insert(oid, request.body);
        return Reply::json(200, &json!({}));
    }
    let body = state.damaged.clone().unwrap_or_else(|| state.objects[&oid].clone());
    Reply { status: 200, headers: Vec::new(), body }
}

/// An answer that echoes what the server was told, secrets included.
fn failure(state: &mut State, request: &Arrived) -> Option<Reply> {
    let (part, status, times) = state.failure.as_mut()?;
    if *times == 0 || !request.path.contains(*part) {
        return None;
    }
    *times -= 1;
    let message = format!("cannot do that for {}", request.header("authorization"));
    Some(Reply::json(*status, &json!({ "error": message })))
}

fn routed(state: &mut State, request: Arrived, bucket: &str) -> Reply {
    state.log.push(request.clone());
    if let Some(reply) = failure(state, &request) {
        return reply;
    }
    if request.header("authorization") != format!("Bearer {TOKEN}") {
        return Reply::json(401, &json!({ "error": "Invalid username or password." }));
    }
    // A former name of the repository.
    if let Some((start, end)) = request.path.split_once("user/old") {
        let headers = vec![("location", format!("{start}user/name{end}"))];
        return Reply { status: 307, headers, body: Vec::new() };
    }
    let path = request.path.strip_prefix("/api/models/user/name").unwrap_or(&request.path);
    match (&request.method[..], path.split('/').nth(1).unwrap_or_default()) {
        ("GET", "api") => Reply::json(200, &json!({ "name": "user" })),
        ("GET", "") if !state.exists => Reply::json(404, &json!({ "error": "Repository not found" })),
        ("GET", "" | "revision") => Reply::json(200, &json!({ "sha": SHA, "private": state.private })),
        ("GET", "tree") => listed(state, path, request.header("host")),
        ("GET", _) => served(state, path, bucket),
        ("POST", "api") => {
            (state.exists, state.private) = (true, request.json()["private"] == true);
            Reply::json(200, &json!({}))
        }
        ("POST", "branch") => {
            let new = state.branches.insert(path.split('/').nth(2).unwrap().to_owned());
            Reply::json(if new { 201 } else { 409 }, &json!({}))
        }
        ("POST", "preupload") => Reply::json(200, &classified(&request.json())),
        ("POST", "commit") => committed(state, path, &request.body),
        ("POST", _) if path.ends_with("/batch") => Reply::json(200, &batch(state, &request, bucket)),
        ("POST", _) if path.ends_with("/verify") => {
            let known = state.objects.contains_key(request.json()["oid"].as_str().unwrap());
            Reply::json(if known { 200 } else { 404 }, &json!({}))
        }
        _ => Reply::json(404, &json!({ "error": "no such route" })),
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

fn classified(wanted: &Value) -> Value {
    let files = wanted["files"].as_array().unwrap().iter().map(|file| {
        let name = file["path"].as_str().unwrap();
        let mode = if is_large(name) { "lfs" } else { "regular" };
        json!({ "path": name, "uploadMode": mode, "shouldIgnore": name.ends_with(".log") })
    });
    json!({ "files": files.collect::<Vec<_>>() })
}

fn batch(state: &State, request: &Arrived, bucket: &str) -> Value {
    let wanted = request.json();
    let objects = wanted["objects"].as_array().unwrap().iter().map(|object| {
        let oid = object["oid"].as_str().unwrap();
        if state.objects.contains_key(oid) {
            return json!({ "oid": oid, "size": object["size"] });
        }
        let verify = format!("http://{}/user/name.git/info/lfs/objects/verify", request.header("host"));
        json!({ "oid": oid, "size": object["size"], "actions": {
            "upload": { "href": format!("http://{bucket}/bucket/{oid}"), "header": { "x-signature": "abc" } },
            "verify": { "href": verify },
        } })
    });
    json!({ "transfer": "basic", "objects": objects.collect::<Vec<_>>() })
}

fn committed(state: &mut State, path: &str, body: &[u8]) -> Reply {
    let mut message = String::new();
    for line in std::str::from_utf8(body).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (value, text) = (&line["value"], |key: &str| line["value"][key].as_str().unwrap().to_owned());
        match line["key"].as_str().unwrap() {
            "header" => message = text("summary"),
            "file" => {
                state.files.insert(text("path"), STANDARD.decode(text("content")).unwrap());
            }
            "lfsFile" => {
                let content = state.objects[&text("oid")].clone();
                assert_eq!(value["size"], content.len());
                state.files.insert(text("path"), content);
            }
            other => panic!("{other}"),
        }
    }
    state.commits.push((path.split('/').nth(2).unwrap().to_owned(), message));
    Reply::json(200, &json!({ "commitUrl": "http://hub/user/name/commit/1", "commitOid": SHA }))
}

/// The list of files, one a page.
fn listed(state: &State, path: &str, host: &str) -> Reply {
    let page: usize = path.split_once("page=").map_or(0, |(_, page)| page.parse().unwrap());
    let entry = |(name, content): (&String, &Vec<u8>)| {
        let oid = hex(&Sha256::digest(content));
        let plain = json!({ "type": "file", "path": name, "size": content.len(), "oid": &oid[..40] });
        if !is_large(name) {
            return plain;
        }
        json!({ "type": "file", "path": name, "size": content.len(), "oid": "00", "lfs": { "oid": oid } })
    };
    let mut reply = Reply::json(200, &state.files.iter().nth(page).map(entry).into_iter().collect());
    if page + 1 < state.files.len() {
        let next = format!("http://{host}/api/models/user/name/tree/{SHA}?recursive=true&page={}", page + 1);
        reply.headers.push(("link", format!("<{next}>; rel=\"next\"")));
    }
    reply
}

fn served(state: &State, path: &str, bucket: &str) -> Reply {
    let name = path.strip_prefix(&format!("/user/name/resolve/{SHA}/")).unwrap_or_default();
    let Some(content) = state.files.get(&name.replace("%20", " ")) else {
        return Reply::json(404, &json!({ "error": "Entry not found" }));
    };
    if !is_large(name) {
        return Reply { status: 200, headers: Vec::new(), body: content.clone() };
    }
    let address = format!("http://{bucket}/bucket/{}", hex(&Sha256::digest(content)));
    Reply { status: 302, headers: vec![("location", address)], body: Vec::new() }
}
