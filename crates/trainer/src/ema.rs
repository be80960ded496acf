//! The exponential moving average of the weights.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{DispatchTensor, Tensor};
use host::Lists;

use crate::tensor_list::{TensorList, give, take};

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
    pub fn update(self, model: &M, update: u64, lists: Lists) -> Self {
        let ids = Parameters::of(&self.model).ids;
        let (average, taken) = take(self.model, &ids);
        let mut averages = TensorList::new(lists, taken.weights);
        let weights = TensorList::new(lists, Parameters::of(model).weights);
        averages.follow(&weights, self.decay.at(update));
        Self { model: give(average, &ids, averages.into_tensors()), ..self }
    }
}

/// The parameters of a module, in its order.
#[derive(Default)]
struct Parameters {
    ids: Vec<ParamId>,
    weights: Vec<DispatchTensor>,
}

impl Parameters {
    fn of<M: Module>(model: &M) -> Self {
        let mut parameters = Self::default();
        model.visit(&mut parameters);
        parameters
    }
}

impl ModuleVisitor for Parameters {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.ids.push(param.id);
        self.weights.push(param.val().into_dispatch());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Toy, all_lists, name};
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
        let kinds = [(0.9, false), (0.9999, false), (0.9, true)];
        let all = all_lists().into_iter().flat_map(|list| kinds.map(|kind| (list.clone(), kind)));
        for ((lists, device), (decay, warmup)) in all {
            let share = EmaDecay { decay, warmup };
            let start = Toy::new(0.0, &device);
            let mut expected = StateDict::of_module(&start, &name);
            let mut ema = Ema::new(share, start);
            for step in 1..=5 {
                let model = Toy::new(step as f32, &device);
                ema = ema.update(&model, step, lists);
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
