//! Requests and what becomes of their answers.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Method, Request, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody, Timeout};

use crate::hub::Progress;
use crate::hub::error::HubError;
use crate::hub::settings::Settings;
use crate::hub::token::Token;

/// Times that a request is sent before the failure counts.
pub(super) const ATTEMPTS: u32 = 3;
/// Addresses that a request may be passed on to.
const REDIRECTIONS: u32 = 10;
/// Of an answer that is kept in memory: lists of files, messages.
const LARGEST_ANSWER: u64 = 32 << 20;
/// Bytes that are read of what a server says about an error.
const LONGEST_MESSAGE: usize = 300;
/// How much longer the answer to a request may take that is much work for the server.
const LATER: u32 = 10;

/// Speaks HTTP with one server.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: String,
    token: Option<Token>,
    token_file: PathBuf,
    agent: Agent,
    patience: Duration,
    stall: Duration,
}

/// A request that is being made.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// A whole address.
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) content: Content<'a>,
    /// Whether sending it twice does no harm.
    pub(super) repeatable: bool,
    /// Whether it is much work for the server.
    pub(super) answers_late: bool,
}

pub(super) enum Content<'a> {
    Nothing,
    Bytes(Vec<u8>, &'static str),
    /// A stretch of a file of so many bytes in total.
    File {
        path: &'a Path,
        name: &'a str,
        range: Range<u64>,
        total: u64,
        progress: &'a dyn Progress,
    },
}

impl Call<'_> {
    pub(super) fn get(url: String) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            content: Content::Nothing,
            repeatable: true,
            answers_late: false,
        }
    }

    pub(super) fn post(url: String, json: &Value) -> Self {
        let content = Content::Bytes(json.to_string().into_bytes(), "application/json");
        Self { method: Method::POST, content, ..Self::get(url) }
    }
}

impl Content<'_> {
    /// Tells whoever watches that what has been sent will be sent again.
    fn start_over(&self) {
        if let Self::File { name, range, total, progress, .. } = self {
            progress.start(name, *total);
            progress.advance(range.start);
        }
    }
}

impl Client {
    pub(super) fn new(settings: Settings) -> Result<Self, HubError> {
        let Settings { endpoint, token, token_file, certificates, patience, stall, .. } = settings;
        let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        if host.is_none_or(str::is_empty) {
            return Err(HubError::Endpoint(endpoint));
        }
        let roots = match certificates {
            Some(file) => certificates_of(&file)?,
            None => RootCerts::WebPki,
        };
        let config = Agent::config_builder()
            .user_agent(concat!("train-cli/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // Followed below: ureq would show the token to other ports of the same host.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_per_read(Some(stall))
            .timeout_per_write(Some(stall))
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Self { endpoint, token, token_file, agent: config.into(), patience, stall })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// # Errors
    /// There is none.
    pub(super) fn require_token(&self) -> Result<(), HubError> {
        match self.token {
            Some(_) => Ok(()),
            None => {
                let (endpoint, file) = (self.endpoint.clone(), self.token_file.clone());
                Err(HubError::NoToken { endpoint, file })
            }
        }
    }

    /// An answer that says yes.
    ///
    /// # Errors
    /// No answer, or one that says no. `action` completes "cannot …".
    pub(super) fn send(&self, action: &str, call: &Call) -> Result<Response<Body>, HubError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let result = self.send_once(action, call);
            let worth_another = match &result {
                Ok(Ok(response)) => is_passing(response.status().as_u16()),
                Ok(Err(error)) => is_broken(error),
                Err(_) => false,
            };
            if call.repeatable && worth_another && attempt < ATTEMPTS {
                self.pause(attempt);
                call.content.start_over();
                continue;
            }
            let response = result?.map_err(|error| self.no_answer(action, &error, call.answers_late))?;
            return self.checked(action, response);
        }
    }

    /// Waits before the repetition of what has failed so many times.
    pub(super) fn pause(&self, failures: u32) {
        std::thread::sleep(self.patience * (1 << (failures - 1)));
    }

    /// The answer as JSON.
    ///
    /// # Errors
    /// As [`send`](Self::send), and answers that are no JSON.
    pub(super) fn json(&self, action: &str, call: &Call) -> Result<Value, HubError> {
        Ok(self.json_and_headers(action, call)?.0)
    }

    /// The same, and what stands before it.
    pub(super) fn json_and_headers(&self, action: &str, call: &Call) -> Result<(Value, HeaderMap), HubError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut response = self.send(action, call)?;
            let bytes = response.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec();
            match bytes {
                Ok(bytes) => {
                    let json = serde_json::from_slice(&bytes);
                    let json = json.map_err(|error| self.strange(action, &error.to_string()))?;
                    return Ok((json, response.headers().clone()));
                }
                Err(error) if call.repeatable && is_broken(&error) && attempt < ATTEMPTS => {
                    self.pause(attempt);
                }
                Err(error) => return Err(self.no_answer(action, &error, call.answers_late)),
            }
        }
    }

    /// One attempt, through all redirections: renamed repositories have them, and large files.
    fn send_once(&self, action: &str, call: &Call) -> Result<Result<Response<Body>, ureq::Error>, HubError> {
        let mut url = call.url.clone();
        for _ in 0..=REDIRECTIONS {
            let response = match self.send_to(&url, action, call)? {
                Ok(response) => response,
                Err(error) => return Ok(Err(error)),
            };
            let status = response.status().as_u16();
            let followed =
                matches!(status, 307 | 308) || matches!(status, 301..=303) && call.method == Method::GET;
            let location = response.headers().get("location").and_then(|location| location.to_str().ok());
            match location.filter(|_| followed) {
                Some(location) if location.starts_with('/') => url = format!("{}{location}", origin(&url)),
                Some(location) => url = location.to_owned(),
                None => return Ok(Ok(response)),
            }
        }
        Err(self.strange(action, "it redirects in circles"))
    }

    fn send_to(
        &self,
        url: &str,
        action: &str,
        call: &Call,
    ) -> Result<Result<Response<Body>, ureq::Error>, HubError> {
        let mut request = Request::builder().method(&call.method).uri(url);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(token) = self.token.as_ref().filter(|_| self.is_own(url)) {
            request = request.header("authorization", token.bearer());
        }
        let (mut reader, length): (Box<dyn Read + '_>, _) = match &call.content {
            Content::Nothing => (Box::new(io::empty()), None),
            Content::Bytes(bytes, kind) => {
                request = request.header("content-type", *kind);
                (Box::new(&bytes[..]), Some(bytes.len() as u64))
            }
            Content::File { path, range, progress, .. } => {
                let length = range.end - range.start;
                let opened = File::open(path).and_then(|mut file| {
                    file.seek(SeekFrom::Start(range.start))?;
                    Ok(file.take(length))
                });
                let file = opened.map_err(|error| HubError::Io { path: (*path).to_owned(), error })?;
                (Box::new(Counted { file, progress: *progress }), Some(length))
            }
        };
        let malformed = |error: ureq::http::Error| self.strange(action, &error.to_string());
        let Some(length) = length else {
            return Ok(self.agent.run(request.body(()).map_err(malformed)?));
        };
        let request = request.header("content-length", length);
        let request = request.body(SendBody::from_reader(&mut *reader)).map_err(malformed)?;
        let wait = self.wait(call.answers_late);
        Ok(self.agent.run(self.agent.configure_request(request).timeout_per_read(Some(wait)).build()))
    }

    /// How long an answer may take.
    fn wait(&self, answers_late: bool) -> Duration {
        if answers_late { self.stall * LATER } else { self.stall }
    }

    fn checked(&self, action: &str, mut response: Response<Body>) -> Result<Response<Body>, HubError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let header = response.headers().get("x-error-message").and_then(|value| value.to_str().ok());
        let message = header.map(str::to_owned).unwrap_or_else(|| {
            let body = response.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string();
            message_of(&body.unwrap_or_default())
        });
        let message = self.redact(&message).chars().take(LONGEST_MESSAGE).collect();
        Err(HubError::Refused { action: self.redact(action), status: status.as_u16(), message })
    }

    /// A connection that cannot be made, or broke, or on which nothing moves.
    pub(super) fn unreachable(&self, action: &str, error: &ureq::Error) -> HubError {
        self.no_answer(action, error, false)
    }

    fn no_answer(&self, action: &str, error: &ureq::Error, answers_late: bool) -> HubError {
        let (action, endpoint) = (self.redact(action), self.redact(&self.endpoint));
        match error {
            ureq::Error::Timeout(Timeout::PerRead) => {
                HubError::Stalled { action, endpoint, waited: self.wait(answers_late) }
            }
            ureq::Error::Timeout(Timeout::PerWrite) => {
                HubError::Stalled { action, endpoint, waited: self.stall }
            }
            _ => HubError::Unreachable { action, endpoint, reason: self.redact(&error.to_string()) },
        }
    }

    /// An answer that breaks the protocol.
    pub(super) fn strange(&self, action: &str, reason: &str) -> HubError {
        let (action, endpoint) = (self.redact(action), self.redact(&self.endpoint));
        HubError::Answer { action, endpoint, reason: self.redact(reason) }
    }

    /// A text of the server, as it may be shown.
    pub(super) fn redact(&self, text: &str) -> String {
        self.token.as_ref().map_or_else(|| text.to_owned(), |token| token.redact(text))
    }

    /// Whether an address is the server's own, which may see the token.
    fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.endpoint).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// Scheme and host of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}

/// Whether a status tells of trouble that may pass.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Whether a connection stood, and broke or stalled.
fn is_broken(error: &ureq::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        ureq::Error::Io(error) => {
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        }
        ureq::Error::Timeout(timeout) => matches!(timeout, Timeout::PerRead | Timeout::PerWrite),
        _ => false,
    }
}

/// What a server says is wrong: the field `error` of its JSON, or a text.
fn message_of(body: &str) -> String {
    match serde_json::from_str::<Value>(body) {
        Ok(value) => value["error"].as_str().or(value["message"].as_str()).unwrap_or_default().to_owned(),
        Err(_) if body.trim_start().starts_with('<') => String::new(),
        Err(_) => body.trim().to_owned(),
    }
}

fn certificates_of(path: &Path) -> Result<RootCerts, HubError> {
    let io = |error| HubError::Io { path: path.to_owned(), error };
    let pem = std::fs::read(path).map_err(io)?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(io(io::Error::new(ErrorKind::InvalidData, error.to_string()))),
        }
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

/// Reports what is read of a file.
struct Counted<'a> {
    file: io::Take<File>,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
