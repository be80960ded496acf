//! Every initial value, as a function of parameter name and seed alone.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::names::official_name;

/// Which initial values weights take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Truncated normal everywhere, biases zero: the paper's text, timm and transformers.
    TruncNormal {
        /// Standard deviation; 0.02 in all of them.
        std: f64,
    },
    /// What the official FCMAE code really does: it re-draws stem, depthwise and pointwise
    /// weights, `proj` and `pred` with σ = 1, and leaves the decoder's two linear layers at
    /// PyTorch's default. Only the 2×2 convolutions and the mask token get σ = 0.02.
    OfficialFcmae,
}

/// How one parameter is filled.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fill {
    Constant(f32),
    /// Normal, redrawn outside [−2, 2] (absolute bounds, as PyTorch's `trunc_normal_`).
    TruncNormal(f64),
    /// Uniform in ±bound.
    Uniform(f64),
}

impl Init {
    /// The table. `fan_in` is that of the parameter's layer.
    fn fill(self, name: &str, shape: &[usize], fan_in: usize) -> Fill {
        let leaf = name.rsplit('.').next().unwrap_or(name);
        let is_norm = leaf == "weight" && shape.len() == 1;
        let decoder_linear = name.starts_with("decoder.") && name.contains(".pwconv");
        let downsampling =
            name.starts_with("downsample_layers.") && !name.starts_with("downsample_layers.0.");
        match (self, leaf) {
            (Self::OfficialFcmae, "weight" | "bias") if decoder_linear => {
                Fill::Uniform(1.0 / (fan_in as f64).sqrt())
            }
            (_, "gamma" | "beta" | "bias") => Fill::Constant(0.0),
            _ if is_norm => Fill::Constant(1.0),
            (_, "mask_token") => Fill::TruncNormal(0.02),
            (Self::TruncNormal { std }, _) => Fill::TruncNormal(std),
            (Self::OfficialFcmae, _) if downsampling => Fill::TruncNormal(0.02),
            (Self::OfficialFcmae, _) => Fill::TruncNormal(1.0),
        }
    }
}

/// Gives every parameter of a module its initial value.
///
/// Each parameter has a random stream of its own, keyed by seed and official name, so the value
/// of one does not depend on what else the module holds, nor on the device.
pub fn initialize<M: Module>(module: M, init: Init, seed: u64) -> M {
    module.map(&mut Initializer { init, seed, path: Vec::new(), fan_in: 1 })
}

struct Initializer {
    init: Init,
    seed: u64,
    path: Vec<String>,
    /// Of the weight seen last: a bias follows its weight and shares its bound.
    fan_in: usize,
}

impl ModuleMapper for Initializer {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = official_name(&self.path.join("."));
        let shape = param.dims();
        if D > 1 {
            self.fan_in = shape[1..].iter().product();
        }
        let fill = self.init.fill(&name, &shape, self.fan_in);
        let values = draw(fill, shape.iter().product(), &mut stream(self.seed, &name));
        param.map(|old| {
            let new = Tensor::from_data(TensorData::new(values, shape), &old.device());
            new.set_require_grad(old.is_require_grad())
        })
    }
}

/// The random stream of one parameter.
fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    // FNV-1a: a fixed function, unlike the standard library's hashers.
    let hash = |offset: u64| {
        name.bytes().fold(offset, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&hash(0xcbf2_9ce4_8422_2325).to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

fn draw(fill: Fill, count: usize, rng: &mut impl Rng) -> Vec<f32> {
    match fill {
        Fill::Constant(value) => vec![value; count],
        Fill::Uniform(bound) => (0..count).map(|_| (rng.random_range(-1.0..1.0) * bound) as f32).collect(),
        Fill::TruncNormal(std) => {
            let values = std::iter::repeat_with(|| standard_normal(rng) * std);
            values.filter(|value| value.abs() <= 2.0).take(count).map(|value| value as f32).collect()
        }
    }
}

/// One standard normal number, by the Box–Muller transform.
fn standard_normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let var = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let largest = values.iter().fold(0.0, |m, &v| f64::from(v.abs()).max(m));
        (mean, var.sqrt(), largest)
    }

    #[test]
    fn draws_have_the_stated_moments() {
        let mut rng = stream(1, "x");
        let (mean, std, _) = moments(&draw(Fill::TruncNormal(0.02), 100_000, &mut rng));
        assert!(mean.abs() < 3e-4 && (std - 0.02).abs() < 2e-4, "{mean} {std}");
        // σ = 1 cut at ±2 leaves 0.88.
        let (mean, std, largest) = moments(&draw(Fill::TruncNormal(1.0), 100_000, &mut rng));
        assert!(mean.abs() < 0.01 && (std - 0.8796).abs() < 0.005 && largest <= 2.0, "{std}");
        let (_, std, largest) = moments(&draw(Fill::Uniform(0.5), 100_000, &mut rng));
        assert!((std - 0.5 / 3f64.sqrt()).abs() < 0.003 && largest <= 0.5, "{std}");
    }

    #[test]
    fn official_table() {
        let fill = |name: &str, shape: &[usize]| Init::OfficialFcmae.fill(name, shape, 16);
        assert_eq!(fill("downsample_layers.0.0.weight", &[8, 3, 4, 4]), Fill::TruncNormal(1.0));
        assert_eq!(fill("downsample_layers.1.1.weight", &[8, 3, 2, 2]), Fill::TruncNormal(0.02));
        assert_eq!(fill("downsample_layers.1.0.weight", &[8]), Fill::Constant(1.0));
        assert_eq!(fill("stages.0.0.pwconv1.weight", &[8, 2]), Fill::TruncNormal(1.0));
        assert_eq!(fill("stages.0.0.pwconv1.bias", &[8]), Fill::Constant(0.0));
        assert_eq!(fill("decoder.0.pwconv1.bias", &[8]), Fill::Uniform(0.25));
        assert_eq!(fill("decoder.0.dwconv.weight", &[8, 1, 7, 7]), Fill::TruncNormal(1.0));
        assert_eq!(fill("decoder.0.grn.gamma", &[1, 1, 1, 8]), Fill::Constant(0.0));
        assert_eq!(fill("mask_token", &[1, 8, 1, 1]), Fill::TruncNormal(0.02));
    }
}
