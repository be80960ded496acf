//! What an objective brings to be trained: configuration, data, network, groups, cost.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use checkpoint::{Allow, Checkpoint, Recipe};
use config::{Config, Section, SettingError};
use data::{AugmentConfig, Batch, DataConfig, EvalConfig, ImageList, ImageSource, Labels, Shard};
use distributed::Communicator;
use serde::Serialize;

use crate::ema::EmaDecay;
use crate::evaluation::EvaluationPlan;
use crate::groups::{ParameterRule, decays};
use crate::health::{HealthConfig, Subjects};
use crate::objective::{BoxError, Objective};
use crate::sections::{LogConfig, OptimConfig, TrainConfig};

/// The network that an experiment trains.
pub type Network<E> = <<E as Experiment>::Objective as Objective>::Model;

/// A configuration that can be trained. [`Run`](crate::Run) does everything else: it opens the data,
/// plans, builds the network or reads a checkpoint, makes the run directory, trains, and resumes.
pub trait Experiment: Config {
    /// What is trained for, on batches of images.
    type Objective: Objective<Batch = Batch>;
    /// What the network takes, for the plan that is shown before a run.
    type Cost: Cost;

    /// The sections that every experiment has.
    fn settings(&self) -> Settings<'_>;

    /// Batch size and length, which may follow the number of processes of a run that goes on.
    fn train_mut(&mut self) -> &mut TrainConfig;

    /// Takes what the configuration leaves open from that of the checkpoint that the run starts from, or that
    /// it goes on from if it `resumes`; nothing by default.
    ///
    /// # Errors
    /// A contradiction between the two.
    fn adopt(&mut self, _recipe: &Recipe, _resumes: bool) -> Result<(), BoxError> {
        Ok(())
    }

    /// What is to be said where a run starts from random weights and nobody asked for them; none where that
    /// is usual.
    fn concern_about_random_weights(&self) -> Option<String> {
        None
    }

    /// Opens the images, and completes the configuration by what they say: the training images of
    /// `data.path`, unless the objective needs labels or images to evaluate on. A run that goes on
    /// divides its images as `recorded`.
    ///
    /// # Errors
    /// Images that cannot be opened, or that are not what the configuration says.
    fn open_data(&mut self, _recorded: Option<&ImageList>) -> Result<Data, BoxError> {
        let data = self.settings().data;
        let training = data.open(Labels::Ignored)?;
        let remarks = data.part_in_words()?.map(|words| ("part", words)).into_iter().collect();
        Ok(Data { training, validation: None, remarks })
    }

    /// How a batch's images are made: three channels, normalised by the loader, unless the network
    /// wants something else.
    ///
    /// # Errors
    /// A configuration that describes no network.
    fn input(&self, _device: &Device) -> Result<Input, BoxError> {
        Ok(Input { channels: 3, normalize_on_device: false })
    }

    /// The network, with autodiff where the device has it.
    ///
    /// # Errors
    /// A configuration that describes no network, or one that the device cannot compute.
    fn network(&self, weights: Weights, device: &Device) -> Result<Network<Self>, BoxError>;

    /// Puts the weights of another checkpoint into a fresh network: by default nothing stays fresh, all
    /// names have to agree.
    ///
    /// # Errors
    /// Tensors that are missing, unused or of another shape and are not allowed to be.
    fn initialize(
        &self,
        fresh: Network<Self>,
        source: Checkpoint,
        allow: &Allow,
    ) -> Result<(Network<Self>, Fit), BoxError> {
        source.weights.require_finite()?;
        let (network, mut report) = source.weights.apply_to(fresh, &Self::Objective::parameter_name);
        let fresh = report.accept(allow, |_| false);
        report.require_complete()?;
        Ok((network, Fit { fresh, changed: None }))
    }

    /// How the optimizer treats a parameter, by its official name: all learn equally fast, and what
    /// official pretraining lets decay decays.
    fn rule(&self, name: &str, shape: &[usize]) -> ParameterRule {
        let optim = self.settings().optim;
        let weight_decay = if decays(name, shape, optim.decay_grn) { optim.weight_decay } else { 0.0 };
        ParameterRule { lr_scale: 1.0, weight_decay }
    }

    /// What the network takes.
    ///
    /// # Errors
    /// A configuration that describes no network.
    fn cost(&self) -> Result<Self::Cost, BoxError>;

    /// The data in words, for the plan.
    fn describe(&self, data: &Data) -> String {
        format!("{} images", data.training.len())
    }

    /// The objective on opened data. Whatever can fail fails here, before a run directory is made.
    ///
    /// # Errors
    /// Data or settings that it cannot use.
    fn objective(&self, data: &Data, context: &Context) -> Result<Self::Objective, BoxError>;

    /// How the moving average of the weights follows them; none without one.
    fn ema(&self) -> Option<EmaDecay> {
        None
    }

    /// When to evaluate; never by default.
    fn evaluation(&self) -> Option<EvaluationPlan> {
        None
    }

    /// The images that the objective measures its [health](Objective::health) on; none, by default, of one
    /// that does not.
    fn subjects(&self, _data: &Data) -> Option<Subjects> {
        None
    }

    /// The checkpoint to start from, for experiments whose configuration can name one.
    fn init_mut(&mut self) -> Option<&mut Option<PathBuf>> {
        None
    }
}

/// The sections that every experiment has.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Seed of weights, order of samples, augmentation and everything else that is random.
    pub seed: u64,
    /// Images.
    pub data: &'a DataConfig,
    /// What is done to images that the network is judged by.
    pub eval: &'a EvalConfig,
    /// What is done to training images.
    pub augment: &'a AugmentConfig,
    /// Optimizer and learning rate.
    pub optim: &'a OptimConfig,
    /// Batch size and length.
    pub train: &'a TrainConfig,
    /// Logs.
    pub log: &'a LogConfig,
    /// What is measured of the network while it is trained.
    pub health: &'a HealthConfig,
}

impl Settings<'_> {
    /// Checks every section.
    ///
    /// # Errors
    /// The first value that is not allowed.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        self.data.check()?;
        self.eval.check()?;
        self.augment.check()?;
        self.optim.check()?;
        self.train.check()?;
        self.log.check()?;
        self.health.check()
    }
}

/// Opened images.
pub struct Data {
    /// The images that are trained on.
    pub training: Arc<dyn ImageSource>,
    /// Images held out to judge by, if the objective evaluates.
    pub validation: Option<Arc<dyn ImageSource>>,
    /// What the plan says of them: a word for the first column, and a sentence.
    pub remarks: Vec<(&'static str, String)>,
}

impl Data {
    /// What the plan says of files and columns that are not used.
    pub(crate) fn left_out(&self) -> Vec<(&'static str, String)> {
        let training = self.training.left_out();
        // Images held out of the same folder leave out the same.
        let validation = self.validation.as_ref().map(|images| images.left_out());
        let validation = validation.filter(|left_out| *left_out != training);
        let all = [Some(training), validation].into_iter().flatten();
        all.filter(|left_out| !left_out.is_empty())
            .map(|left_out| ("left out", left_out.to_string()))
            .collect()
    }
}

/// How the weights of a checkpoint went into a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fit {
    /// Names of what stays fresh.
    pub fresh: Vec<String>,
    /// What was changed so that it fits, in words.
    pub changed: Option<String>,
}

/// How the images of a batch are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Channels of an image.
    pub channels: usize,
    /// Whether batches hold intensities that the device normalises.
    pub normalize_on_device: bool,
}

/// The values that a network begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Zeros, to be counted or replaced by those of a checkpoint.
    Zero,
    /// Initial values, drawn from the seed.
    Fresh,
}

/// Where a run computes.
#[derive(Clone)]
pub struct Context {
    /// The device, with autodiff.
    pub device: Device,
    /// The processes that train together.
    pub communicator: Arc<dyn Communicator>,
}

impl Context {
    /// One process by itself.
    pub fn single(device: &Device) -> Self {
        Self { device: device.clone().autodiff(), communicator: Arc::new(distributed::Single) }
    }

    /// This process's part of the data.
    pub fn shard(&self) -> Shard {
        Shard { rank: self.communicator.rank(), world_size: self.communicator.world_size() }
    }
}

/// What a network takes; shown before a run, a line a property.
pub trait Cost: Serialize + Display {
    /// Multiply-adds of a forward pass over one image in training; 0 where they are not known.
    fn forward_macs(&self) -> u64;

    /// The same outside of training, of all that an image shows.
    fn dense_macs(&self) -> u64 {
        self.forward_macs()
    }

    /// Memory that training takes; none where it is not known.
    fn memory(&self) -> Option<Memory>;
}

/// Bytes that training takes, beside the program and the batches that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Weights, gradients, moments, and averages where they are kept.
    pub parameters: u64,
    /// Activations of one image that are kept for the backward pass.
    pub activations: u64,
}

/// The cost of a network that nobody has counted: nothing is shown of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NotCounted {}

impl Cost for NotCounted {
    fn forward_macs(&self) -> u64 {
        0
    }

    fn memory(&self) -> Option<Memory> {
        None
    }
}

impl Display for NotCounted {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
