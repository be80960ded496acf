//! The exponential moving average of the weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DispatchTensor, Tensor};
use host::{HostTensor, is_on_host};
use rayon::prelude::*;

/// Elements that a thread updates at a time.
const CHUNK: usize = 1 << 14;

/// How much of a moving average stays at an update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmaDecay {
    /// The share that stays, in [0, 1); the most of it, with a warm-up.
    pub decay: f64,
    /// Whether less stays at first, as in timm's `ModelEmaV3` with `use_warmup`: 1 − n^(−2/3) at update n,
    /// so that nothing of the initial weights remains.
    pub warmup: bool,
}

impl EmaDecay {
    /// The share that stays at update number `update`, counted from 1.
    pub fn at(&self, update: u64) -> f64 {
        match self.warmup {
            true => (1.0 - (update as f64).powf(-2.0 / 3.0)).min(self.decay),
            false => self.decay,
        }
    }
}

/// A network whose weights follow those of another: e ← decay · e + (1 − decay) · w after every
/// update (timm's `ModelEmaV2`, which the official fine-tuning uses; with a warm-up, `ModelEmaV3`).
#[derive(Debug, Clone)]
pub struct Ema<M> {
    decay: EmaDecay,
    model: M,
}

impl<M: Module> Ema<M> {
    /// Starts at `model`, which is without autodiff.
    pub fn new(decay: EmaDecay, model: M) -> Self {
        Self { decay, model }
    }

    /// The averaged network.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// One step towards `model`, which is without autodiff, after update number `update`, counted from 1.
    pub fn update(self, model: &M, update: u64) -> Self {
        let mut weights = Weights(Vec::new());
        model.visit(&mut weights);
        let mut follow = Follow { decay: self.decay.at(update), weights: weights.0.into_iter() };
        Self { model: self.model.map(&mut follow), ..self }
    }
}

/// Collects the weights in the order of the module.
struct Weights(Vec<DispatchTensor>);

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into_dispatch());
    }
}

struct Follow {
    decay: f64,
    weights: std::vec::IntoIter<DispatchTensor>,
}

impl ModuleMapper for Follow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(weight) = self.weights.next() else { return param };
        let weight = Tensor::<D>::from_dispatch(weight);
        param.map(|average| follow(average, weight, self.decay))
    }
}

/// In place on the host, by tensor operations elsewhere.
fn follow<const D: usize>(average: Tensor<D>, weight: Tensor<D>, decay: f64) -> Tensor<D> {
    if !(is_on_host(&average.device()) && is_on_host(&weight.device())) {
        return average * decay + weight * (1.0 - decay);
    }
    let [Some(mut average), Some(weight)] = [average, weight.clone()].map(HostTensor::new) else {
        return weight;
    };
    let (keep, take) = (decay as f32, (1.0 - decay) as f32);
    average.values_mut().par_chunks_mut(CHUNK).zip(weight.values().par_chunks(CHUNK)).for_each(
        |(average, weights)| average.iter_mut().zip(weights).for_each(|(a, w)| *a = keep * *a + take * w),
    );
    average.into_tensor()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Toy, name};
    use burn::tensor::Device;
    use checkpoint::StateDict;

    /// `ModelEmaV3(model, decay, use_warmup=True)` of timm 1.0.31, in double precision: decays, and the
    /// average of a weight that is 1 at first and n² mod 17 after update n.
    #[test]
    fn the_warm_up_is_that_of_timm() {
        for (decay, goldens) in [
            (0.9, [(1, 0.0, 1.0), (5, 0.6580048106646605, 9.226751803917415), (40, 0.9, 7.057786558953268)]),
            (
                0.999,
                [
                    (2, 0.3700394750525634, 2.8898815748423097),
                    (20, 0.8642791191702547, 6.117061604353222),
                    (60, 0.9347522059805189, 8.443986777806176),
                ],
            ),
        ] {
            let warm = EmaDecay { decay, warmup: true };
            for (update, at, average) in goldens {
                assert!((warm.at(update) - at).abs() < 1e-15, "{update}");
                let follow = |e: f64, n: u64| warm.at(n) * e + (1.0 - warm.at(n)) * (n * n % 17) as f64;
                assert!(((1..=update).fold(1.0, follow) - average).abs() < 1e-12, "{update}");
            }
        }
        // Nothing is left of the first weights, of which 0.999 alone would keep almost a half.
        let left = |warmup| (1..=780).map(|n| EmaDecay { decay: 0.999, warmup }.at(n)).product::<f64>();
        assert_eq!(left(true), 0.0);
        assert!((left(false) - 0.458).abs() < 1e-3);
    }

    #[test]
    fn five_updates_equal_the_recurrence() {
        let device = Device::flex();
        for (decay, warmup) in [(0.9, false), (0.9999, false), (0.9, true)] {
            let share = EmaDecay { decay, warmup };
            let start = Toy::new(0.0, &device);
            let mut expected = StateDict::of_module(&start, &name);
            let mut ema = Ema::new(share, start);
            for step in 1..=5 {
                let model = Toy::new(step as f32, &device);
                ema = ema.update(&model, step);
                let decay = share.at(step);
                let now = StateDict::of_module(&model, &name);
                expected = expected
                    .iter()
                    .map(|(name, entry)| {
                        let weights = &now.get(name).unwrap().values;
                        let values = entry
                            .values
                            .iter()
                            .zip(weights)
                            .map(|(e, w)| (decay * f64::from(*e) + (1.0 - decay) * f64::from(*w)) as f32);
                        let values = values.collect();
                        (name.to_owned(), checkpoint::Entry { shape: entry.shape.clone(), values })
                    })
                    .fold(StateDict::default(), |mut dict, (name, entry)| {
                        dict.insert(name, entry);
                        dict
                    });
            }
            let found = StateDict::of_module(ema.model(), &name);
            assert_eq!(found.len(), 3);
            for (name, entry) in expected.iter() {
                for (a, b) in found.get(name).unwrap().values.iter().zip(&entry.values) {
                    assert!((a - b).abs() < 1e-6, "{name}: {a} {b}");
                }
            }
        }
    }
}
