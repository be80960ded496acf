//! Single kernels on Atto's shapes at 224² with 19 of 49 patches visible. Items are floating-point
//! operations, bytes are what must at least be read and written.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use kernels::block::{self, Batch, Statistics, Weights};
use kernels::dwconv7::{self, Layout, Neighbours, WeightGradient};
use kernels::gemm::{Packed, Start, int8, outer, product as multiply};
use kernels::strided_conv::{self, Order, Windows};
use kernels::{Arch, gelu, grn, layer_norm};

fn main() {
    divan::main();
}

/// Channels and sites per patch side of the four stages.
const STAGES: [(usize, usize); 4] = [(40, 8), (80, 4), (160, 2), (320, 1)];
const VISIBLE: [u32; 19] = [0, 2, 5, 7, 10, 11, 14, 16, 20, 21, 24, 27, 30, 33, 35, 38, 41, 44, 48];

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 % 1009) as f32) / 504.5 - 1.0).collect()
}

fn layout(side: usize) -> Layout<'static> {
    Layout::new([7, 7], [side, side], Some(&VISIBLE))
}

fn bytes(floats: usize) -> BytesCount {
    BytesCount::new(4 * floats)
}

/// Rows, columns, depth of linear layers of the stages and the decoder, and the prediction.
const PRODUCTS: [(usize, usize, usize); 7] = [
    (136, 160, 40),
    (152, 320, 80),
    (76, 640, 160),
    (76, 1280, 320),
    (76, 320, 1280),
    (98, 512, 2048),
    (128, 3072, 512),
];

#[divan::bench(args = PRODUCTS)]
fn product(bencher: Bencher, (m, n, k): (usize, usize, usize)) {
    let (a, mut c) = (numbers(m * k), vec![0.0; m * n]);
    let b = Packed::transposed(Arch::new(), &numbers(n * k), k, n);
    bencher.counter(ItemsCount::new(2 * m * n * k)).bench_local(|| {
        multiply(Arch::new(), black_box(&a), &b, &mut c, Start::Zero);
    });
}

/// The same in 8 bits, from f32 to f32.
#[divan::bench(args = PRODUCTS)]
fn product_int8(bencher: Bencher, (m, n, k): (usize, usize, usize)) {
    let (best, a, mut c) = (int8::Instructions::new(), numbers(m * k), vec![0.0; m * n]);
    let b = int8::PackedInt8::transposed(best, &numbers(n * k), k, n);
    bencher.counter(ItemsCount::new(2 * m * n * k)).bench_local(|| {
        int8::product(best, black_box(&a), &b, &mut c, Start::Zero);
    });
}

/// What quantising takes of it.
#[divan::bench(args = PRODUCTS)]
fn quantizing_int8(bencher: Bencher, (m, _, k): (usize, usize, usize)) {
    let (best, a) = (int8::Instructions::new(), numbers(m * k));
    bencher.counter(bytes(m * k)).bench_local(|| int8::Quantized::new(best, black_box(&a), k));
}

#[divan::bench(args = PRODUCTS)]
fn packing_int8(bencher: Bencher, (_, n, k): (usize, usize, usize)) {
    let (best, weight) = (int8::Instructions::new(), numbers(n * k));
    bencher
        .counter(bytes(n * k))
        .bench_local(|| int8::PackedInt8::transposed(best, black_box(&weight), k, n));
}

/// The gradient of the weight in each of them.
#[divan::bench(args = PRODUCTS)]
fn outer_product(bencher: Bencher, (rows, m, n): (usize, usize, usize)) {
    let (a, b, mut c) = (numbers(rows * m.min(n)), numbers(rows * m.max(n)), vec![0.0; m * n]);
    bencher.counter(ItemsCount::new(2 * rows * m * n)).bench_local(|| {
        outer(Arch::new(), black_box(&a), &b, &mut c, (m.min(n), m.max(n)), true);
    });
}

#[divan::bench(args = PRODUCTS)]
fn packing(bencher: Bencher, (_, n, k): (usize, usize, usize)) {
    let weight = numbers(n * k);
    bencher
        .counter(bytes(2 * n * k))
        .bench_local(|| Packed::transposed(Arch::new(), black_box(&weight), k, n));
}

/// The prediction of 30 patches of 16 samples.
const PREDICTION: Windows = Windows {
    samples: 16,
    grid: [1, 1],
    patch: [1, 30],
    visible: None,
    channels: 512,
    kernel: 1,
    order: Order::Tokens,
};

#[divan::bench]
fn prediction_forward(bencher: Bencher) {
    let (x, w, b) = (numbers(480 * 512), numbers(3072 * 512), numbers(3072));
    bencher.counter(ItemsCount::new(2 * 480usize * 512 * 3072)).bench_local(|| {
        let prepared = strided_conv::Prepared::new(Arch::new(), &PREDICTION, &w, &b);
        strided_conv::forward(Arch::new(), &PREDICTION, black_box(&x), &prepared)
    });
}

#[divan::bench]
fn prediction_backward(bencher: Bencher) {
    let (x, w, dy) = (numbers(480 * 512), numbers(3072 * 512), numbers(480 * 3072));
    bencher
        .counter(ItemsCount::new(4 * 480usize * 512 * 3072))
        .bench_local(|| strided_conv::backward(&PREDICTION, black_box(&x), &w, &dy, 3072, true));
}

#[divan::bench(args = STAGES)]
fn depthwise_forward(bencher: Bencher, (channels, side): (usize, usize)) {
    let layout = layout(side);
    let count = layout.tokens() * channels;
    let (x, mut y) = (numbers(count), vec![0.0; count]);
    let weights = dwconv7::Weights::new(&numbers(49 * channels), &numbers(channels));
    bencher.counter(ItemsCount::new(2 * 49 * count)).counter(bytes(2 * count)).bench_local(|| {
        dwconv7::forward(Arch::new(), &layout, &weights, black_box(&x), &mut y, 0..19 * side);
    });
}

#[divan::bench(args = STAGES)]
fn depthwise_weight_gradient(bencher: Bencher, (channels, side): (usize, usize)) {
    let layout = layout(side);
    let count = layout.tokens() * channels;
    let (x, dy) = (numbers(count), numbers(count));
    let mut gradient = WeightGradient::new(channels);
    bencher.counter(ItemsCount::new(2 * 49 * count)).counter(bytes(2 * count)).bench_local(|| {
        gradient.add(Arch::new(), &layout, black_box(&x), &dy);
    });
}

#[divan::bench]
fn gelu_with_derivative(bencher: Bencher) {
    let inputs = numbers(304 * 320);
    let (mut values, mut slope) = (vec![0.0; inputs.len()], vec![0.0; inputs.len()]);
    bencher
        .counter(ItemsCount::new(values.len()))
        .counter(bytes(3 * values.len()))
        .bench_local(|| gelu::with_derivative(Arch::new(), black_box(&inputs), &mut values, &mut slope));
}

#[divan::bench]
fn layer_norm_forward(bencher: Bencher) {
    let (mut x, mut inverse) = (numbers(304 * 80), vec![0.0; 304]);
    bencher
        .counter(bytes(2 * x.len()))
        .bench_local(|| layer_norm::normalize(Arch::new(), black_box(&mut x), &mut inverse, 80, 1e-6));
}

#[divan::bench]
fn grn_backward(bencher: Bencher) {
    let (mut g, x, f) = (numbers(304 * 320), numbers(304 * 320), numbers(304 * 320));
    let (norms, gamma) = (vec![3.0; 320], numbers(320));
    let (along, mut dg) = (numbers(320), vec![0.0; 320]);
    let mut sums = vec![0.0; 320];
    bencher.counter(bytes(4 * g.len())).bench_local(|| {
        let factors = grn::Factors::new(&along, &norms, &gamma, &mut dg);
        grn::backward(Arch::new(), black_box(&mut g), (&x, &f), &factors, &mut sums);
    });
}

/// A batch of 16 through one block of a stage.
struct Setup {
    batch: Batch,
    values: Vec<Vec<f32>>,
}

impl Setup {
    fn new((channels, side): (usize, usize)) -> Self {
        let batch = Batch {
            samples: 16,
            grid: [7, 7],
            patch: [side, side],
            visible: Some(VISIBLE.repeat(16)),
            selected: None,
            branch_scale: None,
            statistics: Statistics::Sample,
            neighbours: Neighbours::default(),
        };
        let c = channels;
        let sizes = [16 * batch.tokens() * c, 49 * c, c, c, c, 4 * c * c, 4 * c, 4 * c, 4 * c, 4 * c * c, c];
        Self { batch, values: sizes.map(numbers).to_vec() }
    }

    fn weights(&self) -> Weights<'_> {
        let v = &self.values;
        Weights {
            dwconv: &v[1],
            dwconv_bias: &v[2],
            norm: &v[3],
            norm_bias: &v[4],
            pwconv1: &v[5],
            pwconv1_bias: &v[6],
            gamma: &v[7],
            beta: &v[8],
            pwconv2: &v[9],
            pwconv2_bias: &v[10],
        }
    }

    fn operations(&self) -> usize {
        let channels = self.values[2].len();
        2 * 16 * self.batch.tokens() * (49 * channels + 8 * channels * channels)
    }
}

#[divan::bench(args = STAGES)]
fn block_forward(bencher: Bencher, stage: (usize, usize)) {
    let setup = Setup::new(stage);
    bencher.counter(ItemsCount::new(setup.operations())).bench_local(|| {
        block::forward(Arch::new(), &setup.batch, &setup.weights(), black_box(&setup.values[0]))
    });
}

#[divan::bench(args = STAGES)]
fn block_backward(bencher: Bencher, stage: (usize, usize)) {
    let setup = Setup::new(stage);
    let (dy, saved) = block::forward(Arch::new(), &setup.batch, &setup.weights(), &setup.values[0]);
    bencher.counter(ItemsCount::new(2 * setup.operations())).bench_local(|| {
        block::backward(Arch::new(), &setup.batch, &setup.weights(), &setup.values[0], &saved, black_box(&dy))
    });
}
