//! A folder of images in, a pretrained encoder out:
//! `cargo run --release -p fcmae --example pretrain -- IMAGES RUN_DIR [EPOCHS]`

use std::env::args;

use burn::tensor::Device;
use data::{DataConfig, ImageSize};
use fcmae::{FcmaeConfig, PretrainExperiment};
use model::ModelConfig;
use trainer::{BoxError, Context, OptimConfig, Run, Start, TrainConfig};

fn main() -> Result<(), BoxError> {
    let mut args = args().skip(1);
    let (images, run_dir) = (args.next().ok_or("name a folder of images")?, args.next().ok_or("name a run")?);
    let epochs = args.next().map_or(Ok(10), |epochs| epochs.parse())?;
    let experiment = PretrainExperiment {
        model: ModelConfig {
            depths: Some(vec![1, 1, 2]),
            hidden_sizes: Some(vec![24, 48, 96]),
            patch_size: Some(2),
            ..ModelConfig::default()
        },
        fcmae: FcmaeConfig { patch_size: 8, decoder_dim: 96, ..FcmaeConfig::default() },
        data: DataConfig {
            path: Some(images.into()),
            image_size: ImageSize::Square(32),
            ..DataConfig::default()
        },
        optim: OptimConfig { lr: Some(2e-3), warmup_epochs: 1.0, ..OptimConfig::default() },
        train: TrainConfig { batch_size: 50, epochs, ..TrainConfig::default() },
        ..PretrainExperiment::default()
    };
    let run = Run::open(experiment, Context::single(&Device::flex()), Start::new(run_dir))?;
    println!("{}", run.summary()?);
    let outcome = run.begin()?.train_quietly()?;
    println!("{:?}: loss {:?}", outcome.checkpoint, outcome.losses);
    Ok(())
}
