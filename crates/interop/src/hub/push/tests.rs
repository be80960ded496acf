use std::cell::RefCell;

use super::*;
use crate::hub::testing::{FakeHub, SHA, TOKEN, Trouble};
use crate::hub::{Settings, Token};

/// A checkpoint with a subfolder, a hidden file and one that the server would ignore.
fn model() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    for (name, content) in [
        ("model.safetensors", &[7; 3000][..]),
        ("config.json", b"{}"),
        ("sub/note.txt", b""),
        ("debug.log", b"noise"),
        (".hidden", b"secret"),
    ] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn push(hub: &Hub, folder: &Path) -> Result<Commit, HubError> {
    push_to(hub, folder, "main", false)
}

fn push_to(hub: &Hub, folder: &Path, revision: &str, private: bool) -> Result<Commit, HubError> {
    let repo = "user/name".parse().unwrap();
    hub.push(&Push { folder, repo: &repo, private, revision, message: "Add a model" }, &())
}

#[test]
fn a_folder_becomes_one_commit() {
    let (dir, server) = (model(), FakeHub::start());
    let commit = push_to(&server.hub(dir.path()), dir.path(), "main", true).unwrap();
    assert_eq!(commit, Commit { url: "http://hub/user/name/commit/1".into(), sha: SHA.into() });
    let state = server.state();
    assert_eq!(state.commits, [("main".to_owned(), "Add a model".to_owned())]);
    assert!(state.private && state.branches.is_empty());
    assert_eq!(state.files.keys().collect::<Vec<_>>(), ["config.json", "model.safetensors", "sub/note.txt"]);
    assert_eq!(state.files["model.safetensors"], [7; 3000]);
    assert_eq!((&state.files["config.json"][..], &state.files["sub/note.txt"][..]), (&b"{}"[..], &b""[..]));
}

#[test]
fn a_model_card_says_the_repository_and_the_one_on_the_disk_stays() {
    let (dir, server) = (model(), FakeHub::start());
    let card = "# Model\n\nname = \".\"  # this folder\n";
    fs::write(dir.path().join("README.md"), card).unwrap();
    push(&server.hub(dir.path()), dir.path()).unwrap();
    let uploaded = String::from_utf8(server.state().files["README.md"].clone()).unwrap();
    assert_eq!(uploaded, "# Model\n\nname = \"user/name\"\n");
    assert_eq!(fs::read_to_string(dir.path().join("README.md")).unwrap(), card);
    let state = server.state();
    let announced = state.log.iter().find(|r| r.path.contains("/preupload/")).unwrap().json();
    let card = announced["files"].as_array().unwrap().iter().find(|file| file["path"] == "README.md");
    assert_eq!(card.unwrap()["size"], uploaded.len());
}

#[test]
fn the_token_goes_to_the_server_and_not_to_its_storage() {
    let (dir, server) = (model(), FakeHub::start());
    push(&server.hub(dir.path()), dir.path()).unwrap();
    let state = server.state();
    let (storage, main): (Vec<_>, Vec<_>) = state.log.iter().partition(|r| r.path.starts_with("/bucket/"));
    assert!(main.len() >= 6 && main.iter().all(|r| r.header("authorization") == format!("Bearer {TOKEN}")));
    assert_eq!(storage.len(), 1);
    assert_eq!((storage[0].header("authorization"), storage[0].header("x-signature")), ("", "abc"));
    assert_eq!(storage[0].header("content-length"), "3000");
}

#[test]
fn what_is_there_is_neither_created_nor_sent_again() {
    let (dir, server) = (model(), FakeHub::start());
    let hub = server.hub(dir.path());
    push_to(&hub, dir.path(), "trial/1", false).unwrap();
    push_to(&hub, dir.path(), "trial/1", false).unwrap();
    let state = server.state();
    let count = |part: &str| state.log.iter().filter(|request| request.path.contains(part)).count();
    assert_eq!((count("/bucket/"), count("/repos/create"), count("/verify")), (1, 1, 1));
    assert_eq!(state.branches.iter().collect::<Vec<_>>(), ["trial%2F1"]);
    assert_eq!(state.commits.len(), 2);
}

/// The files that were begun, and the bytes of the one that is under way.
#[derive(Default)]
struct Counter(RefCell<(Vec<String>, u64)>);

impl Progress for Counter {
    fn start(&self, file: &str, _bytes: u64) {
        let mut seen = self.0.borrow_mut();
        seen.0.push(file.to_owned());
        seen.1 = 0;
    }

    fn advance(&self, bytes: u64) {
        self.0.borrow_mut().1 += bytes;
    }
}

#[test]
fn progress_counts_the_bytes_of_large_files() {
    let (dir, server) = (model(), FakeHub::start());
    let (repo, counter) = ("user/name".parse().unwrap(), Counter::default());
    let push = Push { folder: dir.path(), repo: &repo, private: false, revision: "main", message: "x" };
    server.hub(dir.path()).push(&push, &counter).unwrap();
    assert_eq!(counter.0.into_inner(), (vec!["model.safetensors".to_owned()], 3000));
}

/// Steps of an upload, by a part of their paths.
const STEPS: [&str; 7] = ["whoami", "create", "preupload", "batch", "bucket", "verify", "commit"];

#[test]
fn a_failure_at_any_step_leaves_nothing_and_tells_no_token() {
    let dir = model();
    for step in STEPS {
        for status in [400, 403, 404, 409, 500] {
            let server = FakeHub::start();
            server.state().failure = Some((step, status, usize::MAX));
            let hub = server.hub(dir.path());
            let result = push(&hub, dir.path());
            // "Exists already" is what creating hopes for at worst.
            if (step, status) == ("create", 409) {
                result.unwrap();
                continue;
            }
            let error = result.unwrap_err();
            assert!(matches!(error, HubError::Refused { status: found, .. } if found == status), "{error:?}");
            let texts = [format!("{error}"), format!("{error:?}"), format!("{hub:?}")];
            assert!(texts.iter().all(|text| !text.contains(TOKEN)), "{texts:?}");
            assert!(step == "bucket" || texts[0].contains("[token]"), "{texts:?}");
            assert!(server.state().files.is_empty() && server.state().commits.is_empty());
        }
    }
}

#[test]
fn trouble_that_passes_is_waited_for_but_a_commit_is_sent_once() {
    let dir = model();
    for step in STEPS {
        let server = FakeHub::start();
        server.state().failure = Some((step, 503, 2));
        let result = push(&server.hub(dir.path()), dir.path());
        assert_eq!(result.is_ok(), step != "commit", "{step}");
    }
}

#[test]
fn a_wrong_token_and_a_missing_one_say_what_to_do() {
    let (dir, server) = (model(), FakeHub::start());
    let error = push(&server.hub_with(dir.path(), Some("hf_wrong")), dir.path()).unwrap_err();
    assert!(matches!(error, HubError::Refused { status: 401, .. }), "{error}");
    assert!(error.to_string().contains("cannot log in") && error.to_string().contains("HF_TOKEN"), "{error}");
    server.state().log.clear();
    let error = push(&server.hub_with(dir.path(), None), dir.path()).unwrap_err();
    assert!(matches!(error, HubError::NoToken { .. }), "{error}");
    assert!(
        error.to_string().contains("HF_TOKEN") && error.to_string().contains("settings/tokens"),
        "{error}"
    );
    assert!(server.state().log.is_empty());
}

#[test]
fn private_files_do_not_go_into_a_public_repository() {
    let (dir, server) = (model(), FakeHub::start());
    server.state().exists = true;
    let error = push_to(&server.hub(dir.path()), dir.path(), "main", true).unwrap_err();
    assert!(matches!(error, HubError::Public(_)), "{error}");
    assert!(server.state().files.is_empty() && server.state().objects.is_empty());
}

#[test]
fn a_folder_without_a_model_is_refused_before_any_request() {
    let (dir, server) = (tempfile::tempdir().unwrap(), FakeHub::start());
    fs::write(dir.path().join("notes.txt"), "").unwrap();
    let hub = server.hub(dir.path());
    let error = push(&hub, dir.path()).unwrap_err();
    assert!(matches!(error, HubError::NoModel(_)), "{error}");
    let error = push(&hub, &dir.path().join("missing")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    let error = push_to(&hub, dir.path(), "a b", false).unwrap_err();
    assert!(matches!(error, HubError::Revision(_)), "{error}");
    assert!(server.state().log.is_empty());
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let dir = model();
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let settings = Settings {
        endpoint: endpoint.clone(),
        token: Token::new(TOKEN),
        ..Settings::read(&|_| None).unwrap()
    };
    let error = push(&Hub::new(settings.clone()).unwrap(), dir.path()).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&endpoint) && error.to_string().contains("HF_ENDPOINT"), "{error}");
    let error = Hub::new(Settings { endpoint: "hub.example".into(), ..settings }).unwrap_err();
    assert!(matches!(error, HubError::Endpoint(_)), "{error}");
}

#[test]
fn a_file_that_the_server_wants_in_parts_is_sent_in_parts() {
    // Of a length that the last part is shorter for, of full parts, and of more than ten.
    for (chunk_size, parts) in [(1024, 3), (1000, 3), (200, 15), (3000, 1), (5000, 1)] {
        let (dir, server) = (model(), FakeHub::start());
        server.state().chunk_size = Some(chunk_size);
        push(&server.hub(dir.path()), dir.path()).unwrap();
        let state = server.state();
        assert_eq!(state.files["model.safetensors"], [7; 3000]);
        let sent = state.log.iter().filter(|request| request.path.starts_with("/bucket/"));
        let lengths: Vec<usize> = sent.clone().map(|request| request.body.len()).collect();
        assert_eq!((lengths.len(), lengths.iter().sum::<usize>()), (parts, 3000));
        assert!(lengths[..parts - 1].iter().all(|length| *length == chunk_size));
        assert!(sent.clone().all(|request| request.header("authorization").is_empty()));
        assert!(sent.clone().all(|request| request.header("chunk_size").is_empty()));
        let completed: Vec<_> = state.log.iter().filter(|r| r.path.contains("/complete/")).collect();
        assert_eq!(completed.len(), 1);
        assert_eq!(completed[0].header("content-type"), "application/vnd.git-lfs+json");
    }
}

#[test]
fn a_part_that_fails_is_sent_again_alone() {
    let (dir, server) = (model(), FakeHub::start());
    server.state().chunk_size = Some(1000);
    server.state().troubles = [("/2", Trouble::Mute), ("/2", Trouble::Mute), ("/3", Trouble::Deaf)].into();
    server.state().failure = Some(("/1", 503, 2));
    let counter = Counter::default();
    let repo = "user/name".parse().unwrap();
    let push = Push { folder: dir.path(), repo: &repo, private: false, revision: "main", message: "x" };
    server.impatient_hub(dir.path()).push(&push, &counter).unwrap();
    let state = server.state();
    assert_eq!(state.files["model.safetensors"], [7; 3000]);
    let sent = |number: &str| state.log.iter().filter(|r| r.path.ends_with(number)).count();
    // Of the third the server has heard but once.
    assert_eq!((sent("/1"), sent("/2"), sent("/3")), (3, 3, 1));
    // What is sent again is not counted twice.
    assert_eq!(counter.0.into_inner().1, 3000);
}

#[test]
fn an_upload_that_the_server_does_not_take_ends() {
    let dir = model();
    // More than the buffers of a connection, so that writing stands still, and less, so that reading does.
    for bytes in [3000, 16 << 20] {
        fs::write(dir.path().join("model.safetensors"), vec![7; bytes]).unwrap();
        let server = FakeHub::start();
        server.state().troubles = (0..3).map(|_| ("/bucket/", Trouble::Deaf)).collect();
        let error = push(&server.impatient_hub(dir.path()), dir.path()).unwrap_err();
        assert!(matches!(error, HubError::Stalled { .. }), "{error}");
        assert!(error.to_string().contains("upload model.safetensors"), "{error}");
        assert!(server.state().commits.is_empty());
    }
}
