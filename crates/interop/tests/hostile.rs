//! Files that are damaged, dangerous or something else.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use checkpoint::{Entry, StateDict};
use interop::{Allow, InteropError, Layout, read};
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

/// The message of a file that must be refused.
fn refused(bytes: &[u8], name: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    let message = read(&path, &Allow::default()).unwrap_err().to_string();
    assert!(message.contains(name), "{message}");
    message
}

fn header(json: &str, data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn damaged_safetensors_are_refused() {
    let whole = fs::read(golden("timm_conv_mlp.safetensors")).unwrap();
    let overlapping = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let huge = r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#;
    let too_long = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    for (what, bytes) in [
        ("truncated", whole[..whole.len() - 1].to_vec()),
        ("cut in the header", whole[..40].to_vec()),
        ("header longer than the file", too_long),
        ("overlapping", header(overlapping, 12)),
        ("huge", header(huge, 8)),
        ("empty", Vec::new()),
        ("something else", b"<!DOCTYPE html><html></html>".to_vec()),
    ] {
        let message = refused(&bytes, "model.safetensors");
        assert!(message.contains("no complete safetensors file"), "{what}: {message}");
    }
    let bytes = [0u8; 4];
    let integers = TensorView::new(Dtype::I32, vec![1], &bytes).unwrap();
    let bytes = safetensors::serialize([("stem.0.weight", integers)], None).unwrap();
    let message = refused(&bytes, "model.safetensors");
    assert!(message.contains("`stem.0.weight` is of type I32"), "{message}");
}

/// An archive as `torch.save` makes it, with this pickle and one storage.
fn archive(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("a/data.pkl", pickle), ("a/version", b"3\n"), ("a/data/0", storage)] {
        zip.start_file(name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_pickle_that_would_run_code_is_refused_by_the_name_of_it() {
    for call in ["posix\nsystem", "os\nsystem", "builtins\neval", "subprocess\nPopen", "torch.hub\nload"] {
        let call_it = format!("c{call}\n(X\x04\x00\x00\x00truetR");
        let alone = format!("\x02{call_it}.");
        let as_value = format!("\x02}}X\x05\x00\x00\x00model{call_it}s.");
        let beside = format!("\x02}}(X\x05\x00\x00\x00model}}X\x04\x00\x00\x00args{call_it}u.");
        for pickle in [alone, as_value, beside] {
            let pickle = [b"\x80", pickle.as_bytes()].concat();
            for bytes in [archive(&pickle, &[]), pickle] {
                let message = refused(&bytes, "evil.pth");
                assert!(message.contains(&format!("`{}`", call.replace('\n', "."))), "{message}");
            }
        }
    }
}

#[test]
fn damaged_pickles_are_refused() {
    let whole = fs::read(golden("finetuned.pth")).unwrap();
    for length in [10, 100, whole.len() / 2, whole.len() - 1] {
        let message = refused(&whole[..length], "finetuned.pth");
        assert!(message.contains("no complete PyTorch checkpoint"), "{length}: {message}");
    }
    // One float, repeated 2³⁰ times by a stride of 0.
    let mut pickle =
        b"\x80\x02}X\x05\x00\x00\x00modelccollections\nOrderedDict\n)R(X\x0d\x00\x00\x00stem.0.weight"
            .to_vec();
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n");
    pickle.extend(b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQK\x00J\x00\x00\x00\x40\x85K\x00\x85\x89");
    pickle.extend(b"ccollections\nOrderedDict\n)RtRus.");
    let message = refused(&archive(&pickle, &1f32.to_le_bytes()), "huge.pth");
    assert!(message.contains("`stem.0.weight` of shape [1073741824] is larger than the file"), "{message}");
    let averaged = b"\x80\x02}X\x09\x00\x00\x00model_ema}s.";
    let message = refused(&archive(averaged, &[]), "ema.pth");
    assert!(message.contains("no dictionary of tensors; its keys are `model_ema`"), "{message}");
}

/// A checkpoint of tensors `t0`, `t1`, … that are views of one storage of so many floats: element of it
/// that each begins at, shape, strides.
fn views(floats: u32, tensors: &[(u32, &[u32], &[u32])]) -> Vec<u8> {
    let int = |value: u32| [b"J", &value.to_le_bytes()[..]].concat();
    let tuple =
        |values: &[u32]| [b"(", &values.iter().flat_map(|v| int(*v)).collect::<Vec<_>>()[..], b"t"].concat();
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let mut pickle = b"\x80\x02}X\x05\x00\x00\x00modelccollections\nOrderedDict\n)R(".to_vec();
    for (number, (offset, shape, strides)) in tensors.iter().enumerate() {
        let name = if number == 0 { "stem.0.weight".to_owned() } else { format!("t{number}") };
        pickle.extend([text(&name), b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec()].concat());
        pickle.extend([text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu")].concat());
        pickle.extend([int(floats), b"tQ".to_vec(), int(*offset), tuple(shape), tuple(strides)].concat());
        pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    pickle.extend(b"us.");
    archive(&pickle, &vec![0; 4 * floats as usize])
}

#[test]
fn tensors_that_repeat_a_storage_over_and_over_are_refused() {
    const FLOATS: u32 = 1 << 18;
    let whole: (u32, &[u32], &[u32]) = (0, &[FLOATS], &[1]);
    // A thousand names of one storage would take a thousand times its memory.
    let message = refused(&views(FLOATS, &vec![whole; 1000]), "shared.pth");
    assert!(
        message.contains("repeat the 1048576 bytes that they are views of until they are 1048576000"),
        "{message}"
    );
    assert!(message.contains("storage `0`"), "{message}");
    // So would rows that overlap, and one element that is repeated.
    let overlapping: (u32, &[u32], &[u32]) = (0, &[FLOATS / 2, 2], &[1, 1]);
    let repeated: (u32, &[u32], &[u32]) = (7, &[FLOATS], &[0]);
    for tensor in [overlapping, repeated] {
        let message = refused(&views(FLOATS, &[tensor; 5]), "shared.pth");
        assert!(message.contains("more than 4 times as many"), "{message}");
    }
    // A flat buffer in a thousand parts and weights that are tied are as real checkpoints have them; these are
    // refused for what they are, not for what they share.
    let parts: Vec<_> = (0..1000).map(|part| (part * 100, &[100][..], &[1][..])).collect();
    for tensors in [parts, vec![whole; 2], vec![whole; 4]] {
        let message = refused(&views(FLOATS, &tensors), "tied.pth");
        assert!(message.contains("the stem convolution has shape"), "{message}");
    }
}

/// A copy of the classifier in a layout, changed.
fn changed(name: &str, change: impl FnOnce(&mut Vec<(String, Entry)>)) -> (TempDir, PathBuf) {
    let mut tensors: Vec<_> = StateDict::load(&golden(name)).unwrap().into_iter().collect();
    change(&mut tensors);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.safetensors");
    tensors.into_iter().collect::<StateDict>().save(&path).unwrap();
    (dir, path)
}

#[test]
fn every_difference_is_named_and_only_then_allowed() {
    let (_dir, path) = changed("timm_conv_mlp.safetensors", |tensors| {
        tensors.retain(|(name, _)| name != "stages.2.blocks.0.norm.weight");
        tensors.push(("extra.weight".into(), Entry { shape: vec![1], values: vec![0.0] }));
    });
    let message = read(&path, &Allow::default()).unwrap_err().to_string();
    assert!(
        message.contains("1 tensors missing") && message.contains("`stages.2.0.norm.weight`"),
        "{message}"
    );
    assert!(message.contains("1 tensors unused") && message.contains("`extra.weight`"), "{message}");
    let allow = Allow { missing: vec!["*.norm.weight".into()], unused: vec!["extra.*".into()] };
    let network = read(&path, &allow).unwrap().network;
    assert!(network.weights.get("extra.weight").is_none());
    let half = Allow { unused: Vec::new(), ..allow };
    assert!(
        matches!(read(&path, &half), Err(InteropError::Mismatch { mismatch, .. }) if mismatch.missing.is_empty())
    );

    let (_dir, path) = changed("timm_conv_mlp.safetensors", |tensors| {
        for (_, entry) in tensors.iter_mut().filter(|(name, _)| name == "head.norm.bias") {
            *entry = Entry { shape: vec![3], values: vec![0.0; 3] };
        }
    });
    let message = read(&path, &Allow::default()).unwrap_err().to_string();
    assert!(message.contains("`norm.bias` (expected [64], found [3])"), "{message}");
}

#[test]
fn a_first_generation_network_is_refused() {
    for (name, grn, scale) in [
        ("timm_conv_mlp.safetensors", ".grn.", "stages.0.blocks.0.gamma"),
        ("hf/model.safetensors", ".grn.", "convnextv2.encoder.stages.0.layers.0.layer_scale_parameter"),
    ] {
        let (_dir, path) = changed(name, |tensors| {
            tensors.retain(|(name, _)| !name.contains(grn));
            tensors.push((scale.into(), Entry { shape: vec![8], values: vec![0.0; 8] }));
        });
        let allow = Allow { missing: vec!["*".into()], unused: vec!["*".into()] };
        let message = read(&path, &allow).unwrap_err().to_string();
        assert!(
            message.contains("this is a ConvNeXt V1") && message.contains("`stages.0.0.gamma`"),
            "{message}"
        );
    }
    let (_dir, path) = changed("timm_conv_mlp.safetensors", |tensors| {
        tensors.retain(|(name, _)| name.starts_with("head"));
    });
    let message = read(&path, &Allow::default()).unwrap_err().to_string();
    assert!(message.contains("no ConvNeXt V2; its tensors are `head.fc.bias`"), "{message}");
}

#[test]
fn a_directory_of_transformers_needs_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let weights = dir.path().join("model.safetensors");
    fs::copy(golden("hf/model.safetensors"), &weights).unwrap();
    let message = read(dir.path(), &Allow::default()).unwrap_err().to_string();
    assert!(message.contains("config.json: missing"), "{message}");
    assert_eq!(read(&weights, &Allow::default()).unwrap().layout, Layout::Transformers);

    let config = fs::read_to_string(golden("hf/config.json")).unwrap();
    for (from, to, part) in [
        ("\"convnextv2\"", "\"vit\"", "model_type is `vit`"),
        ("\"num_channels\": 3", "\"num_channels\": 1", "num_channels is [1], the tensors have [3]"),
        ("\"gelu\"", "\"mish\"", "mish"),
        ("\"9\": \"LABEL_9\"", "\"10\": \"LABEL_9\"", "none is number 9"),
        (",\n    \"9\": \"LABEL_9\"", "", "names 9 classes, the head has 10"),
        ("{", "", "config.json"),
    ] {
        assert!(config.contains(from), "{from}");
        fs::write(dir.path().join("config.json"), config.replacen(from, to, 1)).unwrap();
        let message = read(dir.path(), &Allow::default()).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("config.json"), "{message}");
    }
    assert!(
        read(&dir.path().join("nowhere"), &Allow::default())
            .unwrap_err()
            .to_string()
            .contains("does not exist")
    );
}

/// A small pseudo-random sequence (xorshift), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    /// Changes, inserts, removes or repeats a few bytes, mostly near the front, where the structure is.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(4) {
            let near = if self.below(3) == 0 { bytes.len() } else { bytes.len().min(4096) };
            let at = self.below(near);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), self.below(256) as u8),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                4 => {
                    let piece = bytes[at.min(bytes.len())..bytes.len().min(at + 1 + self.below(16))].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, piece);
                }
                _ if at < bytes.len() => bytes[at] = [0, 0xff, 0x7f, 0x80, b'9'][self.below(5)],
                _ => {}
            }
        }
    }
}

/// Writes mutations of a file and reads the path, which must not panic.
fn fuzz(seed: u64, count: usize, original: &[u8], file: &Path, path: &Path) -> usize {
    let mut random = Random(seed);
    let mut refused = 0;
    for _ in 0..count {
        let mut bytes = original.to_vec();
        random.mutate(&mut bytes);
        fs::write(file, bytes).unwrap();
        refused += usize::from(read(path, &Allow::default()).is_err());
    }
    refused
}

/// One block of one channel, so that a mutation more often hits structure than numbers.
fn smallest() -> StateDict {
    let mut tensors = StateDict::default();
    let mut add = |name: &str, shape: &[usize]| {
        let values = vec![0.5; shape.iter().product()];
        tensors.insert(name.to_owned(), Entry { shape: shape.to_vec(), values });
    };
    add("convnextv2.embeddings.patch_embeddings.weight", &[1, 1, 1, 1]);
    add("convnextv2.embeddings.patch_embeddings.bias", &[1]);
    for name in ["embeddings.layernorm", "layernorm", "encoder.stages.0.layers.0.layernorm"] {
        add(&format!("convnextv2.{name}.weight"), &[1]);
        add(&format!("convnextv2.{name}.bias"), &[1]);
    }
    let block = "convnextv2.encoder.stages.0.layers.0";
    add(&format!("{block}.dwconv.weight"), &[1, 1, 7, 7]);
    add(&format!("{block}.dwconv.bias"), &[1]);
    add(&format!("{block}.pwconv1.weight"), &[4, 1]);
    add(&format!("{block}.pwconv1.bias"), &[4]);
    add(&format!("{block}.grn.weight"), &[1, 1, 1, 4]);
    add(&format!("{block}.grn.bias"), &[1, 1, 1, 4]);
    add(&format!("{block}.pwconv2.weight"), &[1, 4]);
    add(&format!("{block}.pwconv2.bias"), &[1]);
    add("classifier.weight", &[2, 1]);
    add("classifier.bias", &[2]);
    tensors
}

#[test]
fn sixteen_thousand_mutated_files_are_read_or_refused_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let weights = dir.path().join("model.safetensors");
    smallest().save(&weights).unwrap();
    let config = dir.path().join("config.json");
    let text = r#"{"model_type":"convnextv2","num_channels":1,"patch_size":1,"depths":[1],"hidden_sizes":[1],
        "num_stages":1,"image_size":8,"hidden_act":"gelu","layer_norm_eps":1e-6,"drop_path_rate":0.0,
        "id2label":{"0":"cat","1":"dog"},"label2id":{"cat":0,"dog":1}}"#;
    fs::write(&config, text).unwrap();
    let network = read(dir.path(), &Allow::default()).unwrap().network;
    assert_eq!(network.labels.as_deref(), Some(&["cat".to_owned(), "dog".to_owned()][..]));

    let original = fs::read(&weights).unwrap();
    let refused = fuzz(0x5eed, 5000, &original, &weights, dir.path());
    assert!(refused > 2500 && refused < 5000, "{refused}");
    fs::write(&weights, &original).unwrap();
    let refused = fuzz(0xc0de, 3000, text.as_bytes(), &config, dir.path());
    assert!(refused > 1000 && refused < 3000, "{refused}");

    let exported = tempfile::tempdir().unwrap();
    let card = interop::ModelCard::default();
    interop::export(&network, interop::Format::Official, &card, exported.path()).unwrap();
    let pickle = exported.path().join("checkpoint.pth");
    let original = fs::read(&pickle).unwrap();
    let refused = fuzz(0xbeef, 4000, &original, &pickle, &pickle);
    assert!(refused > 1500 && refused < 4000, "{refused}");
    for name in ["pickles/lightning.pth", "pickles/unknown_classes.pth", "pickles/before_1_6.pth"] {
        fuzz(0xfeed, 1500, &fs::read(golden(name)).unwrap(), &pickle, &pickle);
    }
}
