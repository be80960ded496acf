//! What a run was going to do, as far as its directory says it exactly.

use std::path::Path;

use config::{Config, SettingError};
use data::DataConfig;
use fcmae::{PretrainCost, PretrainExperiment};
use finetune::{ClassifierCost, FinetuneExperiment, ProblemType};
use serde::Serialize;
use trainer::{CosineSchedule, OptimConfig, Plan as Length, TrainConfig};

use crate::curve::rounded;

/// Points of the schedule that is drawn.
const DRAWN: u32 = 160;

/// A configuration of either kind, as a run has stored it.
pub(crate) enum Stored {
    Pretraining(Box<PretrainExperiment>),
    FineTuning(Box<FinetuneExperiment>),
}

/// What a run was going to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Plan {
    /// The network in words.
    model: Option<String>,
    parameters: Option<u64>,
    decoder_parameters: Option<u64>,
    macs: Option<u64>,
    patches: Option<usize>,
    visible_patches: Option<usize>,
    init: Option<String>,
    batch_size: usize,
    accumulate: usize,
    processes: Option<usize>,
    /// Images of an update; unknown where nothing says how many processes train.
    effective_batch: Option<usize>,
    epochs: u64,
    steps_per_epoch: Option<u64>,
    total_steps: Option<u64>,
    peak_lr: Option<f64>,
    min_lr: f64,
    warmup_epochs: f64,
    weight_decay: f64,
    clip_grad: Option<f64>,
    ema_decay: Option<f64>,
    precision: String,
    seed: u64,
    /// Epoch and learning rate.
    schedule: Vec<[f64; 2]>,
}

impl Stored {
    /// Reads the configuration of a run.
    pub(crate) fn read(file: &Path, is_fine_tuning: bool) -> Result<Self, SettingError> {
        fn load<C: Config>(file: &Path) -> Result<Box<C>, SettingError> {
            config::load_stored(file).map(Box::new)
        }
        Ok(match is_fine_tuning {
            true => Self::FineTuning(load(file)?),
            false => Self::Pretraining(load(file)?),
        })
    }

    pub(crate) fn data(&self) -> &DataConfig {
        match self {
            Self::Pretraining(of) => &of.data,
            Self::FineTuning(of) => &of.data,
        }
    }

    /// What is learned to say of an image; nothing in pretraining.
    pub(crate) fn problem(&self) -> Option<ProblemType> {
        match self {
            Self::Pretraining(_) => None,
            Self::FineTuning(of) => Some(of.finetune.problem_type.unwrap_or_default()),
        }
    }

    fn optimization(&self) -> (&OptimConfig, &TrainConfig, u64) {
        match self {
            Self::Pretraining(of) => (&of.optim, &of.train, of.seed),
            Self::FineTuning(of) => (&of.optim, &of.train, of.seed),
        }
    }

    /// The plan of a run that so many processes train on so many images, where these are known.
    pub(crate) fn plan(&self, images: Option<usize>, processes: Option<usize>) -> Plan {
        let (optim, train, seed) = self.optimization();
        let length = processes.zip(images).map(|(processes, images)| {
            Length::new(train, (images / (train.batch_size * processes)) as u64, processes)
        });
        let length = length.filter(|length| length.steps_per_epoch() > 0);
        let effective_batch = processes.map(|processes| train.batch_size * train.accumulate * processes);
        // A rate that is given itself does not depend on the batch.
        let schedule = effective_batch
            .or(optim.lr.map(|_| train.batch_size))
            .map(|batch| CosineSchedule::of(optim, train, batch));
        let plan = Plan {
            model: None,
            parameters: None,
            decoder_parameters: None,
            macs: None,
            patches: None,
            visible_patches: None,
            init: None,
            batch_size: train.batch_size,
            accumulate: train.accumulate,
            processes,
            effective_batch,
            epochs: train.epochs,
            steps_per_epoch: length.map(|length| length.steps_per_epoch()),
            total_steps: length.map(|length| length.total_steps),
            peak_lr: schedule.map(|schedule| schedule.peak),
            min_lr: optim.min_lr,
            warmup_epochs: optim.warmup_epochs,
            weight_decay: optim.weight_decay,
            clip_grad: optim.clip_grad,
            ema_decay: None,
            precision: train.precision.to_string(),
            seed,
            schedule: schedule.map_or(Vec::new(), drawn),
        };
        self.with_network(plan)
    }

    /// The network of the plan, if the configuration describes one.
    fn with_network(&self, plan: Plan) -> Plan {
        match self {
            Self::Pretraining(of) => {
                let cost = of.resolve().ok().and_then(|model| PretrainCost::of(of, &model).ok());
                let Some(cost) = cost else { return plan };
                Plan {
                    model: Some(cost.model),
                    parameters: Some(cost.parameters),
                    decoder_parameters: Some(cost.decoder_parameters),
                    macs: Some(cost.macs),
                    patches: Some(cost.patches),
                    visible_patches: Some(cost.visible_patches),
                    ..plan
                }
            }
            Self::FineTuning(of) => {
                let init = of.finetune.init.as_ref().map(data::shown);
                let plan = Plan { init, ema_decay: of.finetune.ema_decay, ..plan };
                let Ok(model) = of.resolve() else { return plan };
                let ClassifierCost { model, parameters, macs, .. } = ClassifierCost::of(of, &model);
                Plan { model: Some(model), parameters: Some(parameters), macs: Some(macs), ..plan }
            }
        }
    }
}

/// The rates of a schedule, and the one at the end of its warm-up.
fn drawn(schedule: CosineSchedule) -> Vec<[f64; 2]> {
    let even = (0..=DRAWN).map(|point| schedule.epochs * f64::from(point) / f64::from(DRAWN));
    let mut epochs: Vec<f64> = even.chain([schedule.warmup_epochs.min(schedule.epochs)]).collect();
    epochs.sort_by(f64::total_cmp);
    epochs.dedup();
    epochs.into_iter().map(|epoch| [rounded(epoch), rounded(schedule.lr_at(epoch))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> Stored {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        Stored::read(&file, text.contains("[finetune]")).unwrap()
    }

    #[test]
    fn steps_rates_and_parameters_are_those_of_the_run() {
        let text = "seed = 5\n[model]\nsize = \"atto\"\n[optim]\nblr = 1.5e-4\nwarmup_epochs = 2\n\
                    [train]\nbatch_size = 8\naccumulate = 2\nepochs = 10\n";
        // 100 images make 6 batches of 2 × 8, which fill 3 updates of 2.
        let plan = stored(text).plan(Some(100), Some(2));
        assert_eq!(
            (plan.effective_batch, plan.steps_per_epoch, plan.total_steps),
            (Some(32), Some(3), Some(30))
        );
        assert_eq!((plan.peak_lr, plan.seed), (Some(1.5e-4 * 32.0 / 256.0), 5));
        // Of the 3,708,400 parameters that Atto is published with, 321,000 are its head and 640 its norm.
        assert_eq!(
            plan.parameters.zip(plan.decoder_parameters).map(|(all, decoder)| all - decoder),
            Some(3_386_760)
        );
        assert_eq!((plan.patches, plan.visible_patches), (Some(49), Some(19)));
        let (first, peak, last) =
            (plan.schedule[0], plan.schedule.iter().find(|[epoch, _]| *epoch == 2.0), plan.schedule[160]);
        assert_eq!((first, peak.unwrap()[1], last), ([0.0, 0.0], 1.875e-5, [10.0, 0.0]));
        let unknown = stored(text).plan(None, None);
        assert_eq!((unknown.effective_batch, unknown.total_steps, unknown.peak_lr), (None, None, None));
        assert!(unknown.schedule.is_empty());
    }

    #[test]
    fn a_classifier_says_what_it_starts_from() {
        let text = "[model]\nsize = \"atto\"\n[finetune]\ninit = \"runs/a\"\nema_decay = 0.9\n\
                    classes = [\"x\", \"y\"]\n[optim]\nlr = 0.5\nwarmup_epochs = 0\n";
        let stored = stored(text);
        let plan = stored.plan(None, None);
        assert_eq!(
            (plan.init.as_deref(), plan.ema_decay, plan.peak_lr),
            (Some("runs/a"), Some(0.9), Some(0.5))
        );
        // The encoder, its norm, and 320 × 2 weights and 2 biases of the head.
        assert_eq!(plan.parameters, Some(3_386_760 + 2 * 320 + 2 * 321));
        assert_eq!(stored.problem(), Some(ProblemType::SingleLabelClassification));
    }
}
