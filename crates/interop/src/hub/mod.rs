//! Models on the [Hugging Face Hub](https://huggingface.co) or a server of one's own that speaks its
//! protocol: [`Hub::push`] a folder, [`Hub::pull`] a repository, [`Hub::resolve`] a model into the
//! cache that all Hugging Face libraries share.
//!
//! Written on [ureq](https://docs.rs/ureq) instead of the crate `hf-hub`, whose version 1.0 uploads
//! large files over Xet only (a server without it gets them inside the commit, in base64), keeps
//! error pages as downloaded files, and takes eight times as long to build. Large files go by Git LFS'
//! basic transfer, which every such server has, or in parts where the server wants them so.
//!
//! A token is sent to the endpoint alone, and shows up in no message, error or `Debug` output.

mod cache;
mod client;
mod download;
mod error;
mod multipart;
mod pull;
mod push;
mod repo;
mod settings;
#[cfg(test)]
mod testing;
mod token;

use std::path::PathBuf;

pub use error::HubError;
pub use push::{Commit, Push};
pub use repo::{RepoId, Source};
pub use settings::Settings;
pub use token::Token;

use crate::hub::client::Client;

/// A server, and what is cached of it.
#[derive(Debug)]
pub struct Hub {
    client: Client,
    cache: PathBuf,
    offline: bool,
}

impl Hub {
    /// # Errors
    /// An endpoint that is no address, certificates that cannot be read.
    pub fn new(settings: Settings) -> Result<Self, HubError> {
        let (cache, offline) = (settings.cache.clone(), settings.offline);
        Ok(Self { client: Client::new(settings)?, cache, offline })
    }
}

/// Hears of every transfer; the unit type ignores it.
pub trait Progress {
    /// A file of this many bytes is next.
    fn start(&self, file: &str, bytes: u64);
    /// So many bytes more have been sent or received.
    fn advance(&self, bytes: u64);
}

impl Progress for () {
    fn start(&self, _file: &str, _bytes: u64) {}

    fn advance(&self, _bytes: u64) {}
}
