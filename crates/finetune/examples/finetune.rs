//! A folder of images with a subfolder for each class and a checkpoint in, a classifier out:
//! `cargo run --release -p finetune --example finetune -- IMAGES CHECKPOINT RUN_DIR [EPOCHS]`

use std::env::args;

use burn::tensor::Device;
use data::{DataConfig, ImageSize};
use finetune::FinetuneExperiment;
use trainer::{BoxError, Context, Init, OptimConfig, Run, Start, TrainConfig};

fn main() -> Result<(), BoxError> {
    let mut args = args().skip(1);
    let mut next = |what| args.next().ok_or(format!("name {what}"));
    let (images, init, run_dir) = (next("a folder of images")?, next("a checkpoint")?, next("a run")?);
    let epochs = next("epochs").map_or(Ok(10), |epochs| epochs.parse())?;
    // The network is the checkpoint's.
    let experiment = FinetuneExperiment {
        data: DataConfig {
            path: Some(images.into()),
            image_size: ImageSize::Square(32),
            ..DataConfig::default()
        },
        optim: OptimConfig { lr: Some(4e-3), warmup_epochs: 1.0, ..FinetuneExperiment::default().optim },
        train: TrainConfig { batch_size: 50, epochs, ..TrainConfig::default() },
        ..FinetuneExperiment::default()
    };
    let start = Start { init: Init::Checkpoint(init.into()), ..Start::new(run_dir) };
    let run = Run::open(experiment, Context::single(&Device::flex()), start)?;
    println!("{}", run.summary()?);
    let outcome = run.begin()?.train_quietly()?;
    println!("{:?}: best {:?}", outcome.checkpoint, outcome.best);
    Ok(())
}
