//! The files are written by `scripts/interop/pickle_cases.py`; three are from elsewhere.

use super::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/pickles").join(name)
}

/// The tensor of this name under a key.
fn tensor(file: &str, key: &str, name: &str) -> Result<(Vec<usize>, Vec<f32>), InteropError> {
    let mut file = PickleFile::open(&golden(file))?;
    let group = file.groups.iter().position(|group| group.key == key).unwrap();
    let entry = file.read(group, &|found| found == name)?.into_iter().next().unwrap().1;
    Ok((entry.shape, entry.values))
}

const WEIGHT: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

#[test]
fn what_is_beside_the_tensors_is_passed_over() {
    for (file, key) in [
        ("torch_version.pth", "model"),
        ("posix_path.pth", "model"),
        ("windows_path.pth", "model"),
        ("datetime.pth", "model"),
        ("attribute_dict.pth", "model"),
        ("unknown_classes.pth", "model"),
        ("training_state.pth", "model"),
        ("before_1_6.pth", "model"),
        ("protocol_5.pth", "model"),
        ("timm_ema.pth", "state_dict"),
        ("timm_ema.pth", "state_dict_ema"),
    ] {
        assert_eq!(tensor(file, key, "weight").unwrap(), (vec![2, 3], WEIGHT.to_vec()), "{file}");
    }
    let whole = tensor("whole_module.pth", "", "inner.weight").unwrap();
    assert_eq!(whole, (vec![2, 3], WEIGHT.to_vec()));
}

#[test]
fn an_archive_may_be_compressed() {
    use std::io::{Read, Write};
    use zip::write::SimpleFileOptions;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pth");
    let mut source = zip::ZipArchive::new(fs::File::open(golden("torch_version.pth")).unwrap()).unwrap();
    let mut target = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for index in 0..source.len() {
        let mut entry = source.by_index(index).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let deflated = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        target.start_file(entry.name().unwrap().to_string(), deflated).unwrap();
        target.write_all(&bytes).unwrap();
    }
    target.finish().unwrap();
    let mut file = PickleFile::open(&path).unwrap();
    let weight = file.read(0, &|_| true).unwrap();
    assert_eq!(weight.get("weight").unwrap().values, WEIGHT);
}

#[test]
fn views_and_half_precision_have_their_values() {
    let weight = tensor("strided.pth", "model", "weight").unwrap();
    assert_eq!(weight, (vec![2, 3], vec![0.0, 4.0, 8.0, 2.0, 6.0, 10.0]));
    for name in ["half", "brain"] {
        assert_eq!(tensor("strided.pth", "model", name).unwrap(), (vec![2, 3], WEIGHT.to_vec()));
    }
}

#[test]
fn a_tensor_that_is_needed_and_not_plain_is_named() {
    let message = tensor("quantized.pth", "model", "weight").unwrap_err().to_string();
    assert!(message.contains("`weight` is made by `torch._utils._rebuild_qtensor`"), "{message}");
    assert_eq!(tensor("quantized.pth", "model", "bias").unwrap().1, [1.0, 1.0]);
    let message = tensor("training_state.pth", "model", "mask").unwrap_err().to_string();
    assert!(message.contains("`mask` is of type Bool, not a float"), "{message}");
}

fn opened(pickle: &[u8]) -> Result<PickleFile, InteropError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.pth");
    fs::write(&path, pickle).unwrap();
    PickleFile::open(&path)
}

#[test]
fn what_runs_something_is_refused_wherever_it_stands() {
    let by_text = b"\x80\x04}\x8c\x04args\x8c\x05posix\x8c\x06system\x93)Rs.";
    let by_escape = b"}V\\u0061\nV\\u006fs\nVname\n\x93s.";
    let by_dots = b"\x80\x04}\x8c\x04args\x8c\x07logging\x8c\x09os.system\x93)Rs.";
    let by_instance = b"\x80\x02}X\x01\x00\x00\x00a(iposix\nsystem\ns.";
    for pickle in [&by_text[..], &by_dots[..], &by_instance[..]] {
        let error = opened(pickle).unwrap_err();
        assert!(matches!(error, InteropError::ForeignGlobal { .. }), "{error}");
    }
    assert!(matches!(machine::Pickle::read(by_escape, 0), Err(Fault::Dangerous(_))));
    let harmless = b"\x80\x02}X\x01\x00\x00\x00acproject\nClass\n)Rs.";
    assert!(matches!(opened(harmless).unwrap_err(), InteropError::NoWeights { keys, .. } if keys == ["`a`"]));
}

#[test]
fn pickles_that_would_fill_the_memory_are_refused() {
    let many = [b"\x80\x02".to_vec(), vec![b')'; 5 << 20], b".".to_vec()].concat();
    let long = [b"\x80\x02(".to_vec(), vec![b'N'; 1 << 16], b"tq\x00ca\nb\nq\x01".to_vec()].concat();
    let repeated = [long, b"h\x01h\x00R".repeat(1 << 8), b".".to_vec()].concat();
    for pickle in [many, repeated] {
        let message = opened(&pickle).unwrap_err().to_string();
        assert!(message.contains("more than 4194304 values"), "{message}");
    }
    // Dictionaries that hold each other, and lists a hundred thousand deep.
    let circle = b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.";
    let deep = [b"\x80\x02)".to_vec(), vec![0x85; 100_000], b".".to_vec()].concat();
    for pickle in [&circle[..], &deep] {
        assert!(matches!(opened(pickle).unwrap_err(), InteropError::NoWeights { .. }));
    }
}
