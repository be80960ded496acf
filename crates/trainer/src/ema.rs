//! The exponential moving average of the weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DispatchTensor, Tensor};
use host::{HostTensor, is_on_host};
use rayon::prelude::*;

/// Elements that a thread updates at a time.
const CHUNK: usize = 1 << 14;

/// A network whose weights follow those of another: e ← decay · e + (1 − decay) · w after every
/// update (timm's `ModelEmaV2`, which the official fine-tuning uses).
#[derive(Debug, Clone)]
pub struct Ema<M> {
    decay: f64,
    model: M,
}

impl<M: Module> Ema<M> {
    /// Starts at `model`, which is without autodiff.
    pub fn new(decay: f64, model: M) -> Self {
        Self { decay, model }
    }

    /// The averaged network.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// One step towards `model`, which is without autodiff.
    pub fn update(self, model: &M) -> Self {
        let mut weights = Weights(Vec::new());
        model.visit(&mut weights);
        let mut follow = Follow { decay: self.decay, weights: weights.0.into_iter() };
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

    #[test]
    fn five_updates_equal_the_recurrence() {
        let device = Device::flex();
        for decay in [0.9, 0.9999] {
            let start = Toy::new(0.0, &device);
            let mut expected = StateDict::of_module(&start, &name);
            let mut ema = Ema::new(decay, start);
            for step in 1..=5 {
                let model = Toy::new(step as f32, &device);
                ema = ema.update(&model);
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
