use sha2::{Digest, Sha256};

use super::*;
use crate::hub::push::hex;
use crate::hub::testing::{FakeHub, SHA, TOKEN};

/// A server with a repository.
fn server() -> FakeHub {
    let server = FakeHub::start();
    let mut state = server.state();
    state.exists = true;
    for (name, content) in
        [("model.safetensors", &[7; 3000][..]), ("config.json", b"{}"), ("a note.txt", b"hello")]
    {
        state.objects.insert(hex(&Sha256::digest(content)), content.to_vec());
        state.files.insert(name.to_owned(), content.to_vec());
    }
    drop(state);
    server
}

fn source() -> Source {
    "user/name@v1".parse().unwrap()
}

#[test]
fn a_repository_becomes_a_folder() {
    let (dir, server) = (tempfile::tempdir().unwrap(), FakeHub::start());
    server.state().files.insert("a/b.txt".into(), b"hello".to_vec());
    server.state().files.insert("config.json".into(), b"{}".to_vec());
    server.state().files.insert("model.safetensors".into(), vec![7; 3000]);
    server.state().objects.insert(hex(&Sha256::digest([7; 3000])), vec![7; 3000]);
    let folder = dir.path().join("model");
    server.hub(dir.path()).pull(&source(), &folder, &()).unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), [7; 3000]);
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), b"{}");
    assert_eq!(fs::read(folder.join("a/b.txt")).unwrap(), b"hello");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let state = server.state();
    assert!(state.log.iter().any(|request| request.path.ends_with("/revision/v1")));
    for request in &state.log {
        let expected =
            if request.path.starts_with("/bucket/") { String::new() } else { format!("Bearer {TOKEN}") };
        assert_eq!(request.header("authorization"), expected, "{}", request.path);
    }
    drop(state);
    let error = server.hub(dir.path()).pull(&source(), &folder, &()).unwrap_err();
    assert!(matches!(error, HubError::Occupied(_)), "{error}");
}

#[test]
fn a_renamed_repository_is_found_by_its_old_name() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server());
    let folder = dir.path().join("model");
    server.hub(dir.path()).pull(&"user/old".parse().unwrap(), &folder, &()).unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), [7; 3000]);
}

#[test]
fn damaged_and_missing_files_leave_no_folder() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server());
    let folder = dir.path().join("model");
    let pull = || server.hub(dir.path()).pull(&source(), &folder, &()).unwrap_err();
    server.state().damaged = Some(vec![8; 3000]);
    let error = pull();
    assert!(matches!(&error, HubError::Damaged { file, .. } if file == "model.safetensors"), "{error}");
    server.state().damaged = Some(vec![7; 2999]);
    assert!(pull().to_string().contains("2999 bytes instead of 3000"));
    server.state().damaged = None;
    for (step, status) in [("revision", 404), ("tree", 403), ("resolve", 500), ("bucket", 404)] {
        server.state().failure = Some((step, status, usize::MAX));
        let error = pull();
        assert!(matches!(error, HubError::Refused { status: found, .. } if found == status), "{error:?}");
        assert!(!format!("{error} {error:?}").contains(TOKEN));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn files_stay_inside_the_folder() {
    for name in ["../evil.json", "/evil.json", "a/../../evil.json", "..\\evil.json"] {
        let (dir, server) = (tempfile::tempdir().unwrap(), server());
        server.state().files.insert(name.into(), b"evil".to_vec());
        let error = server.hub(dir.path()).pull(&source(), &dir.path().join("model"), &()).unwrap_err();
        assert!(matches!(&error, HubError::UnsafePath(found) if found == name), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn lists_go_on_page_by_page_on_the_same_server_only() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server());
    let hub = server.hub(dir.path());
    let snapshot = hub.snapshot(&source()).unwrap();
    assert_eq!((&snapshot.sha[..], snapshot.files.len()), (SHA, 3));
    assert_eq!(hub.next_page("<http://elsewhere/api>; rel=\"next\""), None);
    let own = format!("{}/api", hub.client.endpoint());
    assert_eq!(hub.next_page(&format!("<{own}>; rel=\"prev\"")), None);
    assert_eq!(hub.next_page(&format!("<{own}>; rel=\"next\"")), Some(own));
}
