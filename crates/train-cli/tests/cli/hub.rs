//! What `push`, `pull` and `hf:` sources say when there is nothing to talk to.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Output};

use tempfile::TempDir;

/// An address that nobody listens at any more.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn run(dir: &TempDir, token: Option<&str>, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train-cli"));
    command.args(args).current_dir(dir.path()).env("HF_HOME", dir.path()).env("HF_ENDPOINT", nowhere());
    for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "SSL_CERT_FILE", "HTTP_PROXY"]
    {
        command.env_remove(name);
    }
    command.env("NO_PROXY", "*").envs(token.map(|token| ("HF_TOKEN", token))).output().unwrap()
}

/// What a failing command says.
fn complaint(output: Output) -> String {
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains("panicked") && !text.contains("hf_secret"), "{text}");
    text
}

fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("model")).unwrap();
    fs::write(dir.path().join("model/model.safetensors"), "weights").unwrap();
    dir
}

#[test]
fn push_without_a_token_or_a_server_says_what_to_do() {
    let dir = folder();
    let text = complaint(run(&dir, None, &["push", "model", "--repo", "user/name"]));
    assert!(text.contains("no token") && text.contains("HF_TOKEN"), "{text}");
    let text = complaint(run(&dir, Some("hf_secret"), &["push", "model", "--repo", "user/name"]));
    assert!(text.contains("cannot log in: no answer from http://127.0.0.1"), "{text}");
    let text = complaint(run(&dir, Some("hf_secret"), &["push", "model", "--repo", "name"]));
    assert!(text.contains("write user/name"), "{text}");
    fs::remove_file(dir.path().join("model/model.safetensors")).unwrap();
    let text = complaint(run(&dir, Some("hf_secret"), &["push", "model", "--repo", "user/name"]));
    assert!(text.contains("holds no model"), "{text}");
}

#[test]
fn pull_and_hf_sources_name_what_they_lack() {
    let dir = folder();
    let text = complaint(run(&dir, None, &["pull", "user/name", "--out", "model"]));
    assert!(text.contains("not empty"), "{text}");
    let text = complaint(run(&dir, None, &["pull", "user/name@v1", "--out", "new"]));
    assert!(text.contains("cannot look up user/name@v1: no answer"), "{text}");
    assert!(!dir.path().join("new").exists());
    let text = complaint(run(&dir, None, &["predict", "--checkpoint", "hf:user/name", "photo.jpg"]));
    assert!(text.contains("cannot look up user/name@main: no answer"), "{text}");
    let text = complaint(run(&dir, None, &["predict", "--checkpoint", "hf:name", "photo.jpg"]));
    assert!(text.contains("`name` names no repository"), "{text}");
}
