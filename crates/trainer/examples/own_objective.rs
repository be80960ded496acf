//! An objective of one's own: by which quarter turn was an image rotated (RotNet, arXiv:1803.07728)? The loss
//! alone is new. `cargo run --release -p trainer --example own_objective -- IMAGES RUN_DIR`

use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use data::{AugmentConfig, Batch, DataConfig, EvalConfig};
use model::{ConvNextV2Config, ConvNextV2ForImageClassification as Classifier, ModelConfig};
use serde::{Deserialize, Serialize};
use trainer::*;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rotation {
    seed: u64,
    model: ModelConfig,
    data: DataConfig,
    eval: EvalConfig,
    augment: AugmentConfig,
    optim: OptimConfig,
    train: TrainConfig,
    log: LogConfig,
    health: HealthConfig,
}

impl config::Config for Rotation {}

impl Experiment for Rotation {
    type Objective = Turns;
    type Cost = NotCounted;
    fn settings(&self) -> Settings<'_> {
        let Self { seed, data, eval, augment, optim, train, log, health, .. } = self;
        Settings { seed: *seed, data, eval, augment, optim, train, log, health }
    }

    fn train_mut(&mut self) -> &mut TrainConfig {
        &mut self.train
    }

    fn network(&self, _: Weights, device: &Device) -> Result<Classifier, BoxError> {
        let model = self.model.resolve(self.data.image_size.pixels())?;
        Ok(Classifier::new(&ConvNextV2Config { num_labels: 4, ..model }, self.seed, device)?)
    }

    fn cost(&self) -> Result<NotCounted, BoxError> {
        Ok(NotCounted {})
    }

    fn objective(&self, _: &Data, context: &Context) -> Result<Turns, BoxError> {
        Ok(Turns(context.device.clone()))
    }
}

struct Turns(Device);

impl Objective for Turns {
    type Model = Classifier;
    type Batch = Batch;
    fn loss(&self, model: &Classifier, mut batch: Batch) -> Result<Tensor<1>, BoxError> {
        let (shape, count) = (batch.shape, batch.shape[0]);
        let pixels = batch.normalized_mut().ok_or("raw pixels")?.to_vec();
        let images = Tensor::<4>::from_data(TensorData::new(pixels, shape), &self.0);
        // A function of epoch and image alone, so that a run that goes on turns images alike.
        let turns: Vec<i64> = batch.indices.iter().map(|i| ((7 * i + batch.epoch) % 4) as i64).collect();
        let turned = turns.iter().zip(images.split(1, 0)).map(|(turn, image)| match turn {
            0 => image,
            1 => image.swap_dims(2, 3).flip([2]),
            2 => image.flip([2, 3]),
            _ => image.swap_dims(2, 3).flip([3]),
        });
        let logits = model.forward(Tensor::cat(turned.collect(), 0), None);
        let turns = Tensor::<1, Int>::from_data(TensorData::new(turns, [count]), &self.0);
        Ok(log_softmax(logits, 1).gather(1, turns.reshape([count, 1])).mean().neg())
    }
}

fn main() -> Result<(), BoxError> {
    let mut args = std::env::args();
    let (images, run_dir) = (args.nth(1).ok_or("name images")?, args.next().ok_or("name a run directory")?);
    let text =
        "[model]\ndepths = [1, 1, 2]\nhidden_sizes = [24, 48, 96]\npatch_size = 2\n[optim]\nlr = 2e-3\n
        warmup_epochs = 1\n[train]\nbatch_size = 50\nepochs = 4\ncheckpoint_every_steps = 20\n";
    let data = [format!("data.path={images}"), "data.image_size=32".to_owned()];
    let start = Start { resume: Some(Resume::Auto), ..Start::new(run_dir) };
    let run = Run::open(config::parse::<Rotation>(text, &data)?, Context::single(&Device::flex()), start)?;
    println!("{:?}", run.begin()?.train_quietly()?);
    Ok(())
}
