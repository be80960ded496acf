//! The Hub as the command line sees it: `hf:` sources, and how far a transfer is.

use std::path::{Path, PathBuf};

use anyhow::Result;

/// What a source on the Hub starts with.
pub(crate) const PREFIX: &str = "hf:";

/// The path itself, or for `hf:user/name[@revision]` the folder in the cache that the model was
/// downloaded to.
pub(crate) fn local(path: &Path) -> Result<PathBuf> {
    match path.to_str().and_then(|text| text.strip_prefix(PREFIX)) {
        Some(source) => download(source),
        None => Ok(path.to_owned()),
    }
}

#[cfg(not(feature = "hub"))]
fn download(source: &str) -> Result<PathBuf> {
    anyhow::bail!("{PREFIX}{source}: this program was built without the feature `hub`")
}

#[cfg(feature = "hub")]
fn download(source: &str) -> Result<PathBuf> {
    let hub = interop::hub::Hub::new(interop::hub::Settings::from_env()?)?;
    Ok(hub.resolve(&source.parse()?, &Transfer::new())?)
}

/// The file that is under way, as a bar.
#[cfg(feature = "hub")]
pub(crate) struct Transfer(trainer::Bar);

#[cfg(feature = "hub")]
impl Transfer {
    pub(crate) fn new() -> Self {
        Self(crate::output::bar())
    }
}

#[cfg(feature = "hub")]
impl interop::hub::Progress for Transfer {
    fn start(&self, file: &str, bytes: u64) {
        self.0.start(file, trainer::Unit::Bytes, 0..bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
    }
}
