use std::collections::BTreeSet;

use super::*;
use crate::hub::Settings;
use crate::hub::push::hex;
use crate::hub::testing::{FakeHub, SHA, TOKEN};
use sha2::{Digest, Sha256};

fn server(files: &[&str]) -> FakeHub {
    let server = FakeHub::start();
    for name in files {
        let content = name.as_bytes().to_vec();
        server.state().objects.insert(hex(&Sha256::digest(&content)), content.clone());
        server.state().files.insert((*name).to_owned(), content);
    }
    server
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn resolve(files: &[&str]) -> Result<BTreeSet<String>, HubError> {
    let (dir, server) = (tempfile::tempdir().unwrap(), server(files));
    server.hub(dir.path()).resolve(&"user/name".parse().unwrap(), &()).map(|folder| names(&folder))
}

#[test]
fn the_cache_has_the_layout_of_the_python_client() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server(&["config.json", "model.safetensors"]));
    let folder = server.hub(dir.path()).resolve(&"user/name".parse().unwrap(), &()).unwrap();
    let repo = dir.path().join("models--user--name");
    assert_eq!(folder, repo.join("snapshots").join(SHA));
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), SHA);
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), b"model.safetensors");
    let hash = hex(&Sha256::digest(b"model.safetensors"));
    assert!(repo.join("blobs").join(&hash).is_file());
    #[cfg(unix)]
    assert_eq!(fs::read_link(folder.join("model.safetensors")).unwrap(), Path::new("../../blobs").join(hash));
    assert_eq!(names(&repo.join("blobs")).len(), 2);
}

#[test]
fn what_is_in_the_cache_is_not_downloaded_again() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server(&["config.json", "model.safetensors"]));
    let source = "user/name@trial/1".parse().unwrap();
    let first = server.hub(dir.path()).resolve(&source, &()).unwrap();
    server.state().log.clear();
    assert_eq!(server.hub(dir.path()).resolve(&source, &()).unwrap(), first);
    assert!(!server.state().log.iter().any(|request| request.path.contains("/resolve/")));
    let offline = Settings { offline: true, ..server.settings(dir.path(), Some(TOKEN)) };
    server.state().log.clear();
    let hub = Hub::new(offline).unwrap();
    assert_eq!(hub.resolve(&source, &()).unwrap(), first);
    assert_eq!(hub.resolve(&format!("user/name@{SHA}").parse().unwrap(), &()).unwrap(), first);
    let error = hub.resolve(&"user/other".parse().unwrap(), &()).unwrap_err();
    assert!(matches!(error, HubError::Offline(_)), "{error}");
    assert!(server.state().log.is_empty());
}

#[test]
fn one_format_of_the_weights_is_enough() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let all = ["README.md", "config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5"];
    assert_eq!(resolve(&all).unwrap(), set(&["config.json", "model.safetensors"]));
    let ours = ["config.toml", "ema.safetensors", "model.safetensors", "optimizer.safetensors", "state.json"];
    assert_eq!(resolve(&ours).unwrap(), set(&["config.toml", "model.safetensors", "state.json"]));
    let parts = ["model-1-of-2.safetensors", "model-2-of-2.safetensors", "model.safetensors.index.json"];
    assert_eq!(resolve(&parts).unwrap(), set(&parts));
    assert_eq!(resolve(&["config.json", "pytorch_model.bin"]).unwrap().len(), 2);
    let adapted = ["adapter.safetensors", "config.json", "pytorch_model.bin"];
    assert_eq!(resolve(&adapted).unwrap(), set(&adapted[1..]));
    let shards = ["pytorch_model-1-of-2.bin", "pytorch_model-2-of-2.bin", "pytorch_model.bin.index.json"];
    assert_eq!(resolve(&shards).unwrap(), set(&shards));
    assert_eq!(resolve(&["atto.pth", "onnx/model.safetensors"]).unwrap(), set(&["atto.pth"]));
    let error = resolve(&["README.md", "config.json"]).unwrap_err();
    assert!(matches!(error, HubError::NoWeights(_)), "{error}");
}

#[test]
fn a_failed_download_leaves_no_half_file() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server(&["model.safetensors"]));
    server.state().damaged = Some(b"model.safetensorS".to_vec());
    let error = server.hub(dir.path()).resolve(&"user/name".parse().unwrap(), &()).unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    assert!(names(&dir.path().join("models--user--name/blobs")).is_empty());
    assert!(!dir.path().join("models--user--name/refs").exists());
}
