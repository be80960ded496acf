//! A Hub of a few routes, for tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    end: End,
}

/// What becomes of a connection.
#[derive(Clone, Copy)]
enum End {
    /// It is closed behind the body.
    Whole,
    /// It is closed behind so many bytes of the body.
    Cut(usize),
    /// It stays open, and nothing follows so many bytes of the body.
    Stall(usize),
    /// It is closed behind the body, whose length nothing has told.
    Untold,
    /// It is closed without an answer.
    Mute,
}

impl Reply {
    fn new(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Self {
        Self { status, headers, body, end: End::Whole }
    }

    fn json(status: u16, value: &Value) -> Self {
        Self::new(status, Vec::new(), value.to_string().into_bytes())
    }

    /// A file, or the rest of one that was asked for.
    fn file(request: &Arrived, content: Vec<u8>, ignores_versions: bool) -> Self {
        let etag = format!("\"{}\"", &hex(&Sha256::digest(&content))[..8]);
        let range = request.header("range").strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        let version = request.header("if-range");
        let from = range.filter(|_| version.is_empty() || version == etag || ignores_versions);
        let Some(from) = from.map(|from| from.parse::<usize>().unwrap()) else {
            return Self::new(200, vec![("etag", etag)], content);
        };
        if from >= content.len() {
            return Self::new(416, Vec::new(), Vec::new());
        }
        let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
        Self::new(206, vec![("etag", etag), ("content-range", range)], content[from..].to_vec())
    }
}

/// What goes wrong with an answer.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// The connection breaks behind so many bytes of the body.
    Cut(usize),
    /// Nothing follows so many bytes of the body.
    Stall(usize),
    /// The body of the request is not taken, and there is no answer.
    Deaf,
    /// The connection breaks before there is an answer.
    Mute,
    /// The whole file comes, whatever part of it was asked for.
    All,
    /// So many bytes of another version of the file come.
    Other(Vec<u8>, usize),
    /// More bytes come behind the file, without a length that would tell.
    More(usize),
}

/// Answers one request after the other until dropped.
struct Server {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `is_deaf`: whether a request to a path is left unread; `answer`: what is said to others.
    fn start(
        is_deaf: impl Fn(&str) -> bool + Send + 'static,
        answer: impl Fn(Arrived) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, stop) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            // Connections on which nothing more is said.
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let reply = receive(&stream, &is_deaf).map(|request| request.map(&answer));
                let Some(Some(reply)) = reply else {
                    silent.extend(reply.is_some().then_some(stream));
                    continue;
                };
                let stays = matches!(reply.end, End::Stall(_));
                send(&mut stream, reply);
                silent.extend(stays.then_some(stream));
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

/// A request; none of a client that went away, and inside of it none where the server is deaf.
fn receive(stream: &TcpStream, is_deaf: &impl Fn(&str) -> bool) -> Option<Option<Arrived>> {
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
    if is_deaf(&path) {
        return Some(None);
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Some(Arrived { method, path, headers, body }))
}

fn send(stream: &mut TcpStream, reply: Reply) {
    if matches!(reply.end, End::Mute) {
        return;
    }
    let mut head = format!("HTTP/1.1 {} Status\r\nconnection: close\r\n", reply.status);
    let sent = match reply.end {
        End::Cut(bytes) | End::Stall(bytes) => &reply.body[..bytes],
        End::Whole | End::Untold | End::Mute => &reply.body[..],
    };
    if !matches!(reply.end, End::Untold) {
        head += &format!("content-length: {}\r\n", reply.body.len());
    }
    for (name, value) in reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(sent));
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
    /// What goes wrong with the next requests whose paths hold a text, one after the other.
    pub(super) troubles: VecDeque<(&'static str, Trouble)>,
    /// Whether parts of files are sent without a look at the version that they were asked of.
    pub(super) ignores_versions: bool,
    /// Bytes of the parts that large files are wanted in; none if they are taken whole.
    pub(super) chunk_size: Option<usize>,
    /// Parts of large files by their SHA-256 and number.
    pub(super) parts: BTreeMap<(String, usize), Vec<u8>>,
}

impl State {
    /// What goes wrong with a request, which it does not the next time.
    fn trouble(&mut self, path: &str) -> Option<Trouble> {
        self.troubles.pop_front_if(|(part, _)| path.contains(*part)).map(|(_, trouble)| trouble)
    }
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
        let answer = move |request| stored(&mut shared.lock().unwrap(), request);
        let storage = Server::start(deafness(&state), answer);
        let (shared, bucket) = (state.clone(), storage.address.clone());
        let answer = move |request| routed(&mut shared.lock().unwrap(), request, &bucket);
        let main = Server::start(deafness(&state), answer);
        Self { state, main, _storage: storage }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A client that takes a connection for broken which stands still for a moment.
    pub(super) fn impatient_hub(&self, cache: &Path) -> Hub {
        let stall = Duration::from_millis(100);
        Hub::new(Settings { stall, ..self.settings(cache, Some(TOKEN)) }).unwrap()
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
            ..Settings::read(&|_| None).unwrap()
        }
    }
}

/// Whether requests to a path are left unread.
fn deafness(state: &Arc<Mutex<State>>) -> impl Fn(&str) -> bool + Send + 'static {
    let state = state.clone();
    move |path| {
        let mut state = state.lock().unwrap();
        let is_next = matches!(state.troubles.front(), Some((part, Trouble::Deaf)) if path.contains(*part));
        is_next && state.troubles.pop_front().is_some()
    }
}

/// The storage: `/bucket/<oid>`, and `/bucket/<oid>/<number>` for the parts of a file.
fn stored(state: &mut State, request: Arrived) -> Reply {
    state.log.push(request.clone());
    if let Some(reply) = failure(state, &request) {
        return reply;
    }
    let oid = request.path.trim_start_matches("/bucket/").to_owned();
    if let (Some((oid, number)), "PUT") = (oid.split_once('/'), &request.method[..]) {
        let etag = etag_of_part(number.parse().unwrap());
        let reply = Reply::new(200, vec![("etag", etag)], Vec::new());
        let reply = troubled(state, &request, reply);
        if matches!(reply.end, End::Whole) {
            state.parts.insert((oid.to_owned(), number.parse().unwrap()), request.body);
        }
        return reply;
    }
    if request.method == "PUT" {
        state.objects.insert(oid, request.body);
        return Reply::json(200, &json!({}));
    }
    let content = state.damaged.clone().unwrap_or_else(|| state.objects[&oid].clone());
    let reply = Reply::file(&request, content, state.ignores_versions);
    troubled(state, &request, reply)
}

fn etag_of_part(number: usize) -> String {
    format!("\"part {number}\"")
}

/// The answer with what is to go wrong with it.
fn troubled(state: &mut State, request: &Arrived, reply: Reply) -> Reply {
    match state.trouble(&request.path) {
        None => reply,
        Some(Trouble::Cut(bytes)) => Reply { end: End::Cut(bytes), ..reply },
        Some(Trouble::Stall(bytes)) => Reply { end: End::Stall(bytes), ..reply },
        Some(Trouble::Mute) => Reply { end: End::Mute, ..reply },
        Some(Trouble::More(bytes)) => {
            Reply { body: [reply.body, vec![0; bytes]].concat(), end: End::Untold, ..reply }
        }
        Some(Trouble::Other(content, bytes)) => {
            Reply { end: End::Cut(bytes), ..Reply::file(request, content, true) }
        }
        Some(Trouble::All) => {
            let oid = request.path.trim_start_matches("/bucket/");
            Reply::new(200, Vec::new(), state.objects[oid].clone())
        }
        Some(Trouble::Deaf) => unreachable!("it is not heard"),
    }
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
        return Reply::new(307, headers, Vec::new());
    }
    let path = request.path.strip_prefix("/api/models/user/name").unwrap_or(&request.path);
    match (&request.method[..], path.split('/').nth(1).unwrap_or_default()) {
        ("GET", "api") => Reply::json(200, &json!({ "name": "user" })),
        ("GET", "") if !state.exists => Reply::json(404, &json!({ "error": "Repository not found" })),
        ("GET", "" | "revision") => Reply::json(200, &json!({ "sha": SHA, "private": state.private })),
        ("GET", "tree") => {
            let reply = listed(state, path, request.header("host"));
            troubled(state, &request, reply)
        }
        ("GET", _) => served(state, &request, bucket),
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
        ("POST", _) if path.contains("/complete/") => completed(state, &request),
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
        let lfs = format!("http://{}/user/name.git/info/lfs", request.header("host"));
        let address = format!("http://{bucket}/bucket/{oid}");
        let mut upload = json!({ "href": address, "header": { "x-signature": "abc" } });
        if let Some(chunk_size) = state.chunk_size {
            assert!(wanted["transfers"].as_array().unwrap().contains(&json!("multipart")));
            upload = json!({ "href": format!("{lfs}/complete/{oid}"), "header": {} });
            upload["header"]["chunk_size"] = json!(chunk_size.to_string());
            let count = (object["size"].as_u64().unwrap() as usize).div_ceil(chunk_size);
            // Numbers are sorted as text on their way through JSON.
            for number in (1..=count).rev() {
                upload["header"][number.to_string()] = json!(format!("{address}/{number}"));
            }
        }
        let verify = json!({ "href": format!("{lfs}/objects/verify") });
        json!({ "oid": oid, "size": object["size"], "actions": { "upload": upload, "verify": verify } })
    });
    json!({ "transfer": "basic", "objects": objects.collect::<Vec<_>>() })
}

/// Puts the parts of a file together.
fn completed(state: &mut State, request: &Arrived) -> Reply {
    let oid = request.path.rsplit('/').next().unwrap();
    let wanted = request.json();
    assert_eq!(wanted["oid"], oid);
    let mut content = Vec::new();
    for (number, part) in (1..).zip(wanted["parts"].as_array().unwrap()) {
        assert_eq!((&part["partNumber"], &part["etag"]), (&json!(number), &json!(etag_of_part(number))));
        content.extend(&state.parts[&(oid.to_owned(), number)]);
    }
    assert_eq!(hex(&Sha256::digest(&content)), oid);
    state.objects.insert(oid.to_owned(), content);
    Reply::json(200, &json!({}))
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

fn served(state: &mut State, request: &Arrived, bucket: &str) -> Reply {
    let name = request.path.strip_prefix(&format!("/user/name/resolve/{SHA}/")).unwrap_or_default();
    let Some(content) = state.files.get(&name.replace("%20", " ")) else {
        return Reply::json(404, &json!({ "error": "Entry not found" }));
    };
    if !is_large(name) {
        let reply = Reply::file(request, content.clone(), state.ignores_versions);
        return troubled(state, request, reply);
    }
    let address = format!("http://{bucket}/bucket/{}", hex(&Sha256::digest(content)));
    Reply::new(302, vec![("location", address)], Vec::new())
}
