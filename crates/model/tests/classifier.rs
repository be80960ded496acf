//! The plain classifier against PyTorch in double precision: features, logits, loss and every
//! gradient, within the tolerances of the fixtures (forward 1e-4 relative + 1e-5, gradients 1e-3
//! of a tensor's largest magnitude).

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData, activation};
use checkpoint::StateDict;
use model::{
    Compute, ConvNextV2Backbone, ConvNextV2Config, ConvNextV2ForImageClassification, ConvNextV2Model, Engine,
    Format, PreparedClassifier, official_name,
};

fn golden() -> StateDict {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/tiny_cls.safetensors");
    StateDict::load(&path).unwrap()
}

fn tensor<const D: usize>(dict: &StateDict, name: &str, device: &Device) -> Tensor<D> {
    let entry = dict.get(name).unwrap();
    Tensor::from_data(TensorData::new(entry.values.clone(), entry.shape.clone()), device)
}

fn config() -> ConvNextV2Config {
    ConvNextV2Config {
        depths: vec![1, 1, 2, 1],
        hidden_sizes: vec![8, 16, 32, 64],
        num_labels: 10,
        ..ConvNextV2Config::default()
    }
}

fn classifier(dict: &StateDict, compute: Compute, device: &Device) -> ConvNextV2ForImageClassification {
    let mut parameters = StateDict::default();
    for (name, entry) in dict.iter() {
        if let Some(name) = name.strip_prefix("param.") {
            parameters.insert(name.to_owned(), entry.clone());
        }
    }
    let fresh = ConvNextV2ForImageClassification::new(&config(), 0, device).unwrap().with_compute(compute);
    let (classifier, report) = parameters.apply_to(fresh, &official_name);
    report.require_complete().unwrap();
    classifier
}

/// All kernels of every device.
fn ways() -> Vec<(Compute, Device)> {
    let devices = host::processors().into_iter();
    devices
        .flat_map(|device| Compute::all_on(&device).map(move |kernels| (kernels, device.clone())))
        .collect()
}

fn assert_close<const D: usize>(found: Tensor<D>, expected: &[f32]) {
    assert_close_values(&found.into_data().try_into_vec::<f32>().unwrap(), expected);
}

fn assert_close_values(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 + 1e-4 * b.abs(), "{a}, expected {b}");
    }
}

/// Cross entropy with 10 % of each target spread over all classes.
fn smoothed_loss(logits: Tensor<2>, labels: &[f32]) -> Tensor<1> {
    let classes = logits.dims()[1];
    let target = |&label: &f32| {
        (0..classes).map(move |class| 0.1 / classes as f32 + if class == label as usize { 0.9 } else { 0.0 })
    };
    let targets: Vec<f32> = labels.iter().flat_map(target).collect();
    let targets = Tensor::<2>::from_data(TensorData::new(targets, [labels.len(), classes]), &logits.device());
    (activation::log_softmax(logits, 1) * targets).sum_dim(1).mean().neg()
}

#[test]
fn features_and_logits() {
    let dict = golden();
    ways().into_iter().for_each(|(kernels, device)| check_forward(&dict, kernels, &device));
}

fn check_forward(dict: &StateDict, compute: Compute, device: &Device) {
    let classifier = classifier(dict, compute, device);
    let images = tensor::<4>(dict, "images", device);
    let output = classifier.convnextv2.forward(images.clone(), true, None);
    assert_close(output.pooler_output, &dict.get("features").unwrap().values);
    assert_close(classifier.forward(images, None), &dict.get("logits").unwrap().values);
    let shapes: Vec<_> = output.hidden_states.unwrap().iter().map(|state| state.dims()).collect();
    assert_eq!(shapes, [[2, 8, 16, 16], [2, 8, 16, 16], [2, 16, 8, 8], [2, 32, 4, 4], [2, 64, 2, 2]]);
    assert_eq!(output.last_hidden_state.dims(), [2, 64, 2, 2]);
}

/// Packed once, with the norms folded into what follows them: image by image as in a batch.
#[test]
fn prepared_for_inference() {
    let dict = golden();
    let [images, logits] = ["images", "logits"].map(|name| dict.get(name).unwrap());
    let shape: [usize; 4] = images.shape.clone().try_into().unwrap();
    let (size, outputs) = (images.values.len() / shape[0], logits.values.len() / shape[0]);
    for (compute, device) in ways() {
        let network = classifier(&dict, compute, &device);
        let fused = compute.engine(&device) == Engine::Slices;
        let Some(prepared) = PreparedClassifier::new(&network, Format::F32) else {
            assert!(!fused, "our kernels compute on {device:?}");
            continue;
        };
        assert!(fused, "others were asked for");
        assert_close_values(&prepared.forward(&images.values, shape), &logits.values);
        for (image, logits) in images.values.chunks(size).zip(logits.values.chunks(outputs)) {
            assert_close_values(&prepared.forward(image, [1, shape[1], shape[2], shape[3]]), logits);
        }
        let mut features = network;
        features.head = None;
        let prepared = PreparedClassifier::new(&features, Format::F32).unwrap();
        assert_close_values(&prepared.forward(&images.values, shape), &dict.get("features").unwrap().values);
    }
}

#[test]
fn loss_and_every_gradient() {
    let dict = golden();
    ways().into_iter().for_each(|(kernels, device)| check_gradients(&dict, kernels, &device.autodiff()));
}

fn check_gradients(dict: &StateDict, compute: Compute, device: &Device) {
    let classifier = classifier(dict, compute, device);
    let logits = classifier.forward(tensor::<4>(dict, "images", device), None);
    let loss = smoothed_loss(logits, &dict.get("labels").unwrap().values);
    assert_close(loss.clone(), &dict.get("loss.label_smoothing_0.1").unwrap().values);
    let gradients = GradientsParams::from_grads(loss.backward(), &classifier);
    let found = StateDict::of_gradients(&classifier, &gradients, &official_name);
    let mut compared = 0;
    for (name, golden) in dict.iter().filter_map(|(name, e)| Some((name.strip_prefix("grad.")?, e))) {
        let largest = golden.values.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (a, b) in found.get(name).unwrap().values.iter().zip(&golden.values) {
            assert!((a - b).abs() <= 1e-3 * largest, "{name}: {a}, expected {b}");
        }
        compared += 1;
    }
    assert_eq!(compared, found.len());
}

#[test]
fn backbone_returns_the_chosen_stages_normed() {
    let (dict, device) = (golden(), Device::flex());
    let config = ConvNextV2Config { out_features: Some(vec!["stem".into(), "stage3".into()]), ..config() };
    let backbone = ConvNextV2Backbone::new(&config, 0, &device).unwrap();
    let maps = backbone.forward(tensor::<4>(&dict, "images", &device));
    assert_eq!(maps[0].dims(), [2, 8, 16, 16]);
    assert_eq!(maps[1].dims(), [2, 32, 4, 4]);
    // A fresh LayerNorm leaves mean 0 and variance 1 over the channels of every site.
    let mean: Vec<f32> = maps[1].clone().mean_dim(1).into_data().try_into_vec().unwrap();
    let square: Vec<f32> = maps[1].clone().square().mean_dim(1).into_data().try_into_vec().unwrap();
    assert!(mean.iter().all(|m| m.abs() < 1e-5));
    assert!(square.iter().all(|s| (s - 1.0).abs() < 0.02), "{square:?}");
}

#[test]
fn sizes_that_do_not_divide_lose_their_border_as_in_pytorch() {
    let device = Device::flex();
    let model = ConvNextV2Model::new(&config(), 0, &device).unwrap();
    let images = Tensor::<4>::ones([1, 3, 70, 45], &device);
    let output = model.forward(images, true, None);
    let shapes: Vec<_> =
        output.hidden_states.unwrap().iter().map(|state| state.dims()[2..].to_vec()).collect();
    assert_eq!(shapes, [[17, 11], [17, 11], [8, 5], [4, 2], [2, 1]]);
}

#[test]
fn no_labels_means_features() {
    let device = Device::flex();
    let config = ConvNextV2Config { num_labels: 0, ..config() };
    let model = ConvNextV2ForImageClassification::new(&config, 0, &device).unwrap();
    assert_eq!(model.forward(Tensor::ones([1, 3, 32, 32], &device), None).dims(), [1, 64]);
}
