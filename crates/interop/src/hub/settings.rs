//! What the environment says about the Hub, as Hugging Face's own libraries read it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::hub::error::HubError;
use crate::hub::token::Token;

/// Where the Hub is, who we are, and where its files are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the server; `HF_ENDPOINT`, or <https://huggingface.co>.
    pub endpoint: String,
    /// `HF_TOKEN`, or the content of [`token_file`](Self::token_file).
    pub token: Option<Token>,
    /// `HF_TOKEN_PATH`, or `$HF_HOME/token`.
    pub token_file: PathBuf,
    /// `HF_HUB_CACHE`, or `$HF_HOME/hub`.
    pub cache: PathBuf,
    /// `HF_HUB_OFFLINE`: use what the cache holds.
    pub offline: bool,
    /// `SSL_CERT_FILE` or `REQUESTS_CA_BUNDLE`: certificates of a private server or proxy, in PEM.
    pub certificates: Option<PathBuf>,
    /// Pause before the first repetition of a request that a server in trouble refused; the next
    /// takes twice as long.
    pub patience: Duration,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`: how long a connection may bring or take nothing before it counts as
    /// broken.
    pub stall: Duration,
}

/// Seconds that a connection may stand still. Hugging Face's client says 10, which is little for a request
/// that wakes up a server.
const STALL: u64 = 30;

impl Settings {
    /// Reads the environment variables of this process.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_env() -> Result<Self, HubError> {
        Self::read(&|name| std::env::var_os(name))
    }

    /// Reads variables from any source.
    ///
    /// # Errors
    /// A time that is no number of seconds.
    pub fn read(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let is_on = |name: &str| {
            text(name).is_some_and(|v| matches!(&v.to_ascii_lowercase()[..], "1" | "on" | "yes" | "true"))
        };
        let user = path("HOME").or_else(|| path("USERPROFILE")).unwrap_or_default();
        let caches = path("XDG_CACHE_HOME").unwrap_or_else(|| user.join(".cache"));
        let home = path("HF_HOME").unwrap_or_else(|| caches.join("huggingface"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let stall = match text("HF_HUB_DOWNLOAD_TIMEOUT") {
            Some(text) => seconds(&text).ok_or(HubError::Stall(text))?,
            None => STALL,
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: text("HF_TOKEN").and_then(|text| Token::new(&text)).or_else(|| stored(&token_file)),
            token_file,
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            offline: is_on("HF_HUB_OFFLINE"),
            certificates: path("SSL_CERT_FILE").or_else(|| path("REQUESTS_CA_BUNDLE")),
            patience: Duration::from_secs(1),
            stall: Duration::from_secs(stall),
        })
    }
}

fn seconds(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|seconds| (1..=86_400).contains(seconds))
}

fn stored(file: &Path) -> Option<Token> {
    Token::new(&std::fs::read_to_string(file).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        try_read(variables).unwrap()
    }

    fn try_read(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        Settings::read(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn a_connection_may_stand_still_for_as_many_seconds_as_are_said() {
        assert_eq!(read(&[]).stall, Duration::from_secs(30));
        assert_eq!(read(&[("HF_HUB_DOWNLOAD_TIMEOUT", "")]).stall, Duration::from_secs(30));
        assert_eq!(read(&[("HF_HUB_DOWNLOAD_TIMEOUT", "120")]).stall, Duration::from_secs(120));
        for text in ["0", "-1", "soon", "1.5", "99999999999999999999"] {
            let error = try_read(&[("HF_HUB_DOWNLOAD_TIMEOUT", text)]).unwrap_err().to_string();
            assert!(error.contains(&format!("HF_HUB_DOWNLOAD_TIMEOUT is `{text}`")), "{error}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_python_client() {
        let settings = read(&[("HOME", "/home/me")]);
        assert_eq!(settings.endpoint, "https://huggingface.co");
        assert_eq!(settings.cache, Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!(settings.token_file, Path::new("/home/me/.cache/huggingface/token"));
        assert_eq!((settings.token, settings.offline, settings.certificates), (None, false, None));
    }

    #[test]
    fn variables_take_precedence_in_the_order_of_the_python_client() {
        let settings =
            read(&[("HOME", "/home/me"), ("XDG_CACHE_HOME", "/c"), ("HF_ENDPOINT", "http://hub/")]);
        assert_eq!((&settings.endpoint[..], &settings.cache), ("http://hub", &"/c/huggingface/hub".into()));
        let settings = read(&[("XDG_CACHE_HOME", "/c"), ("HF_HOME", "/hf"), ("HF_HUB_OFFLINE", "True")]);
        assert_eq!((&settings.cache, settings.offline), (&"/hf/hub".into(), true));
        let settings = read(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/hub"), ("HF_HUB_OFFLINE", "0")]);
        assert_eq!((&settings.cache, settings.offline), (&"/hub".into(), false));
    }

    #[test]
    fn a_token_comes_from_the_variable_or_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "hf_stored\n").unwrap();
        let home = dir.path().to_str().unwrap();
        let file = file.to_str().unwrap();
        assert_eq!(read(&[("HF_HOME", home)]).token, Token::new("hf_stored"));
        assert_eq!(read(&[("HF_TOKEN_PATH", file)]).token, Token::new("hf_stored"));
        assert_eq!(read(&[("HF_HOME", home), ("HF_TOKEN", "hf_given")]).token, Token::new("hf_given"));
        assert_eq!(read(&[("HF_HOME", home), ("HF_TOKEN", "")]).token, Token::new("hf_stored"));
    }
}
