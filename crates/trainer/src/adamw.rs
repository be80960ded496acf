//! AdamW with PyTorch's arithmetic, updating in place.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource};
use burn::store::burn_pack::Scalar;
use burn::tensor::{Device, Tensor};
use kernels::Arch;
use rayon::prelude::*;

/// Elements that a thread updates at a time.
const CHUNK: usize = 1 << 14;

/// Settings shared by all parameter groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// AdamW (arXiv:1711.05101) as `torch.optim.AdamW` computes it: decoupled decay first, then the
/// bias-corrected update.
///
/// Burn's own optimizer allocates several temporaries a parameter; this one makes a single pass
/// over memory on Flex and takes tensor operations elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Shared settings.
    pub config: AdamWConfig,
    /// Decoupled weight decay of this group.
    pub weight_decay: f64,
}

/// Moments of one parameter.
#[derive(Debug, Clone)]
pub struct Moments<const D: usize> {
    /// Of the gradient.
    pub first: Tensor<D>,
    /// Of its square.
    pub second: Tensor<D>,
    /// Updates done.
    pub steps: i64,
}

// By hand: the derive macro works inside Burn only.
impl<const D: usize> RecordState for Moments<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(prefix, "first", self.first.to_data());
        out.push_tensor(prefix, "second", self.second.to_data());
        out.push_scalar(prefix, "steps", Scalar::from(self.steps));
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let mut tensor = |leaf| src.take_tensor(prefix, leaf).map(|data| Tensor::from_data(data, device));
        let (first, second) = (tensor("first")?, tensor("second")?);
        Some(Self { first, second, steps: src.take_scalar(prefix, "steps")?.try_into().ok()? })
    }
}

/// What one update multiplies with.
struct Factors {
    keep: f32,
    beta_1: f32,
    beta_2: f32,
    /// Learning rate over the first bias correction.
    step_size: f32,
    /// Root of the second bias correction.
    root: f32,
    eps: f32,
}

impl AdamW {
    fn factors(&self, lr: f64, steps: i64) -> Factors {
        let [beta_1, beta_2] = self.config.betas;
        let correction = |beta: f64| 1.0 - beta.powf(steps as f64);
        Factors {
            keep: (1.0 - lr * self.weight_decay) as f32,
            beta_1: beta_1 as f32,
            beta_2: beta_2 as f32,
            step_size: (lr / correction(beta_1)) as f32,
            root: correction(beta_2).sqrt() as f32,
            eps: self.config.eps as f32,
        }
    }
}

impl Optimizer for AdamW {
    type State<const D: usize> = Moments<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        weight: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Moments<D>>,
    ) -> (Tensor<D>, Option<Moments<D>>) {
        let Moments { first, second, steps } = state.unwrap_or_else(|| Moments {
            first: weight.zeros_like(),
            second: weight.zeros_like(),
            steps: 0,
        });
        let steps = steps + 1;
        let factors = self.factors(lr, steps);
        let (weight, first, second) = match on_flex([&weight, &gradient, &first, &second]) {
            true => in_place(&factors, weight, &gradient, first, second),
            false => by_tensors(&factors, weight, gradient, first, second),
        };
        (weight, Some(Moments { first, second, steps }))
    }

    fn to_device<const D: usize>(state: Moments<D>, device: &Device) -> Moments<D> {
        let Moments { first, second, steps } = state;
        Moments { first: first.to_device(device), second: second.to_device(device), steps }
    }
}

fn on_flex<const D: usize>(tensors: [&Tensor<D>; 4]) -> bool {
    tensors.into_iter().all(|tensor| tensor.clone().try_into_primitive::<Flex>().is_ok())
}

/// One pass over memory. Every buffer that nobody else holds is updated where it lies.
fn in_place<const D: usize>(
    f: &Factors,
    weight: Tensor<D>,
    gradient: &Tensor<D>,
    first: Tensor<D>,
    second: Tensor<D>,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let [mut weight, mut first, mut second] = [weight, first, second].map(flex);
    let gradient = flex(gradient.clone());
    let elements = gradient.as_slice::<f32>().expect("a contiguous f32 tensor");
    let weights = weight.storage_mut::<f32>().par_chunks_mut(CHUNK);
    let moments = first
        .storage_mut::<f32>()
        .par_chunks_mut(CHUNK)
        .zip(second.storage_mut::<f32>().par_chunks_mut(CHUNK));
    weights.zip(elements.par_chunks(CHUNK)).zip(moments).for_each(
        |((weights, elements), (first, second))| {
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for ((w, g), (m, v)) in weights.iter_mut().zip(elements).zip(first.iter_mut().zip(second))
                    {
                        *m += (g - *m) * (1.0 - f.beta_1);
                        *v = f.beta_2 * *v + (1.0 - f.beta_2) * g * g;
                        *w = f.keep * *w - f.step_size * *m / (v.sqrt() / f.root + f.eps);
                    }
                },
            );
        },
    );
    let tensor = |t: FlexTensor| Tensor::from_primitive::<Flex>(t);
    (tensor(weight), tensor(first), tensor(second))
}

fn flex<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("checked to be on Flex").to_contiguous()
}

fn by_tensors<const D: usize>(
    f: &Factors,
    weight: Tensor<D>,
    gradient: Tensor<D>,
    first: Tensor<D>,
    second: Tensor<D>,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let first = first.clone() + (gradient.clone() - first) * (1.0 - f.beta_1);
    let second = second * f.beta_2 + gradient.square() * (1.0 - f.beta_2);
    let update = first.clone() * f.step_size / (second.clone().sqrt() / f.root + f.eps);
    (weight * f.keep - update, first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    const CONFIG: AdamWConfig = AdamWConfig { betas: [0.9, 0.95], eps: 1e-8 };

    fn gradient(step: usize) -> Vec<f32> {
        (0..5).map(|i| ((step * 5 + i) as f32).sin()).collect()
    }

    /// PyTorch's documented algorithm in double precision.
    fn reference(steps: usize, lr: f64, wd: f64) -> Vec<f64> {
        let ([b1, b2], mut w, mut m, mut v) = (CONFIG.betas, vec![0.5; 5], [0.0; 5], [0.0; 5]);
        for step in 0..steps {
            for (i, g) in gradient(step).into_iter().enumerate() {
                let g = f64::from(g);
                w[i] -= lr * wd * w[i];
                m[i] = b1 * m[i] + (1.0 - b1) * g;
                v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                let t = (step + 1) as i32;
                let (m_hat, v_hat) = (m[i] / (1.0 - b1.powi(t)), v[i] / (1.0 - b2.powi(t)));
                w[i] -= lr * m_hat / (v_hat.sqrt() + CONFIG.eps);
            }
        }
        w
    }

    #[test]
    fn both_paths_equal_the_published_algorithm() {
        let device = Device::flex();
        let tensor = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [5]), &device);
        let adamw = AdamW { config: CONFIG, weight_decay: 0.1 };
        let (mut weight, mut state) = (tensor(vec![0.5; 5]), None);
        let (mut slow, mut m, mut v) = (tensor(vec![0.5; 5]), tensor(vec![0.0; 5]), tensor(vec![0.0; 5]));
        for step in 0..7 {
            (weight, state) = adamw.step(0.01, weight, tensor(gradient(step)), state);
            let f = adamw.factors(0.01, step as i64 + 1);
            (slow, m, v) = by_tensors(&f, slow, tensor(gradient(step)), m, v);
        }
        let expected = reference(7, 0.01, 0.1);
        for found in [weight, slow] {
            let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }

    #[test]
    fn weights_and_moments_stay_where_they_are() {
        let device = Device::flex();
        let adamw = AdamW { config: CONFIG, weight_decay: 0.1 };
        let place = |tensor: &Tensor<1>| {
            let primitive = tensor.clone().try_into_primitive::<Flex>().unwrap();
            primitive.as_slice::<f32>().unwrap().as_ptr() as usize
        };
        let gradient = || Tensor::<1>::ones([9], &device);
        let (weight, state) = adamw.step(0.01, Tensor::zeros([9], &device), gradient(), None);
        let state = state.unwrap();
        let before = [place(&weight), place(&state.first), place(&state.second)];
        let (weight, state) = adamw.step(0.01, weight, gradient(), Some(state));
        let state = state.unwrap();
        assert_eq!(before, [place(&weight), place(&state.first), place(&state.second)]);
    }
}
