//! The three executions of the encoder are one function: same outputs, same gradients.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use model::encoder::Encoder;
use model::{Compute, ConvNextV2Config, Execution, GrnStats, Kernels, PatchMask, Sites};

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
            let old: Vec<f32> = old.into_data().try_into_vec().unwrap();
            let noise = numbers(old.len(), seed);
            let new = old.iter().zip(noise).map(|(old, noise)| old + 0.3 * noise).collect();
            Tensor::from_data(TensorData::new(new, shape), &device).set_require_grad(tracked)
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
        let gradient = param.val().grad(self.gradients).expect("every parameter has a gradient");
        self.found.insert(self.path.join("."), gradient.into_data().try_into_vec().unwrap());
    }
}

fn config() -> ConvNextV2Config {
    ConvNextV2Config {
        num_channels: 5,
        patch_size: 2,
        num_stages: 3,
        hidden_sizes: vec![6, 8, 10],
        depths: vec![1, 2, 1],
        ..ConvNextV2Config::default()
    }
}

fn encoder(stats: GrnStats, compute: Compute, device: &Device) -> Encoder {
    Encoder::zeros(&config(), stats, compute, device).map(&mut Perturb(0))
}

/// All kernels of every device.
fn ways() -> Vec<(Compute, Device)> {
    let devices = host::processors().into_iter();
    devices
        .flat_map(|device| Compute::all_on(&device).map(move |kernels| (kernels, device.clone())))
        .collect()
}

/// Maps of stem and stages, and every gradient of a fixed functional of them.
fn run(encoder: &Encoder, images: Tensor<4>, sites: &Sites) -> (Vec<Vec<f32>>, BTreeMap<String, Vec<f32>>) {
    let features = encoder.forward(images.clone(), sites, None);
    let maps: Vec<_> = features.iter().map(|features| features.map()).collect();
    let loss = maps
        .iter()
        .zip(100..)
        .map(|(map, seed)| (map.clone() * tensor(map.dims(), seed, &images.device())).sum())
        .reduce(|a, b| a + b)
        .unwrap();
    let gradients = loss.backward();
    let mut collect = Collect { gradients: &gradients, path: Vec::new(), found: BTreeMap::new() };
    encoder.visit(&mut collect);
    (maps.into_iter().map(|map| map.into_data().try_into_vec().unwrap()).collect(), collect.found)
}

fn assert_close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = a.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 3e-5 * scale, "{what}: {a} and {b}, scale {scale}");
    }
}

fn assert_same(a: &Encoder, images: &Tensor<4>, first: &Sites, second: &Sites) {
    let (maps_a, gradients_a) = run(a, images.clone(), first);
    let (maps_b, gradients_b) = run(a, images.clone(), second);
    for (i, (a, b)) in maps_a.iter().zip(&maps_b).enumerate() {
        assert_close(a, b, &format!("map {i}"));
    }
    assert!(gradients_a.len() > 30);
    for (name, a) in &gradients_a {
        assert_close(a, &gradients_b[name], name);
    }
}

#[test]
fn compact_equals_masked_on_a_non_square_image_of_five_channels() {
    for (kernels, device) in ways() {
        compact_equals_masked(GrnStats::Sample, kernels, &device.autodiff());
    }
    compact_equals_masked(GrnStats::Batch, Kernels::Reference.into(), &Device::flex().autodiff());
}

fn compact_equals_masked(stats: GrnStats, compute: Compute, device: &Device) {
    let images = tensor([2, 5, 32, 48], 7, device);
    let encoder = encoder(stats, compute, device);
    // 16-pixel patches keep 2×2 sites in the last stage, 8-pixel patches keep one.
    for (side, visible) in
        [(16, vec![vec![5, 0], vec![1, 2]]), (8, vec![vec![0, 7, 8, 23], vec![3, 4, 5, 13]])]
    {
        let mask = PatchMask::new([32 / side, 48 / side], visible).unwrap();
        let sites = |execution| Sites::masked(&mask, [side, side], execution, device);
        assert_same(&encoder, &images, &sites(Execution::Masked), &sites(Execution::Compact));
    }
}

#[test]
fn all_three_are_equal_when_everything_is_visible() {
    let mask = PatchMask::new([4, 2], vec![(0..8).collect(), (0..8).collect()]).unwrap();
    let plain = Sites::all(2, [32, 16]);
    for (kernels, device) in ways() {
        let device = device.autodiff();
        let images = tensor([2, 5, 32, 16], 8, &device);
        let encoder = encoder(GrnStats::Sample, kernels, &device);
        for execution in [Execution::Masked, Execution::Compact] {
            assert_same(&encoder, &images, &plain, &Sites::masked(&mask, [8, 8], execution, &device));
        }
    }
}

#[test]
fn hidden_pixels_cannot_change_visible_features() {
    let device = Device::flex();
    let encoder = encoder(GrnStats::Batch, Kernels::Reference.into(), &device);
    let images = tensor([2, 5, 32, 48], 9, &device);
    let visible = vec![vec![5, 0], vec![1, 2]];
    let mask = PatchMask::new([2, 3], visible).unwrap();
    for execution in [Execution::Masked, Execution::Compact] {
        let sites = Sites::masked(&mask, [16, 16], execution, &device);
        let shown = Sites::masked(&mask, [16, 16], Execution::Masked, &device);
        let keep = shown.scatter(shown.hide(Tensor::ones([2, 32 * 48, 5], &device)));
        let other = images.clone() * keep.clone() + (keep.neg() + 1.0) * 50.0;
        let maps = |images| -> Vec<Vec<f32>> {
            let features = encoder.forward(images, &sites, None);
            features.iter().map(|f| f.map().into_data().try_into_vec().unwrap()).collect()
        };
        assert_eq!(maps(images.clone()), maps(other));
    }
}

#[test]
fn a_channel_that_is_zero_everywhere_has_a_finite_gradient() {
    let device = Device::flex().autodiff();
    let grn = model::grn::Grn::new(3, GrnStats::Sample, &device).map(&mut Perturb(3));
    let mut values = numbers(2 * 4 * 3, 5);
    values.iter_mut().skip(1).step_by(3).for_each(|value| *value = 0.0);
    let x = Tensor::<3>::from_data(TensorData::new(values, [2, 4, 3]), &device).require_grad();
    let y = grn.forward(x.clone(), &Sites::all(2, [2, 2]));
    let gradients = y.square().sum().backward();
    let dx: Vec<f32> = x.grad(&gradients).unwrap().into_data().try_into_vec().unwrap();
    assert!(dx.iter().all(|value| value.is_finite()), "{dx:?}");
    assert!(dx.iter().any(|value| *value != 0.0));
}
