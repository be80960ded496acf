//! The learning rate over time.

use std::f64::consts::PI;

use crate::sections::{OptimConfig, TrainConfig};

/// Linear warm-up from 0, then half a cosine down to `min_lr` (`lr_sched.py` of the official
/// repository).
///
/// ```
/// use trainer::CosineSchedule;
///
/// let schedule = CosineSchedule { peak: 1e-3, min_lr: 0.0, warmup_epochs: 10.0, epochs: 100.0 };
/// assert_eq!(schedule.lr_at(5.0), 5e-4);
/// assert!(schedule.lr_at(100.0) < 1e-9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineSchedule {
    /// Learning rate at the end of warm-up.
    pub peak: f64,
    /// Learning rate at the end of training.
    pub min_lr: f64,
    /// Epochs of warm-up.
    pub warmup_epochs: f64,
    /// Epochs in all.
    pub epochs: f64,
}

impl CosineSchedule {
    /// The schedule of a run whose updates take so many images.
    pub fn of(optim: &OptimConfig, train: &TrainConfig, effective_batch: usize) -> Self {
        Self {
            peak: optim.peak_lr(effective_batch),
            min_lr: optim.min_lr,
            warmup_epochs: optim.warmup_epochs,
            epochs: train.epochs as f64,
        }
    }

    /// The rate after this many epochs, a fraction; behind the end, that at the end. A warm-up as long as
    /// the run or longer has no cosine behind it.
    pub fn lr_at(&self, epoch: f64) -> f64 {
        if epoch < self.warmup_epochs {
            return self.peak * epoch / self.warmup_epochs;
        }
        if self.epochs <= self.warmup_epochs {
            return self.peak;
        }
        let progress = ((epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs)).min(1.0);
        self.min_lr + (self.peak - self.min_lr) * 0.5 * (1.0 + (PI * progress).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use serde_json::Value;

    /// Rates in effect at sampled micro-steps of five official recipes, computed in Python by the
    /// official formula; they move only at the first micro-step of an accumulation group.
    const GOLDEN: &str = include_str!("../tests/goldens/schedule.json");

    #[test]
    fn rates_are_finite_where_there_is_no_cosine_and_behind_the_end() {
        let schedule =
            |warmup_epochs, epochs| CosineSchedule { peak: 0.5, min_lr: 0.0, warmup_epochs, epochs };
        let rates = |schedule: CosineSchedule| [0.0, 2.0, 4.0, 5.0].map(|epoch| schedule.lr_at(epoch));
        assert_eq!(rates(schedule(4.0, 4.0)), [0.0, 0.25, 0.5, 0.5]);
        assert_eq!(rates(schedule(4.0, 2.0)), [0.0, 0.25, 0.5, 0.5]);
        assert_eq!(rates(schedule(0.0, 4.0)), [0.5, 0.25, 0.0, 0.0]);
    }

    #[test]
    fn rates_equal_the_official_ones_at_every_sampled_step() {
        let cases: Value = serde_json::from_str(GOLDEN).unwrap();
        let mut compared = 0;
        for (name, case) in cases.as_object().unwrap() {
            let number = |key: &str| case[key].as_f64().unwrap();
            let schedule = CosineSchedule {
                peak: number("lr"),
                min_lr: number("min_lr"),
                warmup_epochs: number("warmup_epochs"),
                epochs: number("epochs"),
            };
            let (batches, accumulate) = (number("iters") as u64, number("update_freq") as u64);
            let train = TrainConfig { accumulate: accumulate as usize, ..TrainConfig::default() };
            let plan = Plan::new(&train, batches, 1);
            let sampled = case["iteration"].as_array().unwrap().iter().zip(case["value"].as_array().unwrap());
            for (iteration, expected) in sampled {
                let (iteration, expected) = (iteration.as_u64().unwrap(), expected.as_f64().unwrap());
                let group = iteration % batches / accumulate;
                if group == plan.steps_per_epoch() {
                    continue; // a group that the epoch's end cuts off makes no update
                }
                let step = iteration / batches * plan.steps_per_epoch() + group;
                let found = schedule.lr_at(plan.epoch(step));
                assert!(
                    (found - expected).abs() <= 1e-12 * expected.abs(),
                    "{name} {iteration}: {found} {expected}"
                );
                compared += 1;
            }
        }
        assert!(compared > 500, "{compared}");
    }
}
