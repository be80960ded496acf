//! What is exported comes back unchanged.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use data::transform::{CropMode, Interpolation};
use interop::{Allow, Format, Kind, Layout, ModelCard, Network, Preprocessing, Score, export, read};
use model::{ConvNextV2Config, Size};
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn network(name: &str) -> Network {
    read(&golden(name), &Allow::default()).unwrap().network
}

fn card() -> ModelCard {
    ModelCard {
        license: "mit".into(),
        dataset: Some("me/photos".into()),
        base_model: Some("me/base".into()),
        score: Some(Score {
            top1: 0.75,
            top5: Some(0.875),
            step: 12,
            ema: true,
            data: Some("my \"photos\"".into()),
            split: "val".into(),
            images: Some(8),
        }),
        experiment: Some("seed = 1\n".into()),
        curves: None,
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_classifier_comes_back_from_every_format() {
    let labels: Vec<String> = (0..10).map(|i| format!("class \"{i}\"")).collect();
    let config = ConvNextV2Config { image_size: 64, ..network("finetuned.pth").config };
    let original = Network {
        labels: Some(labels),
        problem_type: None,
        preprocessing: None,
        config,
        ..network("finetuned.pth")
    };
    for (format, layout, crop_mode) in [
        (Format::Transformers, Layout::Transformers, CropMode::CenterTruncated),
        (Format::Timm, Layout::Timm, CropMode::Border),
        (Format::Official, Layout::Official, CropMode::Center),
    ] {
        let preprocessing = Preprocessing {
            crop_pct: 0.9,
            crop_mode,
            interpolation: Interpolation::Lanczos,
            mean: vec![0.1, 0.2, 0.3],
            std: vec![0.4, 0.5, 0.6],
            ..Preprocessing::official([64, 64])
        };
        let original = Network { preprocessing: Some(preprocessing), ..original.clone() };
        let dir = tempfile::tempdir().unwrap();
        let files = export(&original, format, &card(), dir.path()).unwrap();
        assert!(files.iter().all(|file| file.is_file()));
        let back = read(dir.path(), &Allow::default()).unwrap();
        assert_eq!((back.layout, back.network.kind), (layout, Kind::Classifier));
        assert_eq!(back.network.weights, original.weights, "{format}");
        if format != Format::Official {
            assert_eq!(back.network, original, "{format}");
        }
        let readme = fs::read_to_string(dir.path().join("README.md")).unwrap();
        for part in [
            "---\nlicense: \"mit\"",
            "datasets:\n- \"me/photos\"",
            "base_model: \"me/base\"\nbase_model_relation: finetune",
            "value: 0.750000",
            "value: 0.875000",
            "Top-1 accuracy 75.00 %, top-5 87.50 % on the 8 images of `my \"photos\"` that were held out (part `val`), \
             after 12 updates, by the moving average of the weights.",
            "seed = 1",
            "10 classes",
            "crop_pct 0.9, interpolation lanczos",
        ] {
            assert!(readme.contains(part), "{part} is not in {readme}");
        }
        assert!(
            export(&original, format, &card(), dir.path()).unwrap_err().to_string().contains("not empty")
        );
    }
    let dir = tempfile::tempdir().unwrap();
    export(&original, Format::Official, &card(), dir.path()).unwrap();
    let pickle = read(&dir.path().join("checkpoint.pth"), &Allow::default()).unwrap();
    assert_eq!(pickle.network.weights, original.weights);
}

#[test]
fn a_pretraining_checkpoint_keeps_its_decoder_in_the_official_format() {
    let original = network("pretrain_sparse.pth");
    let dir = tempfile::tempdir().unwrap();
    export(&original, Format::Official, &card(), dir.path()).unwrap();
    let sparse = read(&dir.path().join("checkpoint.pth"), &Allow::default()).unwrap();
    assert_eq!(sparse.layout, Layout::OfficialSparse);
    assert_eq!(sparse.network, original);
    assert_eq!(read(dir.path(), &Allow::default()).unwrap().network, original);

    for format in [Format::Transformers, Format::Timm] {
        let dir = tempfile::tempdir().unwrap();
        export(&original, format, &card(), dir.path()).unwrap();
        let back = read(dir.path(), &Allow::default()).unwrap().network;
        assert_eq!(back.kind, Kind::Encoder);
        assert_eq!(back.weights.get("norm.weight").unwrap().values, vec![1.0; 64]);
        let encoder = |name: &str| name.starts_with("stages.") || name.starts_with("downsample_layers.");
        let mut compared = 0;
        for (name, entry) in original.weights.iter().filter(|(name, _)| encoder(name)) {
            assert_eq!(back.weights.get(name), Some(entry), "{format}");
            compared += 1;
        }
        assert_eq!(back.weights.len(), compared + 2);
    }
}

#[test]
fn configurations_say_what_other_programs_would_guess_wrongly() {
    let original = network("finetuned.pth");
    let dir = tempfile::tempdir().unwrap();
    export(&original, Format::Transformers, &card(), dir.path()).unwrap();
    let config = json(&dir.path().join("config.json"));
    assert_eq!(config["layer_norm_eps"], 1e-6);
    assert_eq!(config["architectures"][0], "ConvNextV2ForImageClassification");
    assert_eq!((&config["id2label"]["3"], &config["label2id"]["LABEL_3"]), (&"LABEL_3".into(), &3.into()));
    let processor = json(&dir.path().join("preprocessor_config.json"));
    assert_eq!(processor["image_mean"], serde_json::json!([0.485, 0.456, 0.406]));
    assert_eq!(processor["image_std"], serde_json::json!([0.229, 0.224, 0.225]));
    assert_eq!((&processor["crop_pct"], &processor["size"]["shortest_edge"]), (&0.875.into(), &224.into()));

    let dir = tempfile::tempdir().unwrap();
    export(&original, Format::Timm, &card(), dir.path()).unwrap();
    let config = json(&dir.path().join("config.json"));
    assert_eq!(config["architecture"], "convnextv2_tiny");
    assert_eq!(config["model_args"]["dims"], serde_json::json!([8, 16, 32, 64]));
    assert_eq!(config["pretrained_cfg"]["crop_mode"], "center");
}

#[test]
fn what_the_outputs_are_travels_with_transformers() {
    let problem_type = Some("multi_label_classification".to_owned());
    let original = Network { problem_type, ..network("hf") };
    let dir = tempfile::tempdir().unwrap();
    export(&original, Format::Transformers, &card(), dir.path()).unwrap();
    assert_eq!(read(dir.path(), &Allow::default()).unwrap().network, original);
}

#[test]
fn timm_refuses_what_it_would_stride_differently() {
    let original = network("finetuned.pth");
    let two = ConvNextV2Config { patch_size: 2, ..original.config.clone() };
    let dir = tempfile::tempdir().unwrap();
    let error = export(&Network { config: two, ..original }, Format::Timm, &card(), dir.path()).unwrap_err();
    assert!(error.to_string().contains("stem"), "{error}");
}

#[test]
fn the_small_sizes_have_convolutions_in_timm() {
    let dir = tempfile::tempdir().unwrap();
    let config = ConvNextV2Config { num_labels: 0, ..ConvNextV2Config::from_size(Size::Atto) };
    let model = model::ConvNextV2Model::new(&config, 1, &burn::tensor::Device::flex()).unwrap();
    let weights = checkpoint::StateDict::of_module(&model, &model::official_name);
    let original = Network {
        weights,
        config,
        kind: Kind::Encoder,
        labels: None,
        problem_type: None,
        preprocessing: None,
    };
    export(&original, Format::Timm, &card(), dir.path()).unwrap();
    let file = checkpoint::StateDict::load(&dir.path().join("model.safetensors")).unwrap();
    assert_eq!(file.get("stages.0.blocks.0.mlp.fc1.weight").unwrap().shape, [160, 40, 1, 1]);
    let config = json(&dir.path().join("config.json"));
    assert_eq!((&config["architecture"], config.get("model_args")), (&"convnextv2_atto".into(), None));
    assert_eq!(read(dir.path(), &Allow::default()).unwrap().network.weights, original.weights);
}
