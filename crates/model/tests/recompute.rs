//! Blocks that keep their input alone and compute the rest again: the same gradients, bit for bit.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use host::Precision;
use model::drop_path::DropPath;
use model::{
    Compute, ConvNextV2Config, Decoder, Encoder, Execution, GrnStats, Kernels, PatchMask, Predict, Sites,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A cheap fixed sequence in [−1, 1).
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn tensor<const D: usize>(shape: [usize; D], seed: u32, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers(shape.iter().product(), seed), shape), device)
}

/// Moves every parameter away from the special values it starts at.
struct Perturb(u32);

impl ModuleMapper for Perturb {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.0 += 1;
        let (shape, seed) = (param.dims(), self.0);
        param.map(|old| {
            let (device, tracked) = (old.device(), old.is_require_grad());
            (old + tensor(shape, seed, &device) * 0.3).detach().set_require_grad(tracked)
        })
    }
}

struct Collect<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.found
                .insert(self.path.join("."), gradient.into_data().convert::<f32>().try_into_vec().unwrap());
        }
    }
}

fn gradients(module: &impl Module, gradients: &Gradients) -> BTreeMap<String, Vec<f32>> {
    let mut collect = Collect { gradients, path: Vec::new(), found: BTreeMap::new() };
    module.visit(&mut collect);
    collect.found
}

/// A way through the network.
#[derive(Debug, Clone, Copy)]
struct Way {
    compute: Compute,
    /// Masked so; every site without.
    execution: Option<Execution>,
    stats: GrnStats,
    drop_path: bool,
}

const SIDE: usize = 8;

/// The loss of encoder and decoder as in pretraining, or of the encoder alone.
fn loss(encoder: &Encoder, decoder: &Decoder, way: Way, device: &Device) -> Tensor<1> {
    let images = tensor([2, 3, 16, 24], 7, device);
    let streams = (0..2).map(ChaCha8Rng::seed_from_u64);
    let drop_path = way.drop_path.then(|| DropPath::sample(&[0.3; 3], streams, device));
    let Some(execution) = way.execution else {
        let features = encoder.forward(images, &Sites::all(2, [16, 24]), drop_path.as_ref());
        let last = features.last().unwrap().tokens.clone();
        return (last.clone() * tensor(last.dims(), 9, device)).sum();
    };
    let mask = PatchMask::new([2, 3], vec![vec![0, 5], vec![1, 2]]).unwrap();
    let sites = Sites::masked(&mask, [SIDE, SIDE], execution, device);
    let features = encoder.forward(images, &sites, drop_path.as_ref());
    let last = features.last().unwrap();
    let visible = match execution {
        Execution::Compact => last.tokens.clone(),
        Execution::Masked => mask.visible_rows(device).select(last.tokens.clone()),
    };
    let predicted = decoder.forward(visible, &mask, Predict::Hidden);
    (predicted.clone() * tensor(predicted.dims(), 9, device)).sum()
}

fn run(way: Way, device: &Device) -> (f32, BTreeMap<String, Vec<f32>>) {
    let config = ConvNextV2Config {
        patch_size: 2,
        num_stages: 2,
        hidden_sizes: vec![6, 10],
        depths: vec![1, 2],
        ..ConvNextV2Config::default()
    };
    let encoder = Encoder::zeros(&config, way.stats, way.compute, device).map(&mut Perturb(0));
    let decoder = Decoder::zeros(&config, 12, 2, way.compute, device).map(&mut Perturb(100));
    let loss = loss(&encoder, &decoder, way, device);
    let value = loss.clone().into_scalar::<f32>();
    let found = loss.backward();
    let mut all = gradients(&encoder, &found);
    all.extend(
        gradients(&decoder, &found).into_iter().map(|(name, values)| (format!("decoder.{name}"), values)),
    );
    (value, all)
}

/// All that has blocks which are one operation.
fn ways() -> Vec<(Way, Device)> {
    let mut ways = Vec::new();
    for device in host::processors() {
        for compute in Compute::all_on(&device).filter(|compute| compute.kernels != Kernels::Reference) {
            let mut precisions = vec![Precision::F32];
            if compute.kernels == Kernels::Aten {
                precisions.push(Precision::Bf16);
            }
            let mut executions = vec![None, Some(Execution::Compact)];
            if compute.kernels == Kernels::Aten {
                executions.push(Some(Execution::Masked));
            }
            for precision in precisions {
                for &execution in &executions {
                    for (stats, drop_path) in
                        [(GrnStats::Sample, false), (GrnStats::Sample, true), (GrnStats::Batch, true)]
                    {
                        let compute = Compute { precision, ..compute };
                        ways.push((Way { compute, execution, stats, drop_path }, device.clone().autodiff()));
                    }
                }
            }
        }
    }
    ways
}

#[test]
fn gradients_are_the_same_bit_for_bit() {
    let ways = ways();
    assert!(ways.len() >= 6);
    for (way, device) in ways {
        let (loss, kept) = run(way, &device);
        let compute = Compute { recompute: true, ..way.compute };
        let (same_loss, again) = run(Way { compute, ..way }, &device);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(loss.to_bits(), same_loss.to_bits(), "{way:?}");
        assert!(kept.len() > 30 && kept.len() == again.len(), "{way:?}: {} and {}", kept.len(), again.len());
        for (name, values) in &kept {
            assert_eq!(bits(values), bits(&again[name]), "{way:?} {name}");
        }
    }
}

/// What is computed again is not kept: ATen's GELU runs in the backward pass, once for every block.
#[cfg(feature = "tch")]
#[test]
fn the_backward_pass_computes_blocks_again() {
    let device = host::processors().remove(1).autodiff();
    let config = ConvNextV2Config {
        num_stages: 2,
        hidden_sizes: vec![6, 10],
        depths: vec![1, 2],
        ..ConvNextV2Config::default()
    };
    for (recompute, expected) in [(false, 0), (true, 3)] {
        let compute = Compute { recompute, ..Compute::from(Kernels::Aten) };
        let encoder = Encoder::zeros(&config, GrnStats::Sample, compute, &device).map(&mut Perturb(0));
        let features = encoder.forward(tensor([1, 3, 16, 16], 3, &device), &Sites::all(1, [16, 16]), None);
        let loss = features.last().unwrap().tokens.clone().sum();
        let (_, operations) = host::libtorch::counter::count(|| loss.backward());
        let found = operations.by_name.get("aten::gelu").copied().unwrap_or(0);
        assert_eq!(found, expected, "recompute: {recompute}");
    }
}
