use std::cell::RefCell;

use super::*;
use crate::hub::push::sha256;
use crate::hub::testing::{Arrived, FakeHub, Trouble};

/// The bytes of a large file, no two neighbours alike.
fn content() -> Vec<u8> {
    (0..3000u32).map(|index| (index * 7 % 251) as u8).collect()
}

/// A server with a large file and a small one.
fn server() -> FakeHub {
    let server = FakeHub::start();
    let mut state = server.state();
    state.exists = true;
    state.objects.insert(hex(&Sha256::digest(content())), content());
    state.files.insert("model.safetensors".into(), content());
    state.files.insert("notes.txt".into(), b"a few words".to_vec());
    drop(state);
    server
}

/// What is going wrong with downloads of the large file.
fn troubled(troubles: impl IntoIterator<Item = Trouble>) -> FakeHub {
    let server = server();
    server.state().troubles = troubles.into_iter().map(|trouble| ("/bucket/", trouble)).collect();
    server
}

/// Pulls into `model`; impatiently where there is something to wait for in vain.
fn pull(server: &FakeHub, folder: &Path) -> Result<(), HubError> {
    let stalls = |(_, trouble): &(_, Trouble)| matches!(trouble, Trouble::Stall(_) | Trouble::Deaf);
    let is_waited_for = server.state().troubles.iter().any(stalls);
    let hub = if is_waited_for { server.impatient_hub(folder) } else { server.hub(folder) };
    hub.pull(&"user/name".parse().unwrap(), &folder.join("model"), &())
}

/// The requests for the large file: what they asked for.
fn ranges(server: &FakeHub) -> Vec<String> {
    let state = server.state();
    let of_storage = state.log.iter().filter(|request| request.path.starts_with("/bucket/"));
    of_storage.map(|request: &Arrived| request.header("range").to_owned()).collect()
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// A download that succeeds in spite of something, and what it asked for.
fn asked_for(troubles: impl IntoIterator<Item = Trouble>) -> Vec<String> {
    let (dir, server) = (tempfile::tempdir().unwrap(), troubled(troubles));
    pull(&server, dir.path()).unwrap();
    assert_eq!(fs::read(dir.path().join("model/model.safetensors")).unwrap(), content());
    assert_eq!((count(dir.path()), count(&dir.path().join("model"))), (1, 2));
    assert!(server.state().troubles.is_empty());
    ranges(&server)
}

#[test]
fn a_connection_that_breaks_or_stalls_is_gone_on_with_from_the_same_byte() {
    use Trouble::{Cut, Stall};
    assert_eq!(asked_for([Cut(1000)]), ["", "bytes=1000-"]);
    assert_eq!(asked_for([Stall(1000)]), ["", "bytes=1000-"]);
    assert_eq!(asked_for([Cut(1000), Stall(1), Cut(999)]), ["", "bytes=1000-", "bytes=1001-", "bytes=2000-"]);
    // As many failures as there are, as long as each brings something.
    assert_eq!(asked_for(vec![Cut(100); 20]).len(), 21);
    assert_eq!(asked_for([Cut(0), Cut(0)]), ["", "", ""]);
}

#[test]
fn connections_that_bring_nothing_are_given_up_and_what_is_there_is_gone_on_with() {
    for (fruitless, part) in [(Trouble::Cut(0), "no answer"), (Trouble::Stall(0), "stood still for 0.1 s")] {
        let dir = tempfile::tempdir().unwrap();
        let server = troubled([Trouble::Cut(1000), fruitless.clone(), fruitless.clone(), fruitless]);
        let error = pull(&server, dir.path()).unwrap_err();
        assert!(matches!(error, HubError::Interrupted { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains("download model.safetensors") && message.contains(part), "{message}");
        assert!(message.contains(".model.part"), "{message}");
        assert!(!dir.path().join("model").exists());
        server.state().log.clear();
        pull(&server, dir.path()).unwrap();
        assert_eq!(ranges(&server), ["bytes=1000-"]);
        assert_eq!(fs::read(dir.path().join("model/model.safetensors")).unwrap(), content());
        assert_eq!((count(dir.path()), count(&dir.path().join("model"))), (1, 2));
    }
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server());
    server.state().troubles = (0..3).map(|_| ("/revision/", Trouble::Deaf)).collect();
    let error = pull(&server, dir.path()).unwrap_err();
    assert!(matches!(error, HubError::Stalled { .. }), "{error}");
    assert!(error.to_string().contains("cannot look up user/name@main"), "{error}");
    assert_eq!(count(dir.path()), 0);
}

#[test]
fn a_list_of_files_that_breaks_off_or_stalls_is_asked_for_again() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server());
    server.state().troubles = [("/tree/", Trouble::Cut(10)), ("/tree/", Trouble::Stall(10))].into();
    pull(&server, dir.path()).unwrap();
    assert_eq!(count(&dir.path().join("model")), 2);
    server.state().troubles = (0..3).map(|_| ("/tree/", Trouble::Cut(10))).collect();
    fs::remove_dir_all(dir.path().join("model")).unwrap();
    let error = pull(&server, dir.path()).unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    assert_eq!(count(dir.path()), 0);
}

#[test]
fn a_server_that_sends_the_whole_file_again_starts_over() {
    assert_eq!(asked_for([Trouble::Cut(1000), Trouble::All]), ["", "bytes=1000-"]);
}

#[test]
fn pieces_of_different_versions_are_not_put_together() {
    let other = || Trouble::Other(vec![1; 3000], 1000);
    // The server sends all, since the version that it is asked for a part of is gone.
    assert_eq!(asked_for([other()]), ["", "bytes=1000-"]);
    // It sends a part of another version all the same.
    let (dir, server) = (tempfile::tempdir().unwrap(), troubled([other()]));
    server.state().ignores_versions = true;
    pull(&server, dir.path()).unwrap();
    assert_eq!(ranges(&server), ["", "bytes=1000-", ""]);
    assert_eq!(fs::read(dir.path().join("model/model.safetensors")).unwrap(), content());
}

#[test]
fn a_part_that_an_earlier_pull_left_is_checked() {
    for (left, asked) in [
        (content()[..1000].to_vec(), vec!["bytes=1000-"]),
        (content(), vec![]),
        // Of another version, longer than the file, empty.
        (vec![1; 1000], vec!["bytes=1000-", ""]),
        (vec![1; 3000], vec![""]),
        (vec![1; 3001], vec![""]),
        (vec![], vec![""]),
    ] {
        let (dir, server) = (tempfile::tempdir().unwrap(), server());
        let part = dir.path().join(".model.part");
        fs::create_dir_all(part.join("other")).unwrap();
        fs::write(part.join("other/stray.txt"), "of another repository").unwrap();
        fs::write(part.join("notes.txt"), "a few other words").unwrap();
        fs::write(part.join(format!(".{}.part", hex(&Sha256::digest(content())))), left).unwrap();
        pull(&server, dir.path()).unwrap();
        assert_eq!(ranges(&server), asked);
        let folder = dir.path().join("model");
        assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), content());
        assert_eq!(fs::read(folder.join("notes.txt")).unwrap(), b"a few words");
        assert_eq!((count(dir.path()), count(&folder)), (1, 2));
    }
}

#[test]
fn a_file_that_an_earlier_pull_completed_is_kept_if_it_is_the_one() {
    for (left, asked) in [(content(), 0), (vec![1; 3000], 1), (vec![], 1)] {
        let (dir, server) = (tempfile::tempdir().unwrap(), server());
        let part = dir.path().join(".model.part");
        fs::create_dir(&part).unwrap();
        fs::write(part.join("model.safetensors"), left).unwrap();
        pull(&server, dir.path()).unwrap();
        assert_eq!(ranges(&server).len(), asked);
        let file = dir.path().join("model/model.safetensors");
        assert_eq!(sha256(&file).unwrap(), hex(&Sha256::digest(content())));
    }
}

#[test]
fn small_files_are_gone_on_with_as_long_as_the_server_vouches_for_the_version() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server());
    server.state().troubles = [("notes.txt", Trouble::Cut(5))].into();
    pull(&server, dir.path()).unwrap();
    assert_eq!(fs::read(dir.path().join("model/notes.txt")).unwrap(), b"a few words");
    let asked: Vec<_> = {
        let state = server.state();
        let of_notes = state.log.iter().filter(|request| request.path.ends_with("notes.txt"));
        of_notes
            .map(|request| (request.header("range").to_owned(), request.header("if-range").len()))
            .collect()
    };
    assert_eq!(asked, [(String::new(), 0), ("bytes=5-".into(), 10)]);
}

#[test]
fn more_bytes_than_were_announced_are_refused_where_they_begin() {
    struct Counter(RefCell<u64>);
    impl Progress for Counter {
        fn start(&self, _file: &str, _bytes: u64) {}

        fn advance(&self, bytes: u64) {
            *self.0.borrow_mut() += bytes;
        }
    }
    let (dir, server) = (tempfile::tempdir().unwrap(), troubled([Trouble::More(8 << 20)]));
    let (hub, received) = (server.hub(dir.path()), Counter(RefCell::default()));
    let error = hub.pull(&"user/name".parse().unwrap(), &dir.path().join("model"), &received).unwrap_err();
    assert!(matches!(&error, HubError::Damaged { file, .. } if file == "model.safetensors"), "{error}");
    assert!(error.to_string().contains("more than 3000 bytes"), "{error}");
    assert!(*received.0.borrow() <= 3000);
    assert_eq!(count(dir.path()), 0);
    // Announced, it is refused before a byte of it is written.
    server.state().damaged = Some(vec![7; 4000]);
    let error = pull(&server, dir.path()).unwrap_err();
    assert!(error.to_string().contains("4000 bytes instead of 3000"), "{error}");
    assert_eq!(count(dir.path()), 0);
}

#[test]
fn a_file_that_another_process_downloads_is_not_touched() {
    let (dir, server) = (tempfile::tempdir().unwrap(), server());
    let blobs = dir.path().join("models--user--name/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let path = blobs.join(format!(".{}.part", hex(&Sha256::digest(content()))));
    let mut theirs = File::create(&path).unwrap();
    theirs.lock().unwrap();
    theirs.write_all(b"theirs").unwrap();
    let folder = server.hub(dir.path()).resolve(&"user/name".parse().unwrap(), &()).unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), content());
    assert_eq!(fs::read(&path).unwrap(), b"theirs");
    assert_eq!(count(&blobs), 2);
}

#[test]
fn a_broken_download_into_the_cache_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let server = troubled([Trouble::Cut(1000), Trouble::Cut(0), Trouble::Cut(0), Trouble::Cut(0)]);
    let resolve = || server.hub(dir.path()).resolve(&"user/name".parse().unwrap(), &());
    let error = resolve().unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    server.state().log.clear();
    let folder = resolve().unwrap();
    assert_eq!(ranges(&server), ["bytes=1000-"]);
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), content());
    assert_eq!(count(&dir.path().join("models--user--name/blobs")), 1);
}
