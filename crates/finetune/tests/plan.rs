//! A plan that times steps leaves the run as it would be without.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use burn::train::Interrupter;
use finetune::FinetuneExperiment;
use image::{Rgb, RgbImage};
use trainer::{Context, ProgressKind, Run, Start, progress};

const CONFIG: &str = r#"
seed = 2
[model]
depths = [1, 1]
hidden_sizes = [8, 16]
patch_size = 2
drop_path_rate = 0.2
[finetune]
ema_decay = 0.9
[data]
val_fraction = 0.2
image_size = [16, 24]
max_corrupt = 1
[augment]
rand_augment = "rand-m5-mstd0.5-inc1"
random_erasing = 0.25
mixup = 0.8
[optim]
lr = 1e-2
warmup_epochs = 1
[train]
batch_size = 4
accumulate = 2
epochs = 3
"#;

/// Writes 26 images of two classes.
fn write_images(data: &Path, write: impl Fn(u8, &Path)) {
    for index in 0..26u8 {
        let path = data.join(format!("class{}/{index:02}.png", index % 2));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(index, &path);
    }
}

/// Weights, moments and averages after a run, and the images it left out.
fn trained(data: &Path, run_dir: &Path, planned: bool) -> (Vec<Vec<u8>>, BTreeSet<(String, String)>) {
    let path = format!("data.path={}", data.display());
    let experiment: FinetuneExperiment = config::parse(CONFIG, &[path]).unwrap();
    let run = Run::open(experiment, Context::single(&Device::flex()), Start::new(run_dir)).unwrap();
    if planned {
        let outlook = run.outlook().unwrap().to_string();
        assert!(
            outlook.contains("finish       roughly") && outlook.contains("memory       about"),
            "{outlook}"
        );
    }
    let training = run.begin().unwrap();
    let mut silent = progress(ProgressKind::Silent, |_| {}).unwrap();
    let trained = training.train(silent.as_mut(), &Interrupter::new()).unwrap();
    let checkpoint = trained.outcome.checkpoint.unwrap();
    let files = ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"];
    (files.map(|file| fs::read(checkpoint.join(file)).unwrap()).to_vec(), trained.skipped)
}

#[test]
fn a_plan_changes_no_bit_of_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    write_images(&data, |index, path| {
        let pixel = |x, y| Rgb([index * 9, (x * 10) as u8, (y * 12) as u8]);
        RgbImage::from_fn(20, 18, pixel).save(path).unwrap();
    });
    let (plain, _) = trained(&data, &dir.path().join("plain"), false);
    let (planned, _) = trained(&data, &dir.path().join("planned"), true);
    assert!(plain == planned);
}

/// What a trial cannot read is no more than a reason not to time anything, and does not count as read by
/// the run.
#[test]
fn images_that_a_plan_meets_are_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    write_images(&data, |_, path| fs::write(path, b"no picture").unwrap());
    let path = format!("data.path={}", data.display());
    let experiment: FinetuneExperiment = config::parse(CONFIG, &[path]).unwrap();
    let start = Start::new(dir.path().join("run"));
    let run = Run::open(experiment, Context::single(&Device::flex()), start).unwrap();
    let outlook = run.outlook().unwrap().to_string();
    assert!(
        outlook.contains("finish       not timed: ") && outlook.contains("data.max_corrupt = 1"),
        "{outlook}"
    );
}
