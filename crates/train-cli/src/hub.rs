//! The Hub as the command line sees it: `hf:` sources and a progress bar.

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
    let hub = interop::hub::Hub::new(interop::hub::Settings::from_env())?;
    Ok(hub.resolve(&source.parse()?, &Bar::new())?)
}

/// Bytes of the file that is under way, on a terminal.
#[cfg(feature = "hub")]
pub(crate) struct Bar(indicatif::ProgressBar);

#[cfg(feature = "hub")]
impl Bar {
    pub(crate) fn new() -> Self {
        use std::io::IsTerminal;
        let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let style = indicatif::ProgressStyle::with_template(template);
        let bar = match std::io::stderr().is_terminal() {
            true => indicatif::ProgressBar::new(0),
            false => indicatif::ProgressBar::hidden(),
        };
        Self(bar.with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar())))
    }
}

#[cfg(feature = "hub")]
impl interop::hub::Progress for Bar {
    fn start(&self, file: &str, bytes: u64) {
        self.0.set_message(file.to_owned());
        self.0.set_length(bytes);
        self.0.set_position(0);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

#[cfg(feature = "hub")]
impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
