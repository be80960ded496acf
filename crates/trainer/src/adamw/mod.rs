//! AdamW with PyTorch's arithmetic, updating in place.

use burn::optim::{LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};
use host::{HostTensor, is_on_host};
use kernels::Arch;
use rayon::prelude::*;

#[cfg_attr(not(feature = "tch"), path = "no_libtorch.rs")]
mod libtorch;
mod moments;

pub use moments::{AdamWConfig, Moments};

/// Elements that a thread updates at a time.
const CHUNK: usize = 1 << 14;

/// AdamW (arXiv:1711.05101) as `torch.optim.AdamW` computes it: decoupled decay first, then the
/// bias-corrected update.
///
/// Burn's own optimizer allocates several temporaries a parameter; this one makes a single pass
/// over memory on the host and takes tensor operations elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Shared settings.
    pub config: AdamWConfig,
    /// Decoupled weight decay of this group.
    pub weight_decay: f64,
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
        if [&weight, &gradient, &first, &second].iter().all(|tensor| is_on_host(&tensor.device())) {
            let [mut weight, mut first, mut second] = [weight, first, second].map(on_host);
            in_place(&factors, &mut weight, &on_host(gradient), [&mut first, &mut second]);
            let [weight, first, second] = [weight, first, second].map(HostTensor::into_tensor);
            return (weight, Some(Moments { first, second, steps }));
        }
        if host::is_libtorch(&weight.device()) {
            let moments = Moments { first, second, steps };
            let (weight, moments) =
                libtorch::update(lr, &self.config, self.weight_decay, weight, gradient, moments);
            return (weight, Some(moments));
        }
        let (weight, first, second) = by_tensors(&factors, weight, gradient, first, second);
        (weight, Some(Moments { first, second, steps }))
    }

    fn to_device<const D: usize>(state: Moments<D>, device: &Device) -> Moments<D> {
        let Moments { first, second, steps } = state;
        Moments { first: first.to_device(device), second: second.to_device(device), steps }
    }
}

fn on_host<const D: usize>(tensor: Tensor<D>) -> HostTensor {
    HostTensor::new(tensor).expect("checked to be on the host; optimizers get tensors without autodiff")
}

/// One pass over memory. Every buffer that nobody else holds is updated where it lies.
fn in_place(f: &Factors, weight: &mut HostTensor, gradient: &HostTensor, moments: [&mut HostTensor; 2]) {
    let [first, second] = moments.map(|moment| moment.values_mut().par_chunks_mut(CHUNK));
    let weights = weight.values_mut().par_chunks_mut(CHUNK);
    weights.zip(gradient.values().par_chunks(CHUNK)).zip(first.zip(second)).for_each(
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
        for device in host::processors() {
            let tensor = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [5]), &device);
            let adamw = AdamW { config: CONFIG, weight_decay: 0.1 };
            let (mut weight, mut state) = (tensor(vec![0.5; 5]), None);
            let (mut slow, mut m, mut v) = (tensor(vec![0.5; 5]), tensor(vec![0.0; 5]), tensor(vec![0.0; 5]));
            for step in 0..7 {
                (weight, state) = adamw.step(0.01, weight, tensor(gradient(step)), state);
                let f = adamw.factors(0.01, step as i64 + 1);
                (slow, m, v) = by_tensors(&f, slow, tensor(gradient(step)), m, v);
            }
            assert_published(weight);
            assert_published(slow);
        }
    }

    fn assert_published(weight: Tensor<1>) {
        let found: Vec<f32> = weight.into_data().try_into_vec().unwrap();
        for (found, expected) in found.iter().zip(&reference(7, 0.01, 0.1)) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[cfg(feature = "tch")]
    #[test]
    fn the_fused_kernel_of_libtorch_equals_the_published_algorithm() {
        let device = &host::processors()[1];
        let tensor = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [5]), device);
        let adamw = AdamW { config: CONFIG, weight_decay: 0.1 };
        let mut weight = tensor(vec![0.5; 5]);
        let mut state = Moments { first: weight.zeros_like(), second: weight.zeros_like(), steps: 0 };
        let untouched = weight.clone();
        for step in 0..7 {
            state.steps += 1;
            (weight, state) = libtorch::update(
                0.01,
                &adamw.config,
                adamw.weight_decay,
                weight,
                tensor(gradient(step)),
                state,
            );
        }
        assert_published(weight);
        assert_eq!(untouched.into_data().try_into_vec::<f32>().unwrap(), [0.5; 5]);
    }

    #[test]
    fn weights_and_moments_stay_where_they_are() {
        host::processors().iter().for_each(assert_in_place);
    }

    fn assert_in_place(device: &Device) {
        let adamw = AdamW { config: CONFIG, weight_decay: 0.1 };
        let place = |tensor: &Tensor<1>| HostTensor::new(tensor.clone()).unwrap().values().as_ptr() as usize;
        let gradient = || Tensor::<1>::ones([9], device);
        let (weight, state) = adamw.step(0.01, Tensor::zeros([9], device), gradient(), None);
        let state = state.unwrap();
        let before = [place(&weight), place(&state.first), place(&state.second)];
        let (weight, state) = adamw.step(0.01, weight, gradient(), Some(state));
        let state = state.unwrap();
        assert_eq!(before, [place(&weight), place(&state.first), place(&state.second)]);
    }
}
