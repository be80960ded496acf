//! Pretraining as an experiment: data, network, groups, cost, objective.

use burn::tensor::Device;
use checkpoint::{Allow, Checkpoint, StateDict};
use data::{Apart, ImageList};
use model::{STEM, is_decoder, is_encoder, is_grn, official_name};
use trainer::health::Subjects;
use trainer::{BoxError, Context, Data, Experiment, Fit, Input, Settings, TrainConfig, Weights};

use crate::configuration::PretrainExperiment;
use crate::cost::PretrainCost;
use crate::network::Fcmae;
use crate::objective::FcmaeObjective;

impl Experiment for PretrainExperiment {
    type Objective = FcmaeObjective;
    type Cost = PretrainCost;

    fn settings(&self) -> Settings<'_> {
        Settings {
            seed: self.seed,
            data: &self.data,
            eval: &self.eval,
            augment: &self.augment,
            optim: &self.optim,
            train: &self.train,
            log: &self.log,
            health: &self.health,
        }
    }

    fn train_mut(&mut self) -> &mut TrainConfig {
        &mut self.train
    }

    /// The part `val`, or a share of the images, is held out to see how the run is.
    fn open_data(&mut self, recorded: Option<&ImageList>) -> Result<Data, BoxError> {
        let (config, part) = (&self.health, self.data.part_in_words()?);
        let stated = ("health.val_fraction", config.val_fraction);
        let (training, apart) =
            self.data.open_apart(stated, |images| config.share_of(images), self.seed, recorded)?;
        let (validation, origin) = apart.map(|Apart { images, origin }| (images, origin)).unzip();
        let remarks = [part.map(|part| ("part", part)), origin.map(|origin| ("held out", origin))];
        Ok(Data { training, validation, remarks: remarks.into_iter().flatten().collect() })
    }

    fn input(&self, device: &Device) -> Result<Input, BoxError> {
        let model = self.resolve()?;
        self.fcmae.mask_shape(&model, self.data.image_size.pixels())?;
        let normalize_on_device = self.compute(&model, device)?.device_normalizes(device);
        Ok(Input { channels: model.num_channels, normalize_on_device })
    }

    fn network(&self, weights: Weights, device: &Device) -> Result<Fcmae, BoxError> {
        let model = self.resolve()?;
        let compute = self.compute(&model, device)?;
        let mut network = match weights {
            Weights::Zero => Fcmae::zeros(&self.fcmae, &model, compute, device)?,
            Weights::Fresh => Fcmae::new(&self.fcmae, &model, compute, self.seed, device)?,
        };
        if !self.model.grn {
            network.freeze_grn();
        }
        Ok(network)
    }

    /// As far as they fit: encoder and decoder, or the encoder alone. Norm and head of a classifier
    /// have no place in pretraining.
    fn initialize(&self, fresh: Fcmae, source: Checkpoint, allow: &Allow) -> Result<(Fcmae, Fit), BoxError> {
        let has_decoder = source.weights.names().any(is_decoder);
        let kept = source.weights.into_iter().filter(|(name, _)| has_decoder || is_encoder(name));
        let mut weights: StateDict = kept.collect();
        weights.require_finite()?;
        self.model.check_grn(weights.first_non_zero(is_grn))?;
        let changed = weights.adapt_stem(STEM, self.resolve()?.num_channels);
        if changed.is_some() {
            // It predicts the pixels of three channels.
            weights = weights.into_iter().filter(|(name, _)| !is_prediction(name)).collect();
        }
        let (network, mut report) = weights.apply_to(fresh, &official_name);
        let fresh = report.accept(allow, |name| match changed {
            Some(_) if is_prediction(name) => true,
            _ => is_decoder(name) && !has_decoder,
        });
        report.require_complete()?;
        Ok((network, Fit { fresh, changed }))
    }

    fn cost(&self) -> Result<PretrainCost, BoxError> {
        Ok(PretrainCost::of(self, &self.resolve()?)?)
    }

    fn describe(&self, data: &Data) -> String {
        let labels = match data.training.classes().len() {
            0 => "no labels".to_owned(),
            classes => format!("{classes} classes, not learnt from"),
        };
        format!("{} images, {labels}", data.training.len())
    }

    fn objective(&self, data: &Data, context: &Context) -> Result<FcmaeObjective, BoxError> {
        Ok(FcmaeObjective::new(self, &self.resolve()?, data, &context.device)?)
    }

    fn subjects(&self, data: &Data) -> Option<Subjects> {
        Subjects::of(data, &self.health, self.seed)
    }
}

/// Whether a tensor of this official name belongs to the decoder's last layer.
fn is_prediction(name: &str) -> bool {
    name.starts_with("pred.")
}
