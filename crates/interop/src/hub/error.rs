//! Why talking to the Hub failed.

use std::path::PathBuf;
use std::time::Duration;

use whole::Unwritten;

/// Why talking to the Hub failed.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Not the name of a repository.
    #[error("`{0}` names no repository; write user/name, in letters, digits, `-`, `_` and `.`")]
    Name(String),
    /// Not the name of a branch, tag or commit.
    #[error("`{0}` names no branch, tag or commit")]
    Revision(String),
    /// The address of the server is none.
    #[error("HF_ENDPOINT is `{0}`; it has to be an address like https://huggingface.co")]
    Endpoint(String),
    /// A time that is none.
    #[error("HF_HUB_DOWNLOAD_TIMEOUT is `{0}`; it has to be a whole number of seconds, 1 to 86400")]
    Stall(String),
    /// Uploading needs a token.
    #[error(
        "no token for {endpoint}: set HF_TOKEN, or put one into {}; \
         {endpoint}/settings/tokens gives out tokens, uploads need one with the right to write",
        file.display()
    )]
    NoToken {
        /// The server.
        endpoint: String,
        /// Where a token would have been found.
        file: PathBuf,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("cannot {action}: no answer from {endpoint} ({reason}); check the network and HF_ENDPOINT")]
    Unreachable {
        /// The operation that failed, as a verb.
        action: String,
        /// The server.
        endpoint: String,
        /// The reason of the failure.
        reason: String,
    },
    /// A connection stands, and nothing moves on it.
    #[error(
        "cannot {action}: the connection to {endpoint} stood still for {} s; try again, or wait longer with \
         HF_HUB_DOWNLOAD_TIMEOUT",
        waited.as_secs_f64()
    )]
    Stalled {
        /// The operation that failed, as a verb.
        action: String,
        /// The server.
        endpoint: String,
        /// For how long nothing moved.
        waited: Duration,
    },
    /// The server refused.
    #[error("cannot {action}: the server answers {status}{}; {}", in_parentheses(message), hint(*status))]
    Refused {
        /// The operation that failed, as a verb.
        action: String,
        /// HTTP status.
        status: u16,
        /// What the server says, without the token.
        message: String,
    },
    /// The server answered something else than the protocol says.
    #[error("cannot {action}: the answer of {endpoint} is not what the Hub would say ({reason})")]
    Answer {
        /// The operation that failed, as a verb.
        action: String,
        /// The server.
        endpoint: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A folder without a model.
    #[error(
        "{} holds no model, that is no .safetensors, .onnx, .pth, .pt or .bin file; \
         name a checkpoint, or a folder that `train-cli export` wrote", .0.display()
    )]
    NoModel(PathBuf),
    /// A repository without weights.
    #[error("{0} holds no weights that can be read: no .safetensors, .bin, .pth or .pt file")]
    NoWeights(String),
    /// A private upload into a public repository.
    #[error("{0} exists already and is public; upload without --private, or make it private in its settings")]
    Public(String),
    /// The target of a download is in use.
    #[error("{} exists already and is not empty; choose another folder", .0.display())]
    Occupied(PathBuf),
    /// Another process downloads into the target.
    #[error("another process is downloading into {}; wait for it, or choose another folder", .0.display())]
    InUse(PathBuf),
    /// A file that would land outside its folder.
    #[error("the repository holds a file named `{0}`, which would land outside the target folder")]
    UnsafePath(String),
    /// A file that is not what the server said it would be.
    #[error("`{file}` arrived damaged: {reason}; try again")]
    Damaged {
        /// The file in the repository.
        file: String,
        /// The property that differs.
        reason: String,
    },
    /// A file that was never downloaded is asked for without a network.
    #[error("{0} is not in the cache, and HF_HUB_OFFLINE forbids to download it")]
    Offline(String),
    /// A disk that does not take what is downloaded.
    #[error("cannot write {}: {error}; `{file}` needs {missing} more bytes there", path.display())]
    Disk {
        /// What the download is called until it is complete.
        path: PathBuf,
        /// The file in the repository.
        file: String,
        /// Bytes that have yet to come.
        missing: u64,
        /// The reason that the operating system gives.
        error: std::io::Error,
    },
    /// A download that is incomplete and can be gone on with.
    #[error("{error}; what has arrived is in {}, and the same pull goes on from there", part.display())]
    Interrupted {
        /// Why it ended.
        error: Box<HubError>,
        /// Where its files are.
        part: PathBuf,
    },
    /// A file or folder cannot be written.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason that the operating system gives.
        error: std::io::Error,
    },
}

fn in_parentheses(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

/// What to do about a status.
fn hint(status: u16) -> &'static str {
    match status {
        401 => "the token (HF_TOKEN) is missing, wrong or expired, or there is no such repository",
        403 => "the token has no right to do this; uploads need one that may write there",
        404 => "check the names of the repository and the branch; private ones need a token",
        409 => "someone else changed the branch meanwhile; try again",
        413 => "a file is larger than the server takes",
        429 => "the server has had too many requests; try again later",
        500.. => "the server has trouble; try again later",
        _ => "check the names and the token",
    }
}
