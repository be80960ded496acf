//! What a run is going to do and what it will cost, shown before it starts.

use std::fmt;

use serde::Serialize;

use crate::error::times_processes;
use crate::experiment::{Cost, Data, Settings};
use crate::groups::ParameterGroup;
use crate::outlook::Outlook;
use crate::plan::Plan;
use crate::schedule::CosineSchedule;

/// A run, before it starts.
#[derive(Debug, Clone, Serialize)]
pub struct Summary<C> {
    #[serde(flatten)]
    cost: C,
    #[serde(flatten)]
    images: ImageCounts,
    #[serde(skip)]
    data: String,
    /// What is to be said of the data: a word and a sentence.
    remarks: Vec<(&'static str, String)>,
    accumulate: usize,
    processes: usize,
    effective_batch: usize,
    peak_lr: f64,
    groups: Vec<GroupRow>,
    /// Learning-rate factors of the groups, smallest and largest.
    lr_scales: [f64; 2],
    steps_per_epoch: u64,
    total_steps: u64,
    epochs: u64,
    seed: u64,
    #[serde(flatten)]
    outlook: Outlook,
    warnings: Vec<String>,
}

/// How many images there are.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum ImageCounts {
    Together { images: usize, classes: usize },
    Divided { training_images: usize, validation_images: usize },
}

/// Parameters under one rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct GroupRow {
    lr_scale: f64,
    weight_decay: f64,
    tensors: usize,
    parameters: usize,
}

impl<C: Cost> Summary<C> {
    pub(crate) fn new(
        cost: C,
        settings: &Settings,
        data: &Data,
        words: String,
        plan: &Plan,
        groups: &[ParameterGroup],
        outlook: Outlook,
    ) -> Self {
        let scales = || groups.iter().map(|group| group.rule.lr_scale);
        let lr_scales = [scales().fold(f64::INFINITY, f64::min), scales().fold(0.0, f64::max)];
        let groups = groups.iter().map(|group| GroupRow {
            lr_scale: group.rule.lr_scale,
            weight_decay: group.rule.weight_decay,
            tensors: group.names.len(),
            parameters: group.elements,
        });
        let count = data.training.len();
        Self {
            cost,
            images: match &data.validation {
                None => ImageCounts::Together { images: count, classes: data.training.classes().len() },
                Some(held_out) => {
                    ImageCounts::Divided { training_images: count, validation_images: held_out.len() }
                }
            },
            data: words,
            remarks: data.remarks.clone(),
            accumulate: settings.train.accumulate,
            processes: plan.processes,
            effective_batch: plan.effective_batch,
            peak_lr: settings.optim.peak_lr(plan.effective_batch),
            groups: groups.collect(),
            lr_scales,
            steps_per_epoch: plan.steps_per_epoch(),
            total_steps: plan.total_steps,
            epochs: settings.train.epochs,
            seed: settings.seed,
            outlook,
            warnings: warm_up_warning(settings, plan).into_iter().collect(),
        }
    }
}

impl<C: Cost> fmt::Display for Summary<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.cost, self.outlook.memory())?;
        writeln!(f, "data         {}", self.data)?;
        for (word, sentence) in &self.remarks {
            writeln!(f, "{word:<12} {sentence}")?;
        }
        writeln!(
            f,
            "batch        {} × {} accumulated{} = {}, peak learning rate {:.3e}",
            self.outlook.batch_size(),
            self.accumulate,
            times_processes(self.processes),
            self.effective_batch,
            self.peak_lr
        )?;
        for line in group_lines(&self.groups) {
            writeln!(f, "group        {line}")?;
        }
        write!(
            f,
            "steps        {} in {} epochs of {}, seed {}",
            self.total_steps, self.epochs, self.steps_per_epoch, self.seed
        )?;
        write!(f, "{}", self.outlook)?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning      {warning}"))
    }
}

/// What to say of a run that ends within its warm-up.
fn warm_up_warning(settings: &Settings<'_>, plan: &Plan) -> Option<String> {
    let schedule = CosineSchedule::of(settings.optim, settings.train, plan.effective_batch);
    let (warmup, length) = (schedule.warmup_epochs, plan.epoch(plan.total_steps));
    if warmup == 0.0 || length > warmup {
        return None;
    }
    let last = schedule.lr_at(plan.epoch(plan.total_steps - 1));
    Some(format!(
        "the run ends after {length:.4} epochs, within the {warmup} of optim.warmup_epochs: the learning rate only \
         rises, to {last:.3e} at the last update, {:.1} % of its peak; give a shorter warm-up",
        100.0 * last / schedule.peak
    ))
}

/// A line for each weight decay, with the range of its learning rates where layers differ.
fn group_lines(groups: &[GroupRow]) -> Vec<String> {
    let mut decays: Vec<f64> = groups.iter().map(|group| group.weight_decay).collect();
    decays.sort_by(|a, b| b.total_cmp(a));
    decays.dedup();
    let line = |decay: f64| {
        let rows = || groups.iter().filter(move |group| group.weight_decay == decay);
        let low = rows().map(|row| row.lr_scale).fold(f64::INFINITY, f64::min);
        let high = rows().map(|row| row.lr_scale).fold(0.0, f64::max);
        let rates = match low == high {
            true if high == 1.0 => String::new(),
            true => format!(", learning rate × {high:.3}"),
            false => format!(", learning rate by layer × {low:.3} to {high:.3}"),
        };
        let tensors: usize = rows().map(|row| row.tensors).sum();
        let parameters: usize = rows().map(|row| row.parameters).sum();
        format!("weight decay {decay}: {tensors} tensors, {parameters} parameters{rates}")
    };
    decays.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::{LogConfig, OptimConfig, TrainConfig};
    use data::{AugmentConfig, DataConfig};

    #[test]
    fn groups_of_one_decay_are_one_line() {
        let row = |lr_scale, weight_decay| GroupRow { lr_scale, weight_decay, tensors: 2, parameters: 10 };
        let found = group_lines(&[row(0.4, 0.0), row(0.4, 0.05), row(1.0, 0.05)]);
        assert_eq!(
            found[0],
            "weight decay 0.05: 4 tensors, 20 parameters, learning rate by layer × 0.400 to 1.000"
        );
        assert_eq!(found[1], "weight decay 0: 2 tensors, 10 parameters, learning rate × 0.400");
    }

    #[test]
    fn a_run_that_ends_within_its_warm_up_is_warned_of_with_the_rate_that_it_reaches() {
        let warning = |warmup_epochs, epochs, max_steps| {
            let optim = OptimConfig { lr: Some(1e-3), warmup_epochs, ..OptimConfig::default() };
            let train = TrainConfig { epochs, max_steps, ..TrainConfig::default() };
            let (data, augment, log) =
                (DataConfig::default(), AugmentConfig::default(), LogConfig::default());
            let settings = Settings {
                seed: 0,
                data: &data,
                eval: &data::EvalConfig::default(),
                augment: &augment,
                optim: &optim,
                train: &train,
                log: &log,
            };
            warm_up_warning(&settings, &Plan::new(&train, 10, 1))
        };
        // 50 updates of 200 that warm up: the last one after 49.
        let found = warning(20.0, 5, None).unwrap();
        assert!(
            found.contains("after 5.0000 epochs, within the 20 of") && found.contains("2.450e-4"),
            "{found}"
        );
        assert!(found.contains("24.5 % of its peak"), "{found}");
        assert!(warning(1.0, 5, Some(10)).unwrap().contains("9.000e-4"));
        assert_eq!(
            [warning(1.0, 5, Some(11)), warning(0.0, 1, None), warning(4.0, 5, None)],
            [None, None, None]
        );
    }
}
