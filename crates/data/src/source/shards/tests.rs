//! Shards as they are, and as they should not be.

#[path = "../../../tests/seeds/mod.rs"]
mod seeds;

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rand::RngExt;
use std::io::{Cursor, Read, Write};
use tar::{Builder, Header};

use super::*;
use crate::rng::{Stream, rng};
use seeds::seeds;

/// A shard of these files.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

const TWO: [(&str, &str); 4] = [("a.png", "A"), ("a.cls", "3"), ("b.jpg", "BB"), ("b.cls", "10")];

fn of(bytes: &[u8], labels: Labels, classes: Option<&str>) -> Result<TarShards, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.tar");
    fs::write(&path, bytes).unwrap();
    classes.into_iter().for_each(|text| fs::write(dir.path().join(CLASSES_FILE), text).unwrap());
    TarShards::of(&[path], labels, Some("label"), Classes::beside(dir.path())?, None)
}

fn refused(bytes: &[u8]) -> String {
    of(bytes, Labels::Required, None).err().expect("an error").to_string()
}

fn labels(source: &TarShards) -> Vec<Option<&str>> {
    let class = |index| source.label(index).map(|class| source.classes[class as usize].as_str());
    (0..source.len()).map(class).collect()
}

#[test]
fn numbers_are_sorted_as_numbers_and_names_as_names() {
    let source = of(&tar(&TWO), Labels::Required, None).unwrap();
    assert_eq!(
        (source.classes(), labels(&source)),
        (&["3".into(), "10".into()][..], vec![Some("3"), Some("10")])
    );
    let json = tar(&[
        ("a.png", ""),
        ("a.json", r#"{"label": "red fox"}"#),
        ("b.json", r#"{"label":7}"#),
        ("b.png", ""),
    ]);
    let source = of(&json, Labels::Required, None).unwrap();
    assert_eq!(
        (source.classes(), labels(&source)),
        (&["7".into(), "red fox".into()][..], vec![Some("red fox"), Some("7")])
    );
}

#[test]
fn a_file_of_classes_names_numbers() {
    let json = tar(&[("a.png", ""), ("a.json", r#"{"label": "cat"}"#), ("b.cls", "0"), ("b.png", "")]);
    let source = of(&json, Labels::Required, Some("dog\ncat\r\nfox\n")).unwrap();
    assert_eq!((source.classes().len(), labels(&source)), (3, vec![Some("cat"), Some("dog")]));
    for (text, said) in [
        ("dog\n", "x.tar holds sample `a`, which is of class cat, which is none of the 1 of "),
        ("dog\n\ncat\n", "has an empty line"),
        ("dog\ndog\n", "lists `dog` twice"),
    ] {
        let error = of(&json, Labels::Required, Some(text)).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
    let error = of(&tar(&TWO), Labels::Required, Some("a\nb\nc\n")).err().unwrap().to_string();
    assert!(error.contains("sample `a`, which is of class 3, which is none of the 3"), "{error}");
}

#[test]
fn a_sample_without_class_is_an_error_only_where_classes_are_needed() {
    for (files, said) in [
        (
            &[("a.png", ""), ("a.cls", "1"), ("d/b.png", "")][..],
            "`d/b`, which has no label: neither a .cls file nor label",
        ),
        (&[("a.png", ""), ("a.cls", "cat")], "`a`, which has `cat` as its class, no number"),
        (&[("a.png", ""), ("a.cls", "-1")], "`a`, which has `-1`"),
        (&[("a.png", ""), ("a.json", "{")], "`a`, which has a .json file that is no JSON"),
        (&[("a.png", ""), ("a.json", r#"{"label":[1]}"#)], "`a`, which has [1] as its label, no class"),
        (&[("a.png", ""), ("a.json", r#"{"class":1}"#)], "`a`, which has no label"),
    ] {
        let error = refused(&tar(files));
        assert!(error.contains("x.tar holds sample") && error.contains(said), "{error}");
        let source = of(&tar(files), Labels::Ignored, None).unwrap();
        assert!(source.classes().is_empty() && labels(&source).iter().all(Option::is_none));
    }
}

#[test]
fn files_that_are_no_samples_are_named() {
    for (files, said) in [
        (
            &[("a.png", ""), ("b.cls", "1"), ("b.seg.png", "")][..],
            "no image in sample `b`, only .cls, .seg.png; images end in jpg",
        ),
        (&[("a.png", ""), ("b.png", ""), ("a.cls", "1")], "files of sample `a` in two places"),
        (&[("a.png", ""), ("a.jpg", "")], "two images in sample `a`: a.png and a.jpg"),
        (&[("a.png", ""), ("a.PNG", "")], "two files `a.png`"),
        (&[("README", ""), ("._a.png", ""), ("a.bin", "")], "holds 3 files but no image"),
    ] {
        let error = refused(&tar(files));
        assert!(error.contains("x.tar ") && error.contains(said), "{error}");
    }
    let source =
        of(&tar(&[("README", ""), ("./a.png", ""), ("a.npy", ""), ("a.txt", "")]), Labels::Ignored, None)
            .unwrap();
    assert_eq!((source.len(), source.left_out().files()), (1, 2));
    let features = of(&tar(&[("a.npy", ""), ("a.png", "")]), Labels::Ignored, None).unwrap();
    assert!((features.len(), features.left_out().files()) == (1, 1) && features.name(0).ends_with("a.png"));
    assert!(source.name(0).ends_with("x.tar/a.png"));
}

#[test]
fn a_shard_that_is_not_whole_says_where_it_ends() {
    let whole = tar(&TWO);
    assert_eq!(whole.len(), 10 * 512);
    let large = tar(&[("a.png", ""), ("b.png", &"b".repeat(3000))]);
    let mut damaged = whole.clone();
    damaged[4 * 512 + 3] ^= 1;
    let last = "the last whole sample is `a`; download it again";
    for (bytes, said, then) in [
        (&large[..2000], "is cut off within `b.png`; ", last),
        (&whole[..4 * 512 + 100], "is damaged or cut off", "download it again"),
        (&whole[..8 * 512], "ends without the mark of an archive's end; ", "is `b`; download it again"),
        (&damaged, "is damaged or cut off", "download it again"),
        (&[&whole[..], &whole].concat(), "goes on behind the archive's end", "pack it anew"),
        (&b"this is text".repeat(100), "is no tar archive", ""),
        (b"short", "is no tar archive", ""),
        (b"", "ends without the mark", ""),
        (&[b"\x1f\x8b\x08".to_vec(), vec![7; 1000]].concat(), "is compressed", "unpack it first"),
    ] {
        let error = refused(bytes);
        assert!(error.contains("x.tar ") && error.contains(said) && error.contains(then), "{error}");
    }
}

#[test]
fn an_index_is_used_while_the_shard_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let shard = dir.path().join("x.tar");
    fs::write(&shard, tar(&TWO)).unwrap();
    let index = dir.path().join(".x.tar.index");
    let left_out = |key: &str| index::contents(&shard, Some(key), None).unwrap().0.left_out.len();
    assert_eq!(left_out("label"), 0);
    // Told apart by a number that the shard itself does not give.
    let mark = || {
        let mut text = String::new();
        GzDecoder::new(File::open(&index).unwrap()).read_to_string(&mut text).unwrap();
        fs::write(&index, gzip(text.replace("\"left_out\":{}", "\"left_out\":{\".x\":7}").as_bytes()))
            .unwrap();
    };
    mark();
    assert_eq!(left_out("label"), 1);
    assert_eq!(index::contents(&shard, None, None).unwrap().0.left_out.len(), 1, "labels do not matter");
    assert_eq!(left_out("other"), 0, "another key gives other labels");
    assert_eq!(left_out("label"), 0);
    mark();
    let file = File::options().write(true).open(&shard).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 1)).unwrap();
    assert_eq!(left_out("label"), 0, "written at another time");
    mark();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 2)).unwrap();
    assert_eq!(left_out("label"), 0, "a nanosecond later");
    for damaged in [&b"no gzip"[..], b"", &gzip(b"{}"), &fs::read(&index).unwrap()[..40]] {
        fs::write(&index, damaged).unwrap();
        assert_eq!(left_out("label"), 0);
        mark();
        assert_eq!(left_out("label"), 1, "it was written anew");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left there");
}

#[test]
fn an_index_that_cannot_be_written_beside_the_shard_goes_elsewhere_or_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let (shard, cache) = (dir.path().join("x.tar"), dir.path().join("cache/shards"));
    fs::write(&shard, tar(&TWO)).unwrap();
    // A folder of its name is in the way, for any user.
    fs::create_dir(dir.path().join(".x.tar.index")).unwrap();
    assert_eq!(index::contents(&shard, Some("label"), Some(&cache)).unwrap().0.samples.len(), 2);
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
    fs::remove_dir_all(&cache).unwrap();
    fs::write(&cache, "in the way, too").unwrap();
    for cache in [Some(&*cache), None] {
        assert_eq!(index::contents(&shard, Some("label"), cache).unwrap().0.samples.len(), 2);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Changes a few bytes, cuts, or repeats a stretch.
fn mutated(bytes: &[u8], seed: u64) -> Vec<u8> {
    let (mut bytes, mut rng) = (bytes.to_vec(), rng(seed, Stream::Augment, 0, 0));
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..8) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.extend_from_within(at..),
            2 => bytes[at] = rng.random(),
            // Where headers of archives are, with a checksum that is right.
            _ if bytes.len() >= 512 => {
                let block = &mut bytes[at / 512 * 512..];
                let Some(block) = block.first_chunk_mut::<512>() else { continue };
                block[[rng.random_range(0..512), rng.random_range(124..157)][usize::from(at % 2 == 0)]] =
                    rng.random();
                let mut header = Header::from_byte_slice(block).clone();
                header.set_cksum();
                *block = *header.as_bytes();
            }
            _ => bytes[at] ^= 1 << rng.random_range(0..8),
        }
    }
    bytes
}

/// Whether all images lie in a file of so many bytes.
fn lie_within(scan: &Scan, bytes: usize) -> bool {
    scan.samples.iter().all(|sample| sample.offset + sample.bytes <= bytes as u64)
}

#[test]
fn damaged_bytes_never_panic_and_no_image_lies_outside_its_shard() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/shards");
    let mut shards = vec![tar(&TWO)];
    shards.extend(["pax.tar", "gnu.tar"].map(|name| fs::read(goldens.join(name)).unwrap()));
    let (mut read, mut refused) = (0, 0);
    for seed in seeds(3000) {
        let bytes = mutated(&shards[seed as usize % 3], seed);
        match scan::scan(Cursor::new(&bytes), bytes.len() as u64, Some("label")) {
            Ok(scan) => {
                read += 1;
                assert!(lie_within(&scan, bytes.len()), "{seed}");
            }
            Err(reason) => {
                refused += 1;
                assert!(!reason.is_empty());
            }
        }
    }
    assert!(read > 100 && refused > 100, "{read} and {refused}");
}

#[test]
fn a_damaged_index_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.tar");
    fs::write(&path, tar(&TWO)).unwrap();
    let (expected, bytes) = index::contents(&path, Some("label"), None).unwrap();
    let basis = index::Basis::of(&fs::metadata(&path).unwrap(), Some("label")).unwrap();
    let whole = fs::read(dir.path().join(".x.tar.index")).unwrap();
    assert_eq!(index::load(&whole[..], &basis).unwrap(), expected);
    let mut text = Vec::new();
    GzDecoder::new(&whole[..]).read_to_end(&mut text).unwrap();
    let (mut loaded, mut tried) = (0, 0);
    for seed in seeds(3000) {
        tried += 1;
        // Of the file, a damage is always seen; of its content, what is no index is.
        let same = index::load(&mutated(&whole, seed)[..], &basis);
        assert!(same.is_none_or(|scan| scan == expected), "{seed}");
        let changed = index::load(&gzip(&mutated(&text, seed))[..], &basis);
        loaded += usize::from(changed.is_some());
        assert!(changed.is_none_or(|scan| lie_within(&scan, bytes as usize)), "{seed}");
    }
    assert!(loaded > 0 && loaded < tried, "{loaded} of {tried}");
    // What unpacks to more than any index of this shard is not unpacked.
    assert!(index::load(&gzip(&vec![b' '; 1 << 24])[..], &basis).is_none());
}
