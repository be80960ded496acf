//! How often a run is looked at.

use crate::experiment::Cost;
use crate::health::section::HealthConfig;
use crate::health::subjects::Subjects;
use crate::plan::Plan;

/// Share of training that looking may cost unasked.
const AFFORDABLE: f64 = 0.02;
/// Forward passes that forward and backward of a training image are worth.
const OF_TRAINING: f64 = 3.0;
/// Forward passes that measuring what an image shows is worth, with the pass itself (measured).
const OF_MEASURING: f64 = 2.0;

/// When the health of a run is looked at; its end always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthPlan {
    /// Epochs between two looks.
    pub every_epochs: u64,
}

impl HealthPlan {
    /// As the configuration says, or else by multiply-adds, which are the same on every machine: the fewest
    /// epochs at which a look costs less than 2 % of the training between two. Every process looks by itself,
    /// so that the share grows with their number.
    pub fn of(config: &HealthConfig, cost: &impl Cost, subjects: &Subjects, plan: &Plan) -> Self {
        if let Some(every_epochs) = config.every_epochs {
            return Self { every_epochs };
        }
        let macs = [cost.forward_macs(), cost.dense_macs()];
        Self { every_epochs: affordable(subjects.counts(), macs, plan) }
    }
}

/// Epochs between two looks at so many images, measured and probed ones, by multiply-adds of a training image
/// and of one that is looked at.
fn affordable([measured, probed]: [usize; 2], macs: [u64; 2], plan: &Plan) -> u64 {
    // Networks that nobody has counted: by images.
    let [training, dense] = macs.map(|macs| macs.max(1) as f64);
    // The loss beside it, as in training.
    let look = measured as f64 * (OF_MEASURING * dense + training) + probed as f64 * dense;
    let images = plan.steps_per_epoch() as f64 * (plan.effective_batch / plan.processes) as f64;
    let epochs = look / (AFFORDABLE * OF_TRAINING * images * training);
    // Less than, not as much as.
    epochs.floor() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::TrainConfig;

    #[test]
    fn a_look_costs_less_than_a_fiftieth_of_the_training_between_two() {
        let plan = |batches, processes| {
            let train = TrainConfig { batch_size: 50, accumulate: 1, ..TrainConfig::default() };
            Plan::new(&train, batches, processes)
        };
        // 1000 images an epoch, each worth three times 2 multiply-adds: less than 120 are affordable an epoch.
        // 1 · (2 · 3 + 2) + 37 · 3 are 119, and 40 · 3 are 120.
        let of_small = |counts| affordable(counts, [2, 3], &plan(20, 1));
        assert_eq!([of_small([1, 37]), of_small([0, 40]), of_small([1, 38])], [1, 2, 2]);
        // 100 · 12 + 500 · 5 are 3700.
        assert_eq!(affordable([100, 500], [2, 5], &plan(20, 1)), 31);
        // Each of two processes looks at all images, and trains on its part.
        assert_eq!(affordable([100, 500], [2, 5], &plan(10, 2)), 62);
        // By images.
        assert_eq!(affordable([100, 500], [0, 0], &plan(2000, 1)), 1);
    }
}
