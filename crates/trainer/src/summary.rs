//! What a run is going to do and what it will cost, shown before it starts.

use std::fmt;
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use serde::Serialize;

use crate::error::times_processes;
use crate::experiment::{Cost, Data, Settings};
use crate::groups::ParameterGroup;
use crate::plan::Plan;

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
    batch_size: usize,
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
    /// At this machine's speed; a rough guess from a short measurement.
    expected_hours: f64,
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
        device: &Device,
    ) -> Self {
        // Forward and backward are three times the work of forward.
        let images = plan.effective_batch as f64 / plan.processes as f64 * plan.total_steps as f64;
        let work = 3.0 * cost.forward_macs() as f64 * images;
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
            batch_size: settings.train.batch_size,
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
            expected_hours: work / (matrix_speed(device) * USUAL_SHARE) / 3600.0,
        }
    }
}

impl<C: Cost> fmt::Display for Summary<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cost)?;
        writeln!(f, "data         {}", self.data)?;
        for (word, sentence) in &self.remarks {
            writeln!(f, "{word:<12} {sentence}")?;
        }
        writeln!(
            f,
            "batch        {} × {} accumulated{} = {}, peak learning rate {:.3e}",
            self.batch_size,
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
        match self.expected_hours {
            0.0 => Ok(()),
            hours => write!(f, "\nfinish       roughly {} from now", duration(hours)),
        }
    }
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

/// Share of the speed of a large matrix product that a training step usually reaches (measured).
const USUAL_SHARE: f64 = 0.15;

/// Multiply-adds a second of a large matrix product on the device.
fn matrix_speed(device: &Device) -> f64 {
    const SIDE: usize = 768;
    let matrix = Tensor::<2>::ones([SIDE, SIDE], &device.clone().inner());
    let product = || drop(matrix.clone().matmul(matrix.clone()).into_data());
    product();
    let start = Instant::now();
    (0..3).for_each(|_| product());
    3.0 * (SIDE as f64).powi(3) / start.elapsed().as_secs_f64()
}

/// `40 s`, `12 min`, `5.2 h` or `3.1 days`.
fn duration(hours: f64) -> String {
    match hours {
        h if h < 1.0 / 60.0 => format!("{:.0} s", (h * 3600.0).ceil()),
        h if h < 1.0 => format!("{:.0} min", h * 60.0),
        h if h < 48.0 => format!("{h:.1} h"),
        h => format!("{:.1} days", h / 24.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn durations_read_as_people_say_them() {
        assert_eq!(duration(0.001), "4 s");
        assert_eq!(duration(0.2), "12 min");
        assert_eq!([duration(5.2), duration(74.4)], ["5.2 h".to_owned(), "3.1 days".to_owned()]);
    }
}
