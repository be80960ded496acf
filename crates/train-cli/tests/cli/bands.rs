//! Networks for images of more than three channels.

use std::fs;
use std::path::Path;

use image::Rgb;

use crate::common::{Bench, json, pretrain_args};

/// Five channels of 16 bits, of which each has a level of its own.
fn save_bands(path: &Path, index: u16) {
    let text = "{'descr': '<u2', 'fortran_order': False, 'shape': (5, 18, 20), }";
    let header = format!("{text:<117}\n");
    let values = (0..5 * 18 * 20u16).flat_map(|at| {
        let (channel, x) = (at / (18 * 20), at % 20);
        (channel * 10_000 + index * 100 + x * 200).to_le_bytes()
    });
    let bytes =
        [&b"\x93NUMPY\x01\0"[..], &118u16.to_le_bytes(), header.as_bytes(), &values.collect::<Vec<_>>()];
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes.concat()).unwrap();
}

const BANDS: [&str; 8] = [
    "--set",
    "model.num_channels=5",
    "--set",
    "data.mean=[0.1, 0.2, 0.3, 0.5, 0.6]",
    "--set",
    "data.std=[0.2, 0.2, 0.2, 0.2, 0.2]",
    "--set",
    "train.epochs=2",
];

fn bench() -> Bench {
    let bench = Bench::new();
    for index in 0..24u16 {
        save_bands(&bench.path(&format!("bands/class{}/{index:02}.npy", index % 2)), index);
    }
    bench
}

#[test]
fn pretraining_fine_tuning_and_reconstruction_of_five_bands() {
    let bench = bench();
    let args = [&BANDS[..], &["--data", "bands"]].concat();
    assert!(bench.pretrain("bands_run", &args).status.success());

    let show = |bands: &[&str], out: &str| {
        let args = ["reconstruct", "--checkpoint", "bands_run", "--out", out, "bands/class0/00.npy"];
        bench.succeed(&[&args[..], bands].concat());
        let picture = image::open(bench.path(out)).unwrap().into_rgb8();
        // In the middle of the original, the first of the pictures.
        let Rgb(pixel) = *picture.get_pixel(80, 100);
        pixel
    };
    let usual = show(&[], "usual.png");
    assert!(usual[0] < usual[1] && usual[1] < usual[2], "{usual:?}");
    let chosen = show(&["--bands", "5,4,1"], "chosen.png");
    assert_eq!(chosen[2], usual[0]);
    assert!(chosen[0] > chosen[1] && chosen[1] > usual[2], "{chosen:?}");
    let grey = show(&["--bands", "2"], "grey.png");
    assert_eq!(grey, [usual[1]; 3]);
    let wrong =
        ["reconstruct", "--checkpoint", "bands_run", "--out", "w.png", "bands/class0/00.npy", "--bands"];
    assert!(bench.fail(&[&wrong[..], &["6,1,1"]].concat()).contains("have bands 1 to 5"));
    assert!(bench.fail(&[&wrong[..], &["1,2"]].concat()).contains("takes three bands"));

    let tuned = ["finetune", "--config", "tuned.toml", "--run-dir", "tuned", "--init", "bands_run"];
    let tiny = fs::read_to_string(bench.path("tiny.toml")).unwrap();
    let (start, data) = (tiny.find("[model]").unwrap(), tiny.find("[data]").unwrap());
    let config = tiny[..start].to_owned() + &tiny[data..].replace("[data]", "[data]\nval_fraction = 0.3");
    fs::write(bench.path("tuned.toml"), config).unwrap();
    bench.succeed(&[&tuned[..], &BANDS[2..], &["--data", "bands"]].concat());
    let result = bench.succeed(&["eval", "--checkpoint", "tuned", "--data", "bands", "--json"]);
    assert!(json(&result)["top1"].as_f64().is_some(), "{result}");
    let said = bench.succeed(&["predict", "--checkpoint", "tuned", "bands/class1/01.npy", "--json"]);
    assert_eq!(json(&said)["predictions"].as_array().unwrap().len(), 2, "{said}");
}

#[test]
fn a_network_for_colours_is_adapted_and_said_to_be() {
    let bench = bench();
    assert!(bench.pretrain("colours", &["--set", "train.epochs=1"]).status.success());
    let args = [&BANDS[..], &["--data", "bands", "--init", "colours"]].concat();
    let plan = bench.succeed(&pretrain_args("five", &args));
    assert!(plan.contains("repeated and scaled for 5 channels (downsample_layers.0.0.weight)"), "{plan}");
    assert!(plan.contains("fresh        pred.weight, pred.bias"), "{plan}");
}

#[test]
fn pictures_are_refused_by_networks_of_other_channels() {
    let bench = bench();
    let output = bench.pretrain("pictures", &BANDS);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("00.png: the image has 3 channels and the network takes 5"), "{said}");
}

#[test]
fn data_commands_see_every_band() {
    let bench = bench();
    let of = ["--data", "bands", "--set", "model.num_channels=5"];
    let found = json(&bench.succeed(&[&["data", "info", "--json"], &of[..]].concat()));
    let mean: Vec<f64> =
        found["mean"].as_array().unwrap().iter().map(|mean| mean.as_f64().unwrap()).collect();
    assert_eq!(mean.len(), 5);
    for (channel, mean) in mean.iter().enumerate() {
        // 24 images of levels from 0 to 2300, 20 columns from 0 to 3800.
        let right = (10_000.0 * channel as f64 + 1150.0 + 1900.0) / 65535.0;
        assert!((mean - right).abs() < 1e-6, "{mean} {right}");
    }
    // All show the same slope.
    let checked = bench.run(&[&["data", "check", "--json"], &of[..]].concat());
    let found = json(&String::from_utf8(checked.stdout).unwrap());
    assert_eq!((checked.status.code(), found["corrupt"].as_array().unwrap().len()), (Some(1), 0));
    assert_eq!(found["duplicates"][0].as_array().unwrap().len(), 24);
    let preview = ["data", "preview", "--config", "tiny.toml", "--out", "preview.png"];
    let usual =
        ["--set", "data.mean=[0.5, 0.5, 0.5, 0.5, 0.5]", "--set", "data.std=[0.5, 0.5, 0.5, 0.5, 0.5]"];
    bench.succeed(&[&preview[..], &of[..], &usual[..]].concat());
    assert!(image::open(bench.path("preview.png")).is_ok());
}

#[test]
fn an_export_says_which_numbers_the_network_takes() {
    let bench = bench();
    let args = [&BANDS[..], &["--data", "bands", "--set", "data.range=[0, 50000]"]].concat();
    assert!(bench.pretrain("ranged", &args).status.success());
    let output = bench.run(&["export", "--checkpoint", "ranged", "--format", "onnx", "--out", "exported"]);
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("from 0 to 50000 to 0 to 1") && told.contains("images of 5 channels"), "{told}");
    let card = fs::read_to_string(bench.path("exported/README.md")).unwrap();
    assert!(
        card.contains("from 0 to 50000 to 0 to 1") && card.contains("np.zeros((1, 5, 16, 24), "),
        "{card}"
    );
}
