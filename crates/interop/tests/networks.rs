//! Networks under keys and prefixes, and in several files.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::{Entry, StateDict};
use interop::{Allow, Imported, InteropError, Layout, read, read_key};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn strict(path: &Path, key: Option<&str>) -> Result<Imported, InteropError> {
    read_key(path, key, &Allow::default())
}

/// The value that all weights of a network of a file have.
fn value(file: &str, key: Option<&str>) -> f32 {
    let network = strict(&golden(file), key).unwrap().network;
    assert_eq!((network.weights.len(), network.config.num_labels), (18, 2));
    let first = network.weights.iter().next().unwrap().1.values[0];
    assert!(network.weights.iter().all(|(_, entry)| entry.values.iter().all(|value| *value == first)));
    first
}

#[test]
fn the_trained_network_is_read_unless_the_average_is_asked_for() {
    for (file, key) in [
        ("pickles/timm_training.pth", "state_dict_ema"),
        ("pickles/lightning.pth", "model_ema"),
        ("pickles/lightning.pth", "state_dict.model_ema.module"),
    ] {
        assert_eq!((value(file, None), value(file, Some(key))), (0.5, 0.25), "{file}");
    }
    assert_eq!(value("pickles/averaged.pth", None), 0.25);
    let origin = strict(&golden("pickles/timm_training.pth"), None).unwrap().origin;
    assert_eq!(origin.to_string(), ", under `state_dict`, without the prefix `module.`");
    assert_eq!(
        origin.note().unwrap(),
        "reads `state_dict.module` of several networks; --key takes another: `state_dict_ema`"
    );
    let error = strict(&golden("pickles/timm_training.pth"), Some("model_ema")).unwrap_err().to_string();
    assert!(
        error.contains("no network under `model_ema`; there is `state_dict.module`, `state_dict_ema`"),
        "{error}"
    );
    let error = strict(&golden("hf"), Some("model")).unwrap_err().to_string();
    assert!(error.contains("no network under `model`; there is that at the top"), "{error}");
}

fn saved(tensors: StateDict) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    tensors.save(&path).unwrap();
    (dir, path)
}

#[test]
fn any_common_prefix_is_taken_off_in_every_layout() {
    let prefixes =
        ["module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.", "_orig_mod.module.model."];
    for file in ["timm_conv_mlp.safetensors", "hf/model.safetensors", "finetuned.pth", "pretrain_sparse.pth"]
    {
        let original = strict(&golden(file), None).unwrap();
        let tensors: StateDict = match file.ends_with("pth") {
            false => StateDict::load(&golden(file)).unwrap(),
            true => {
                let dir = tempfile::tempdir().unwrap();
                let card = interop::ModelCard::default();
                interop::export(&original.network, interop::Format::Official, &card, dir.path()).unwrap();
                StateDict::load(&dir.path().join("model.safetensors")).unwrap()
            }
        };
        for prefix in prefixes {
            let named = tensors.iter().map(|(name, entry)| (format!("{prefix}{name}"), entry.clone()));
            let (_dir, path) = saved(named.collect());
            let read = strict(&path, None).unwrap();
            assert_eq!(read.network.weights, original.network.weights, "{prefix} {file}");
            let own = prefix == "encoder." && read.layout == Layout::Official;
            assert_eq!(read.origin.prefix, if own { "" } else { prefix }, "{file}");
        }
    }
}

#[test]
fn what_stands_beside_the_prefix_is_no_part_of_the_network() {
    let tensors = StateDict::load(&golden("timm_conv_mlp.safetensors")).unwrap();
    let body = tensors.iter().filter(|(name, _)| !name.starts_with("head.fc."));
    let mut named: StateDict =
        body.map(|(name, entry)| (format!("backbone.{name}"), entry.clone())).collect();
    // Of the shape of a head and under its official name, which is not what it is.
    named.insert("head.weight".into(), Entry { shape: vec![10, 64], values: vec![0.0; 640] });
    let (_dir, path) = saved(named);
    let error = strict(&path, None).unwrap_err().to_string();
    assert!(error.contains("1 tensors unused") && error.contains("`head.weight`"), "{error}");
    let allow = Allow { unused: vec!["head.*".into()], ..Allow::default() };
    let network = read(&path, &allow).unwrap().network;
    assert_eq!(network.kind, interop::Kind::Encoder);
}

/// The golden of transformers in two files with a list.
fn sharded() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden("hf/config.json"), dir.path().join("config.json")).unwrap();
    let tensors: Vec<_> = StateDict::load(&golden("hf/model.safetensors")).unwrap().into_iter().collect();
    let mut map = serde_json::Map::new();
    for (index, part) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let name = format!("model-0000{}-of-00002.safetensors", index + 1);
        part.iter().cloned().collect::<StateDict>().save(&dir.path().join(&name)).unwrap();
        map.extend(part.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
    }
    let index = json!({ "metadata": { "total_size": 1 }, "weight_map": map }).to_string();
    fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    dir
}

#[test]
fn shards_are_one_network() {
    let dir = sharded();
    let whole = strict(&golden("hf"), None).unwrap();
    let (index, second) = ("model.safetensors.index.json", "model-00002-of-00002.safetensors");
    for path in [dir.path().to_owned(), dir.path().join(index)] {
        let network = strict(&path, None).unwrap().network;
        assert_eq!((&network.weights, &network.labels), (&whole.network.weights, &whole.network.labels));
    }
    let refused = || strict(dir.path(), None).unwrap_err().to_string();
    let moved = dir.path().join("moved");
    fs::rename(dir.path().join(second), &moved).unwrap();
    assert!(refused().contains(&format!("lists the file `{second}`, which is missing")), "{}", refused());
    fs::rename(&moved, dir.path().join(second)).unwrap();
    let text = fs::read_to_string(dir.path().join(index)).unwrap();
    for name in ["../model.safetensors", "/etc/passwd", "a/../../b", "C:\\\\model"] {
        fs::write(dir.path().join(index), text.replacen(second, name, 1)).unwrap();
        assert!(refused().contains("which is outside of its folder"), "{}", refused());
    }
    fs::write(dir.path().join(index), text.replace("\"classifier.bias\"", "\"classifier.gone\"")).unwrap();
    assert!(refused().contains("says that `classifier.gone` is in"), "{}", refused());
    // Weights in one file come first.
    fs::copy(golden("hf/model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    assert_eq!(strict(dir.path(), None).unwrap().network.weights, whole.network.weights);
}

#[test]
fn pytorch_files_of_a_directory_are_read_whole_and_in_parts() {
    let config = r#"{"model_type":"convnextv2","num_channels":1,"patch_size":1,"depths":[1],"hidden_sizes":[1],
        "num_stages":1,"image_size":8,"id2label":{"0":"cat","1":"dog"}}"#;
    for name in ["pytorch_model.bin", "pytorch_model.fp16.bin", "pytorch_model-00001-of-00001.bin"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config).unwrap();
        fs::copy(golden("pickles/averaged.pth"), dir.path().join(name)).unwrap();
        if name.contains("-of-") {
            let index = json!({ "weight_map": { "module.classifier.bias": name } }).to_string();
            fs::write(dir.path().join("pytorch_model.bin.index.json"), index).unwrap();
        }
        let network = strict(dir.path(), None).unwrap().network;
        assert_eq!(network.labels.unwrap(), ["cat", "dog"], "{name}");
        assert_eq!(network.weights.get("head.bias").unwrap().values, [0.25, 0.25], "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden("finetuned.pth"), dir.path().join("convnextv2_tiny.pth")).unwrap();
    assert_eq!(strict(dir.path(), None).unwrap().network.config.num_labels, 10);
    let dir = tempfile::tempdir().unwrap();
    for name in ["pytorch_model.fp16.bin", "pytorch_model.ema.bin"] {
        fs::copy(golden("pickles/averaged.pth"), dir.path().join(name)).unwrap();
    }
    let error = strict(dir.path(), None).unwrap_err().to_string();
    assert!(error.contains("pytorch_model.ema.bin and pytorch_model.fp16.bin; name one"), "{error}");
}

#[test]
fn half_precision_of_both_kinds_becomes_single() {
    let original = StateDict::load(&golden("timm_conv_mlp.safetensors")).unwrap();
    type Bytes = fn(f32) -> [u8; 2];
    let kinds: [(Dtype, Bytes); 2] = [
        (Dtype::BF16, |value| burn::tensor::bf16::from_f32(value).to_le_bytes()),
        (Dtype::F16, |value| burn::tensor::f16::from_f32(value).to_le_bytes()),
    ];
    for (dtype, bytes) in kinds {
        let raw: Vec<_> = original
            .iter()
            .map(|(name, entry)| {
                (name, &entry.shape, entry.values.iter().flat_map(|v| bytes(*v)).collect::<Vec<_>>())
            })
            .collect();
        let views = raw
            .iter()
            .map(|(name, shape, bytes)| (*name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap()));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("half.safetensors");
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let network = strict(&path, None).unwrap().network;
        let values = &network.weights.get("head.bias").unwrap().values;
        let exact = &original.get("head.fc.bias").unwrap().values;
        assert_eq!(values.len(), exact.len());
        assert!(values.iter().zip(exact).all(|(half, exact)| (half - exact).abs() <= exact.abs() / 128.0));
    }
}
