//! What `data info`, `check`, `pack` and `preview` print and write.

use std::fs;
use std::path::Path;

use ::data::{Labels, Pixels, Shard, TrainingBatches};
use fcmae::PretrainExperiment;
use image::{Rgb, RgbImage, imageops};
use serde_json::{Value, json};

use crate::common::{Bench, failure, json as parsed};

/// Black and white images of two classes in two parts, and a file that is no image.
fn known(bench: &Bench) {
    for (name, width, value) in
        [("train/a/1.png", 2, 0), ("train/a/2.png", 2, 0), ("train/b/3.png", 4, 255), ("val/b/4.png", 8, 51)]
    {
        save(bench, &format!("known/{name}"), &RgbImage::from_pixel(width, 2, Rgb([value, value, 51])));
    }
    fs::write(bench.path("known/train/a/notes.txt"), "").unwrap();
}

fn save(bench: &Bench, name: &str, image: &RgbImage) {
    let path = bench.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

#[test]
fn info_has_counts_means_and_deviations() {
    let bench = Bench::new();
    known(&bench);
    let found = parsed(&bench.succeed(&["data", "info", "--data", "known", "--json"]));
    let number = |key: &str, channel: usize| found[key][channel].as_f64().unwrap();
    // 8 pixels of 0, 8 of 1, 16 of 0.2.
    let deviation = (0.25 + 0.5 * 0.04 - 0.35f64.powi(2)).sqrt();
    assert!((number("mean", 0) - 0.35).abs() < 1e-12 && (number("mean", 2) - 0.2).abs() < 1e-12, "{found}");
    assert!((number("std", 1) - deviation).abs() < 1e-12 && number("std", 2) == 0.0, "{found}");
    for (key, right) in [
        ("images", json!(4)),
        ("read", json!(4)),
        ("splits", json!({"train": 3, "val": 1})),
        ("classes", json!({"a": 2, "b": 2})),
        ("left_out", json!({".txt": 1})),
    ] {
        assert_eq!(found[key], right, "{key}");
    }
    let text = bench.succeed(&["data", "info", "--data", "known", "--images", "2", "--sheet", "sheet.png"]);
    for line in [
        "images       4: 3 train, 1 val",
        "classes      2, of 2 to 2 images",
        "         2 b (1 train, 1 val)",
        "sizes        2, from 2×2 to 4×2 pixels",
        "endings      4 .png",
        "read         2 of 2 images that were tried",
        "left out     1 .txt in known/train",
        "picture      sheet.png",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let sheet = image::open(bench.path("sheet.png")).unwrap().to_rgb8();
    assert!(sheet.pixels().any(|pixel| pixel.0 == [255, 255, 51]), "the white image is drawn");
    // A table of numbers has no classes.
    fs::write(bench.path("numbers.csv"), "image,target\nknown/train/a/1.png,3\n").unwrap();
    let numbers = parsed(&bench.succeed(&["data", "info", "--data", "numbers.csv", "--json"]));
    assert_eq!((&numbers["classes"], &numbers["splits"]), (&json!({}), &json!({})));
}

/// A picture that no other one is like.
fn picture(number: u32) -> RgbImage {
    let wave = |x: u32, y: u32, turn: u32| {
        let (x, y, turn) = (f64::from(x), f64::from(y), f64::from(turn));
        (100.0 * ((x * (0.03 + 0.05 * turn.sin().abs()) + y * 0.11 * turn.cos()).sin() + 1.2)) as u8
    };
    RgbImage::from_fn(80, 60, |x, y| {
        Rgb([wave(x, y, number), wave(y, x, 3 * number + 1), wave(x, y, number + 7)])
    })
}

#[test]
fn check_finds_what_was_planted() {
    let bench = Bench::new();
    for number in 0..8 {
        let (part, class) = (["train", "val"][number as usize / 6], ["a", "b"][number as usize % 2]);
        save(&bench, &format!("set/{part}/{class}/{number}.png"), &picture(number));
    }
    let check = ["data", "check", "--data", "set", "--json"];
    let clean = parsed(&bench.succeed(&check));
    assert_eq!(clean, json!({"corrupt": [], "duplicates": [], "leaks": [], "classes_of_one": []}));
    save(&bench, "set/train/b/copy.bmp", &picture(2));
    save(&bench, "set/val/b/leaked.jpg", &picture(3));
    save(&bench, "set/train/only/9.png", &picture(9));
    fs::write(bench.path("set/val/a/broken.png"), "no image").unwrap();
    let output = bench.run(&check);
    assert_eq!(output.status.code(), Some(1));
    let right = json!({
        "corrupt": ["set/val/a/broken.png"],
        "duplicates": [["set/train/a/2.png", "set/train/b/copy.bmp"]],
        "leaks": [["set/train/b/3.png", "set/val/b/leaked.jpg"]],
        "classes_of_one": ["only"],
    });
    assert_eq!(parsed(&String::from_utf8(output.stdout).unwrap()), right);
    let output = bench.run(&check[..4]);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "corrupt      cannot decode set/val/a/broken.png: ",
        "duplicates   the same: set/train/a/2.png, set/train/b/copy.bmp",
        "leak         nearly the same: set/train/b/3.png (train), set/val/b/leaked.jpg (val)",
        "one image    class only",
        "checked      12 images: 1 corrupt, 1 groups of duplicates, 1 leaks, 1 classes of one image",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

fn losses(bench: &Bench, run: &str) -> Vec<Value> {
    let log = fs::read_to_string(bench.path(run).join("log.jsonl")).unwrap();
    log.lines().map(|line| parsed(line)["loss"].clone()).filter(|loss| !loss.is_null()).collect()
}

#[test]
fn training_on_packed_images_is_the_same_bit_for_bit() {
    let bench = Bench::new();
    let pack = ["data", "pack", "--config", "tiny.toml", "--out", "shards", "--shard-images", "10"];
    let text = bench.succeed(&pack);
    assert!(text.contains("packed       26 images in 3 shards") && text.contains("read back"), "{text}");
    let again = bench.succeed(&pack);
    assert!(again.contains("kept         26 images in shards that were complete already"), "{again}");
    let steps = ["--set", "train.max_steps=8"];
    for (run, more) in [("folder", &[][..]), ("packed", &["--data", "shards"])] {
        let output = bench.pretrain(run, &[&steps[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let found = losses(&bench, "folder");
    assert_eq!(found.len(), 8);
    assert_eq!(found, losses(&bench, "packed"));
    assert_eq!(fs::read_to_string(bench.path("shards/classes.txt")).unwrap(), "class0\nclass1\n");
}

#[test]
fn packed_images_may_be_smaller() {
    let bench = Bench::new();
    let resize = ["data", "pack", "--data", "data", "--out", "small", "--short-side", "9", "--quality", "80"];
    assert!(bench.succeed(&resize).contains("resized      26 of the other 26"));
    let found = parsed(&bench.succeed(&["data", "info", "--data", "small", "--json"]));
    assert_eq!((&found["images"], &found["classes"]), (&json!(26), &json!({"class0": 13, "class1": 13})));
    let text = bench.succeed(&["data", "info", "--data", "small"]);
    assert!(text.contains("sizes        10×9 pixels, all of them") && text.contains("26 .jpg"), "{text}");
}

/// The images of the batch that pretraining begins with, as far as 8 bits show them.
fn first_batch(bench: &Bench, seed: u64) -> Vec<RgbImage> {
    let text = fs::read_to_string(bench.path("tiny.toml")).unwrap();
    let mut experiment: PretrainExperiment = config::parse(&text, &[]).unwrap();
    experiment.data.path = Some(bench.path("data"));
    let batches = TrainingBatches {
        data: &experiment.data,
        augment: &experiment.augment,
        seed,
        batch_size: 4,
        accumulate: 2,
        channels: 3,
        raw: true,
        shard: Shard::default(),
    };
    let loader = batches.loader(&experiment.data.open(Labels::Ignored).unwrap()).unwrap();
    let batch = loader.batches(0, 0).next().unwrap().unwrap();
    let Pixels::U8(values) = batch.pixels else { panic!("raw") };
    let image = |values: &[u8]| {
        RgbImage::from_fn(24, 16, |x, y| {
            Rgb([0, 1, 2].map(|channel| values[(channel * 16 + y as usize) * 24 + x as usize]))
        })
    };
    values.chunks(3 * 16 * 24).map(image).collect()
}

#[test]
fn a_preview_shows_what_training_gets() {
    let bench = Bench::new();
    for (seed, more) in [(3, &[][..]), (4, &["--seed", "4"])] {
        let args = ["data", "preview", "--config", "tiny.toml", "--out", "preview.png"];
        let text = bench.succeed(&[&args[..], more].concat());
        assert!(
            text.contains(&format!("batch        4 images, the first of epoch 0 with seed {seed}")),
            "{text}"
        );
        let picture = image::open(bench.path("preview.png")).unwrap().to_rgb8();
        // Two tiles a row, seven times as large, below and beside the margins.
        let first = imageops::crop_imm(&picture, 20, 10, 168, 112).to_image();
        let second = imageops::crop_imm(&picture, 20 + 168 + 24, 10, 168, 112).to_image();
        let images = first_batch(&bench, seed);
        assert!(
            first == drawing::enlarge(&images[0], 7) && second == drawing::enlarge(&images[1], 7),
            "{seed}"
        );
    }
}

#[test]
fn a_preview_of_fine_tuning_is_mixed() {
    let bench = Bench::new();
    let text = "[finetune]\n[data]\npath = \"data\"\nval_fraction = 0.3\nimage_size = 24\n[augment]\ncutmix = 0.0\n\
                mixup_prob = 1.0\n[train]\nbatch_size = 4\n";
    fs::write(bench.path("mix.toml"), text).unwrap();
    let draw = |mixup: &str| {
        let set = format!("augment.mixup={mixup}");
        bench.succeed(&["data", "preview", "--config", "mix.toml", "--set", &set, "--out", "mix.png"]);
        let picture = image::open(bench.path("mix.png")).unwrap().to_rgb8();
        imageops::crop_imm(&picture, 20, 10, 120, 120).to_image()
    };
    assert_ne!(draw("0.0"), draw("5.0"));
}

#[test]
fn what_cannot_be_done_is_said() {
    let bench = Bench::new();
    fs::create_dir(bench.path("other")).unwrap();
    fs::write(bench.path("other/thesis.txt"), "").unwrap();
    fs::write(bench.path("labels.csv"), "image,labels\ndata/class0/00.png,a;b\n").unwrap();
    for (args, said) in [
        (&["info"][..], "no images: give --data DIR"),
        (&["check"], "no images: give --data DIR"),
        (&["preview", "--out", "p.png"], "no images: give --data DIR"),
        (&["pack", "--out", "shards"], "no images: give --data DIR"),
        (&["info", "--data", "nowhere"], "no data at nowhere"),
        (&["check", "--data", "nowhere"], "no data at nowhere"),
        (&["info", "--data", "data", "--sheet", "no/sheet.png"], "cannot write no/sheet.png"),
        (&["pack", "--data", "data", "--out", "other"], "other has other things in it (thesis.txt)"),
        (&["pack", "--data", "data", "--out", "data/shards"], "lies within the data"),
        (&["pack", "--data", "labels.csv", "--out", "s"], "several labels or numbers an image"),
        (
            &["preview", "--data", "data", "--set", "train.batch_size=99", "--out", "p.png"],
            "a batch takes 99",
        ),
    ] {
        let args = [&["data"], args].concat();
        let error = failure(&bench.run(&args), &args);
        assert!(error.contains(said), "{args:?}: {error}");
    }
    let output = bench.run(&["data", "pack", "--data", "data", "--out", "s", "--quality", "90"]);
    assert_eq!(output.status.code(), Some(2), "quality is that of resized images");
    assert!(!Path::new(&bench.path("s")).exists());
}

#[test]
fn images_of_parquet_files_have_one_ending() {
    let bench = Bench::new();
    let parquet = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/goldens/parquet/hub");
    let text = bench.succeed(&["data", "info", "--data", parquet]);
    let line = text.lines().find(|line| line.starts_with("endings ")).unwrap();
    assert!(line.ends_with(" .parquet") && !line.contains(','), "{line}");
}
