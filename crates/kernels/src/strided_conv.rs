//! The convolution whose windows do not overlap: a linear layer over gathered windows.
//!
//! Stem, downsampling and, with 1×1 windows, projections. Windows are gathered where they are
//! multiplied, so that the input is read once and no other copy of it is ever made.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use crate::Arch;
use crate::buffer::Buffer;
use crate::columns::{add, add_columns};
use crate::gemm::epilogue::Bias;
use crate::gemm::{Divide, Packed, Rows, Start, outer, product, weight_gradient};
use crate::linear::{Format, Linear};
use crate::results::Results;
use crate::transpose::{Turn, turn};

/// Rows of windows that a thread multiplies at a time.
const ROWS: usize = 128;
/// Elements of the weight from which on threads divide the outputs of its gradient, instead of adding
/// up gradients of parts of the rows.
const LARGE_WEIGHT: usize = 1 << 16;
/// Parts of the rows in that sum.
const PARTS: usize = 8;
/// Rows up to which there are too few to divide among threads.
const FEW_ROWS: usize = 200;

/// How the input of one sample lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Tokens `[patches, rows, columns, C]` of the present patches.
    Tokens,
    /// A whole map `[C, H, W]`, of which the present patches are read.
    Map,
}

/// Input and windows of a batch.
#[derive(Debug, Clone)]
pub struct Windows {
    /// Samples.
    pub samples: usize,
    /// Patches of the map: rows, columns.
    pub grid: [usize; 2],
    /// Sites of a patch: rows, columns.
    pub patch: [usize; 2],
    /// Present patches of all samples, the same number of each; all patches if none are given.
    pub visible: Option<Vec<u32>>,
    /// Channels of the input.
    pub channels: usize,
    /// Sites per window side; what fills no window is left out.
    pub kernel: usize,
    /// How the input lies.
    pub order: Order,
}

impl Windows {
    fn patches(&self) -> usize {
        match &self.visible {
            Some(all) => all.len() / self.samples,
            None => self.grid[0] * self.grid[1],
        }
    }

    /// Windows per row of a patch.
    fn columns(&self) -> usize {
        self.patch[1] / self.kernel
    }

    /// Rows of windows of a sample.
    fn lines(&self) -> usize {
        self.patches() * (self.patch[0] / self.kernel)
    }

    /// Values of a window.
    fn values(&self) -> usize {
        self.kernel * self.kernel * self.channels
    }

    /// Windows of a sample.
    pub fn rows(&self) -> usize {
        self.lines() * self.columns()
    }

    fn sample_len(&self) -> usize {
        let patches = match self.order {
            Order::Tokens => self.patches(),
            Order::Map => self.grid[0] * self.grid[1],
        };
        patches * self.patch[0] * self.patch[1] * self.channels
    }

    /// Whether the windows, one after the other, are the input as it is.
    fn in_place(&self) -> bool {
        self.order == Order::Tokens && self.kernel == 1
    }

    /// Calls `f(window, value, position, length)` for every run of a row of windows that lies
    /// together in the input, `position` counted within the sample.
    fn for_runs(&self, sample: usize, line: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
        let (k, c, [height, width]) = (self.kernel, self.channels, self.patch);
        let (patch, y) = (line / (height / k), line % (height / k));
        match self.order {
            Order::Tokens => {
                for x in 0..self.columns() {
                    for ky in 0..k {
                        let token = (patch * height + y * k + ky) * width + x * k;
                        f(x, ky * k * c, token * c, k * c);
                    }
                }
            }
            Order::Map => {
                let patch = match &self.visible {
                    Some(all) => all[sample * self.patches() + patch] as usize,
                    None => patch,
                };
                let (top, left) = (patch / self.grid[1] * height + y * k, patch % self.grid[1] * width);
                let (rows, columns) = (self.grid[0] * height, self.grid[1] * width);
                for x in 0..self.columns() {
                    for channel in 0..c {
                        for ky in 0..k {
                            let position = (channel * rows + top + ky) * columns + left + x * k;
                            f(x, (channel * k + ky) * k, position, k);
                        }
                    }
                }
            }
        }
    }

    /// The windows of some rows of windows, counted over all samples.
    fn gather(&self, x: &[f32], lines: Range<usize>, windows: &mut [f32]) {
        let values = self.values();
        for (line, windows) in lines.zip(windows.chunks_exact_mut(self.columns() * values)) {
            let (sample, line) = (line / self.lines(), line % self.lines());
            let x = &x[sample * self.sample_len()..][..self.sample_len()];
            self.for_runs(sample, line, |window, value, position, len| {
                windows[window * values + value..][..len].copy_from_slice(&x[position..position + len]);
            });
        }
    }

    /// Calls `f` with the windows of some rows of windows, gathered unless they lie so already.
    fn with_rows(&self, x: &[f32], lines: Range<usize>, f: impl FnOnce(&[f32])) {
        let line = self.columns() * self.values();
        if self.in_place() {
            return f(&x[lines.start * line..lines.end * line]);
        }
        let mut gathered = Buffer::take(lines.len() * line);
        self.gather(x, lines, &mut gathered);
        f(&gathered);
    }

    /// The windows of a sample back to where they came from.
    fn scatter(&self, sample: usize, windows: &[f32], x: &mut [f32]) {
        let values = self.values();
        for (line, windows) in windows.chunks_exact(self.columns() * values).enumerate() {
            self.for_runs(sample, line, |window, value, position, len| {
                x[position..position + len].copy_from_slice(&windows[window * values + value..][..len]);
            });
        }
    }

    /// PyTorch's `[out, in, k, k]` in the order of a window, or back.
    fn reorder(&self, weight: &[f32], back: bool) -> Vec<f32> {
        let (sites, c) = (self.kernel * self.kernel, self.channels);
        let (rows, columns) = if back { (sites, c) } else { (c, sites) };
        let mut reordered = vec![0.0; weight.len()];
        let filters = weight.par_chunks_exact(sites * c).zip(reordered.par_chunks_exact_mut(sites * c));
        filters.with_min_len(16).for_each(|(from, to)| {
            turn(Turn { from, rows, columns, from_stride: columns, to_stride: rows }, to);
        });
        reordered
    }

    /// A weight `[out, in, k, k]` in the order of a window.
    fn ordered<'a>(&self, weight: &'a [f32]) -> Cow<'a, [f32]> {
        match self.is_ordered() {
            true => weight.into(),
            false => self.reorder(weight, false).into(),
        }
    }

    /// Whether PyTorch's order is that of a window already.
    fn is_ordered(&self) -> bool {
        self.order == Order::Map || self.kernel == 1
    }
}

/// Weight and bias as the forward pass reads them: made for every step in training, once for all of inference.
#[derive(Debug)]
pub struct Prepared(Linear);

impl Prepared {
    /// From a weight `[out, in, k, k]`.
    pub fn new(arch: Arch, windows: &Windows, weight: &[f32], bias: &[f32]) -> Self {
        Self(Linear::new(arch, Format::F32, &windows.ordered(weight), bias))
    }

    /// The same for an input to which LayerNorm's weight and bias have not been applied, token by token.
    pub fn after_norm(
        arch: Arch,
        format: Format,
        windows: &Windows,
        weight: &[f32],
        bias: &[f32],
        (norm, norm_bias): (&[f32], &[f32]),
    ) -> Self {
        assert!(windows.order == Order::Tokens, "norms are taken of tokens");
        let (ordered, sites) = (windows.ordered(weight), windows.kernel * windows.kernel);
        Self(Linear::after(arch, format, &ordered, bias, Some(&norm.repeat(sites)), &norm_bias.repeat(sites)))
    }
}

/// Input → `[N, rows, out]`.
pub fn forward(arch: Arch, windows: &Windows, x: &[f32], Prepared(linear): &Prepared) -> Vec<f32> {
    assert_eq!(x.len(), windows.samples * windows.sample_len());
    let (columns, outputs) = (windows.columns(), linear.outputs());
    let len = windows.samples * windows.rows() * outputs;
    if windows.samples * windows.rows() <= FEW_ROWS {
        let mut y = vec![0.0; len];
        windows.with_rows(x, 0..windows.samples * windows.lines(), |rows| {
            linear.multiply(arch, rows, &mut y, &Bias(&linear.bias), Divide::ByTiles);
        });
        return y;
    }
    let lines = ROWS.div_ceil(columns.max(1));
    let mut y = Results::new(len);
    y.par_parts(lines * columns * outputs).enumerate().for_each(|(chunk, mut y)| {
        let (rows, first) = (y.len() / outputs, chunk * lines);
        windows.with_rows(x, first..first + rows / columns, |rows| {
            linear.multiply(arch, rows, y.slice(), &Bias(&linear.bias), Divide::Never);
        });
    });
    y.finish()
}

/// Computes, from dy `[N, rows, out]`, the gradients of the input (if wanted), weight and bias.
pub fn backward(
    windows: &Windows,
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    outputs: usize,
    wants_dx: bool,
) -> (Option<Vec<f32>>, Vec<f32>, Vec<f32>) {
    let (arch, values) = (Arch::new(), windows.values());
    let dx = wants_dx.then(|| {
        let weight = Packed::new(arch, &windows.ordered(weight), outputs, values);
        input_gradient(arch, windows, &weight, x.len(), dy)
    });
    let (mut dw, db) = gradients(arch, windows, x, dy, outputs);
    if !windows.is_ordered() {
        dw = windows.reorder(&dw, true);
    }
    (dx, dw, db)
}

fn input_gradient(arch: Arch, windows: &Windows, weight: &Packed, len: usize, dy: &[f32]) -> Vec<f32> {
    let (outputs, values) = (weight.rows(), windows.values());
    let mut dx = Results::new(len);
    if windows.in_place() {
        let chunks = dx.par_parts(ROWS * values).zip(dy.par_chunks(ROWS * outputs));
        chunks.for_each(|(mut dx, dy)| product(arch, dy, weight, dx.slice(), Start::Zero));
        return dx.finish();
    }
    // What fills no window has no gradient.
    let per_sample = windows.rows() * outputs;
    dx.par_parts(windows.sample_len()).enumerate().for_each(|(sample, mut dx)| {
        let mut gathered = Buffer::take(windows.rows() * values);
        let dy = &dy[sample * per_sample..][..per_sample];
        product(arch, dy, weight, &mut gathered, Start::Zero);
        windows.scatter(sample, &gathered, dx.slice());
    });
    dx.finish()
}

/// Gradients of weight and bias: parts of the rows, each by itself, then summed in their order. The
/// gradient of a large weight is computed at once.
fn gradients(arch: Arch, windows: &Windows, x: &[f32], dy: &[f32], outputs: usize) -> (Vec<f32>, Vec<f32>) {
    let (values, columns) = (windows.values(), windows.columns());
    let (weight, lines) = (outputs * values, windows.samples * windows.lines());
    let large = weight >= LARGE_WEIGHT;
    let per_part = lines.div_ceil(PARTS).max(1);
    let parts: Vec<(Buffer, Buffer)> = dy
        .par_chunks(per_part * columns * outputs)
        .enumerate()
        .map(|(part, dy)| {
            let first = part * per_part;
            let (mut dw, mut db) = (Buffer::zeros(if large { 0 } else { weight }), Buffer::zeros(outputs));
            if !large {
                windows.with_rows(x, first..first + dy.len() / outputs / columns, |rows| {
                    outer(arch, dy, rows, &mut dw, (outputs, values), false);
                });
            }
            add_columns(arch, dy, &mut db);
            (dw, db)
        })
        .collect();
    let (mut dw, mut db) = (vec![0.0; if large { 0 } else { weight }], vec![0.0; outputs]);
    for (w, b) in parts {
        add(arch, &mut dw, &w);
        add(arch, &mut db, &b);
    }
    if large {
        windows.with_rows(x, 0..lines, |rows| {
            dw = weight_gradient(arch, &[Rows::new(dy, rows)], outputs, values)
        });
    }
    (dw, db)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers};

    /// The definition on `[N, C, H, W]` maps; hidden patches give no output.
    struct Naive {
        y: Vec<f64>,
        dx: Vec<f64>,
        dw: Vec<f64>,
        db: Vec<f64>,
    }

    /// Position of a site of a sample's present patches in the input, channel by channel.
    fn position(
        w: &Windows,
        sample: usize,
        patch: usize,
        [row, column]: [usize; 2],
        channel: usize,
    ) -> usize {
        let [height, width] = w.patch;
        let base = sample * w.sample_len();
        match w.order {
            Order::Tokens => base + ((patch * height + row) * width + column) * w.channels + channel,
            Order::Map => {
                let patch = w.visible.as_ref().map_or(patch, |v| v[sample * w.patches() + patch] as usize);
                let y = patch / w.grid[1] * height + row;
                let x = patch % w.grid[1] * width + column;
                base + (channel * w.grid[0] * height + y) * w.grid[1] * width + x
            }
        }
    }

    fn naive(w: &Windows, x: &[f32], weight: &[f32], bias: &[f32], dy: &[f32]) -> Naive {
        let (k, outputs) = (w.kernel, bias.len());
        let mut n = Naive {
            y: Vec::new(),
            dx: vec![0.0; x.len()],
            dw: vec![0.0; weight.len()],
            db: vec![0.0; outputs],
        };
        for sample in 0..w.samples {
            for patch in 0..w.patches() {
                for (top, left) in (0..w.patch[0] / k).flat_map(|y| (0..w.patch[1] / k).map(move |x| (y, x)))
                {
                    for (o, bias) in bias.iter().enumerate() {
                        let gradient = f64::from(dy[n.y.len()]);
                        let mut y = f64::from(*bias);
                        n.db[o] += gradient;
                        for (c, ky, kx) in (0..w.channels)
                            .flat_map(|c| (0..k).flat_map(move |ky| (0..k).map(move |kx| (c, ky, kx))))
                        {
                            let at = position(w, sample, patch, [top * k + ky, left * k + kx], c);
                            let tap = ((o * w.channels + c) * k + ky) * k + kx;
                            y += f64::from(x[at]) * f64::from(weight[tap]);
                            n.dx[at] += gradient * f64::from(weight[tap]);
                            n.dw[tap] += gradient * f64::from(x[at]);
                        }
                        n.y.push(y);
                    }
                }
            }
        }
        n
    }

    #[test]
    fn forward_and_backward_equal_the_definition() {
        let plain = Windows {
            samples: 2,
            grid: [1, 1],
            patch: [6, 4],
            visible: None,
            channels: 3,
            kernel: 2,
            order: Order::Tokens,
        };
        let cases = [
            plain.clone(),
            // Rows and columns that fill no window.
            Windows { patch: [7, 5], ..plain.clone() },
            Windows { patch: [9, 9], kernel: 4, order: Order::Map, ..plain.clone() },
            Windows { kernel: 1, channels: 300, ..plain.clone() },
            Windows { grid: [2, 3], patch: [4, 2], visible: Some(vec![0, 4, 5, 1, 2, 3]), ..plain.clone() },
            Windows {
                grid: [2, 3],
                patch: [4, 4],
                visible: Some(vec![0, 4, 5, 1, 2, 3]),
                order: Order::Map,
                kernel: 4,
                ..plain.clone()
            },
            // More rows than one chunk or part holds.
            Windows { samples: 9, patch: [26, 30], ..plain },
        ];
        for w in &cases {
            for outputs in [1, 5, 256] {
                let x = numbers(w.samples * w.sample_len(), 1);
                let (weight, bias) = (numbers(outputs * w.values(), 2), numbers(outputs, 3));
                let dy = numbers(w.samples * w.rows() * outputs, 4);
                let expected = naive(w, &x, &weight, &bias, &dy);
                assert_close(
                    &forward(Arch::new(), w, &x, &Prepared::new(Arch::new(), w, &weight, &bias)),
                    &expected.y,
                    1e-5,
                    "y",
                );
                let (dx, dw, db) = backward(w, &x, &weight, &dy, outputs, true);
                assert_close(&dx.expect("dx was asked for"), &expected.dx, 1e-5, "dx");
                assert_close(&dw, &expected.dw, 1e-5, "dw");
                assert_close(&db, &expected.db, 1e-5, "db");
                assert!(backward(w, &x, &weight, &dy, outputs, false).0.is_none());
            }
        }
    }

    #[test]
    fn what_a_norm_multiplies_and_adds_can_be_part_of_the_weight() {
        let (channels, outputs) = (5, 7);
        for samples in [1, 40] {
            let (grid, patch, order) = ([1, 1], [6, 4], Order::Tokens);
            let w = Windows { samples, grid, patch, visible: None, channels, kernel: 2, order };
            let x = numbers(w.samples * w.sample_len(), 1);
            let (weight, bias) = (numbers(outputs * w.values(), 2), numbers(outputs, 3));
            let (norm, norm_bias) = (numbers(channels, 4), numbers(channels, 5));
            let affine: Vec<f32> = (x.iter().enumerate())
                .map(|(i, x)| x * norm[i % channels] + norm_bias[i % channels])
                .collect();
            let dy = vec![0.0; w.samples * w.rows() * outputs];
            let expected = naive(&w, &affine, &weight, &bias, &dy).y;
            let prepared =
                Prepared::after_norm(Arch::new(), Format::F32, &w, &weight, &bias, (&norm, &norm_bias));
            assert_close(&forward(Arch::new(), &w, &x, &prepared), &expected, 1e-5, "y");
        }
    }

    #[test]
    fn results_have_the_same_bits_for_any_number_of_threads() {
        for (kernel, channels, outputs) in [(2, 20, 40), (1, 64, 1100)] {
            let w = Windows {
                samples: 5,
                grid: [1, 1],
                patch: [28, 28],
                visible: None,
                channels,
                kernel,
                order: Order::Tokens,
            };
            let (x, weight) = (numbers(5 * w.sample_len(), 1), numbers(outputs * w.values(), 2));
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                pool.install(|| {
                    let prepared = Prepared::new(Arch::new(), &w, &weight, &numbers(outputs, 3));
                    let y = forward(Arch::new(), &w, &x, &prepared);
                    let gradients = backward(&w, &x, &weight, &y, outputs, true);
                    (y, gradients)
                })
            };
            let one = run(1);
            assert!(one == run(2) && one == run(3) && one == run(8));
        }
    }
}
