//! The depthwise 7×7 convolution on the tokens of one sample.
//!
//! Submanifold: hidden sites and everything beyond the border read as zero, and only visible sites
//! are computed. Tokens are first laid out on a map with a halo of three zero sites, so that no
//! window needs a check.

mod pairs;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use pulp::{Simd, WithSimd};

use crate::columns::add_columns;
use crate::{Arch, vector};
use pairs::Pairs;

/// Kernel side.
pub const KERNEL: usize = 7;
const HALO: usize = KERNEL / 2;
const TAPS: usize = KERNEL * KERNEL;
/// Channels are padded to a multiple of the widest vector.
const PAD: usize = 16;

/// Where the tokens of a sample lie on its map.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    /// Patches of the map: rows, columns.
    pub grid: [usize; 2],
    /// Sites of a patch: rows, columns.
    pub patch: [usize; 2],
    /// Visible patches in the order of their tokens; all of them if none are given.
    pub visible: Option<&'a [u32]>,
    /// Where the lists of neighbours are kept for other calls.
    lists: Option<&'a OnceLock<Pairs>>,
}

impl<'a> Layout<'a> {
    /// All patches, or the visible ones.
    pub const fn new(grid: [usize; 2], patch: [usize; 2], visible: Option<&'a [u32]>) -> Self {
        Self { grid, patch, visible, lists: None }
    }

    /// The same for a sample of a batch that keeps the lists of its neighbours.
    pub(crate) fn keeping(self, neighbours: &'a Neighbours, sample: usize) -> Self {
        Self { lists: neighbours.0.get(sample), ..self }
    }
}

/// Which tokens of each sample of a batch see each other: worked out once, for all blocks of a stage and both
/// passes, where samples have few tokens.
#[derive(Debug, Clone, Default)]
pub struct Neighbours(Arc<[OnceLock<Pairs>]>);

impl Neighbours {
    /// For so many samples, each with a layout of its own.
    pub fn of(samples: usize) -> Self {
        Self((0..samples).map(|_| OnceLock::new()).collect())
    }
}

impl Layout<'_> {
    /// Number of tokens of the sample.
    pub fn tokens(&self) -> usize {
        self.visible.map_or(self.grid[0] * self.grid[1], <[u32]>::len) * self.patch[0] * self.patch[1]
    }

    fn patches(&self) -> usize {
        self.visible.map_or(self.grid[0] * self.grid[1], <[u32]>::len)
    }

    /// Sites of a row of the map with its halo.
    fn row(&self) -> usize {
        self.grid[1] * self.patch[1] + 2 * HALO
    }

    fn map_len(&self, padded: usize) -> usize {
        (self.grid[0] * self.patch[0] + 2 * HALO) * self.row() * padded
    }

    /// Rows of all patches.
    fn lines(&self) -> usize {
        self.patches() * self.patch[0]
    }

    /// Calls `f(first token, site)` for some rows of the patches, where `site` is the position on
    /// the map with halo of the upper left corner of the first token's window.
    #[inline(always)]
    fn for_lines(&self, lines: Range<usize>, mut f: impl FnMut(usize, usize)) {
        let [height, width] = self.patch;
        for line in lines {
            let (p, y) = (line / height, line % height);
            let patch = self.visible.map_or(p, |v| v[p] as usize);
            let (row, column) = (patch / self.grid[1], patch % self.grid[1]);
            f(line * width, (row * height + y) * self.row() + column * width);
        }
    }

    /// The rows whose tokens may be seen from some rows.
    fn seen_from(&self, lines: &Range<usize>) -> Range<usize> {
        match self.grid {
            [1, 1] => lines.start.saturating_sub(HALO)..(lines.end + HALO).min(self.lines()),
            _ => 0..self.lines(),
        }
    }
}

fn padded(channels: usize) -> usize {
    channels.next_multiple_of(PAD)
}

/// Kernels in the order tap, channel, padded: from PyTorch's `[C, 1, 7, 7]`.
#[derive(Debug, Clone)]
pub struct Weights {
    taps: Vec<f32>,
    bias: Vec<f32>,
    channels: usize,
}

impl Weights {
    /// Reorders kernel and bias.
    pub fn new(kernel: &[f32], bias: &[f32]) -> Self {
        Self::reordered(kernel, bias, |tap| tap)
    }

    /// Kernels turned by 180°, without bias: their convolution takes gradients back.
    pub fn turned(kernel: &[f32], channels: usize) -> Self {
        Self::reordered(kernel, &vec![0.0; channels], |tap| TAPS - 1 - tap)
    }

    fn reordered(kernel: &[f32], bias: &[f32], source: impl Fn(usize) -> usize) -> Self {
        let (channels, width) = (bias.len(), padded(bias.len()));
        assert_eq!(kernel.len(), channels * TAPS);
        let mut taps = vec![0.0; TAPS * width];
        for tap in 0..TAPS {
            for c in 0..channels {
                taps[tap * width + c] = kernel[c * TAPS + source(tap)];
            }
        }
        let mut padded_bias = bias.to_vec();
        padded_bias.resize(width, 0.0);
        Self { taps, bias: padded_bias, channels }
    }
}

thread_local! {
    /// Scratch space for every shape, kept because most of it need not be cleared for the next sample.
    static MAPS: RefCell<Vec<Map>> = RefCell::default();
}

/// Runs something with the map for a shape.
fn with_map<T>(layout: &Layout, channels: usize, run: impl FnOnce(&mut Map) -> T) -> T {
    /// More than the stages of any network; a program may use many image sizes.
    const KEPT: usize = 8;
    let shape = (layout.grid, layout.patch, padded(channels));
    MAPS.with_borrow_mut(|maps| {
        if let Some(found) = maps.iter().position(|map| map.shape == shape) {
            maps[..=found].rotate_right(1);
        } else {
            maps.truncate(KEPT - 1);
            let values = vec![0.0; layout.map_len(shape.2)];
            maps.insert(0, Map { values, shape, patches: Vec::new() });
        }
        run(&mut maps[0])
    })
}

/// Tokens of one sample laid out with a halo of zeros.
struct Map {
    values: Vec<f32>,
    /// Grid, patch, padded channels and visible patches of the tokens it holds.
    shape: ([usize; 2], [usize; 2], usize),
    patches: Vec<u32>,
}

impl Map {
    /// Puts the tokens of some rows of the patches where they belong.
    fn fill(&mut self, layout: &Layout, tokens: &[f32], channels: usize, lines: Range<usize>) {
        let width = padded(channels);
        let visible = layout.visible.unwrap_or(&[]);
        if self.patches != visible {
            let held = std::mem::take(&mut self.patches);
            let before = Layout::new(layout.grid, layout.patch, (!held.is_empty()).then_some(&held));
            before.for_lines(0..before.lines(), |_, site| {
                let centre = site + HALO * layout.row() + HALO;
                self.values[centre * width..][..layout.patch[1] * width].fill(0.0);
            });
        }
        self.patches.clear();
        self.patches.extend_from_slice(visible);
        layout.for_lines(lines, |token, site| {
            let centre = site + HALO * layout.row() + HALO;
            for x in 0..layout.patch[1] {
                let source = &tokens[(token + x) * channels..][..channels];
                self.values[(centre + x) * width..][..channels].copy_from_slice(source);
            }
        });
    }
}

/// Convolves the tokens `x` of one sample; `y` are those of some rows of its patches.
pub fn forward(
    arch: Arch,
    layout: &Layout,
    weights: &Weights,
    x: &[f32],
    y: &mut [f32],
    lines: Range<usize>,
) {
    assert_eq!(x.len(), layout.tokens() * weights.channels);
    assert_eq!(y.len(), lines.len() * layout.patch[1] * weights.channels);
    if pairs::are_few(layout) {
        return pairs::forward(arch, layout, weights, x, y, lines.start * layout.patch[1]);
    }
    with_map(layout, weights.channels, |map| {
        map.fill(layout, x, weights.channels, layout.seen_from(&lines));
        arch.dispatch(Forward { layout, weights, map: &map.values, y, lines });
    });
}

struct Forward<'a> {
    layout: &'a Layout<'a>,
    weights: &'a Weights,
    map: &'a [f32],
    y: &'a mut [f32],
    lines: Range<usize>,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layout, weights, map, y, lines } = self;
        let first = lines.start * layout.patch[1];
        layout.for_lines(lines, |token, site| {
            let (mut x, width, token) = (0, layout.patch[1], token - first);
            // As many outputs at once as registers allow.
            while x < width {
                let tile = (simd, layout.row(), weights, map, site + x, &mut *y, token + x);
                x += match width - x {
                    left if left.is_multiple_of(7) && S::F32_LANES > 1 => forward_tile::<S, 7>(tile),
                    8.. if S::F32_LANES > 1 => forward_tile::<S, 8>(tile),
                    4.. => forward_tile::<S, 4>(tile),
                    2.. => forward_tile::<S, 2>(tile),
                    _ => forward_tile::<S, 1>(tile),
                };
            }
        });
    }
}

/// `N` neighbouring outputs of a row; returns `N`.
#[inline(always)]
fn forward_tile<S: Simd, const N: usize>(
    (simd, row, weights, map, site, y, token): (S, usize, &Weights, &[f32], usize, &mut [f32], usize),
) -> usize {
    let (channels, width) = (weights.channels, padded(weights.channels));
    for c in (0..channels).step_by(S::F32_LANES) {
        let load = |from: &[f32], at: usize| S::as_simd_f32s(&from[at..at + S::F32_LANES]).0[0];
        let mut sums = [load(&weights.bias, c); N];
        for ky in 0..KERNEL {
            let kernel: [S::f32s; KERNEL] =
                std::array::from_fn(|kx| load(&weights.taps, (ky * KERNEL + kx) * width + c));
            let line = &map[(site + ky * row) * width..][..(N + KERNEL - 1) * width];
            for ix in 0..N + KERNEL - 1 {
                let input = load(line, ix * width + c);
                for (kx, weight) in kernel.iter().enumerate() {
                    if let Some(sum) = ix.checked_sub(kx).and_then(|n| sums.get_mut(n)) {
                        *sum = simd.mul_add_e_f32s(input, *weight, *sum);
                    }
                }
            }
        }
        let kept = S::F32_LANES.min(channels - c);
        for (n, sum) in sums.into_iter().enumerate() {
            vector::store(simd, &mut y[(token + n) * channels + c..][..kept], sum);
        }
    }
    N
}

/// Gradients of the kernels, tap by tap as [`Weights`] has them, and of the bias; both accumulate.
#[derive(Debug, Clone)]
pub struct WeightGradient {
    taps: Vec<f32>,
    bias: Vec<f32>,
    channels: usize,
}

impl WeightGradient {
    /// Zeros.
    pub fn new(channels: usize) -> Self {
        let width = padded(channels);
        Self { taps: vec![0.0; TAPS * width], bias: vec![0.0; channels], channels }
    }

    /// Adds to gradients in PyTorch's order.
    pub fn add_to(&self, kernel: &mut [f32], bias: &mut [f32]) {
        let width = padded(self.channels);
        for (c, kernel) in kernel.chunks_exact_mut(TAPS).enumerate() {
            kernel.iter_mut().enumerate().for_each(|(tap, k)| *k += self.taps[tap * width + c]);
        }
        bias.iter_mut().zip(&self.bias).for_each(|(b, g)| *b += g);
    }

    /// Adds one sample's part.
    pub fn add(&mut self, arch: Arch, layout: &Layout, x: &[f32], dy: &[f32]) {
        assert_eq!(x.len(), layout.tokens() * self.channels);
        assert_eq!(dy.len(), x.len());
        add_columns(arch, dy, &mut self.bias);
        if pairs::are_few(layout) {
            return pairs::add(arch, layout, x, dy, self);
        }
        with_map(layout, self.channels, |map| {
            map.fill(layout, x, self.channels, 0..layout.lines());
            arch.dispatch(Backward { layout, map: &map.values, dy, gradient: self });
        });
    }
}

struct Backward<'a> {
    layout: &'a Layout<'a>,
    map: &'a [f32],
    dy: &'a [f32],
    gradient: &'a mut WeightGradient,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layout, map, dy, gradient } = self;
        layout.for_lines(0..layout.lines(), |token, site| {
            let (mut x, width) = (0, layout.patch[1]);
            while x < width {
                let tile = (simd, layout.row(), map, site + x, dy, token + x, &mut *gradient);
                x += match width - x {
                    left if left.is_multiple_of(7) && S::F32_LANES > 1 => backward_tile::<S, 7>(tile),
                    8.. if S::F32_LANES > 1 => backward_tile::<S, 8>(tile),
                    4.. => backward_tile::<S, 4>(tile),
                    2.. => backward_tile::<S, 2>(tile),
                    _ => backward_tile::<S, 1>(tile),
                };
            }
        });
    }
}

/// What `N` neighbouring outputs of a row add to the kernels; returns `N`.
#[inline(always)]
fn backward_tile<S: Simd, const N: usize>(
    (simd, row, map, site, dy, token, gradient): (
        S,
        usize,
        &[f32],
        usize,
        &[f32],
        usize,
        &mut WeightGradient,
    ),
) -> usize {
    let (channels, width) = (gradient.channels, padded(gradient.channels));
    for c in (0..channels).step_by(S::F32_LANES) {
        let load = |from: &[f32], at: usize| S::as_simd_f32s(&from[at..at + S::F32_LANES]).0[0];
        let kept = S::F32_LANES.min(channels - c);
        let outputs: [S::f32s; N] =
            std::array::from_fn(|n| vector::load(simd, &dy[(token + n) * channels + c..][..kept]));
        for ky in 0..KERNEL {
            let taps = &mut gradient.taps[ky * KERNEL * width..][..KERNEL * width];
            let mut sums: [S::f32s; KERNEL] = std::array::from_fn(|kx| load(taps, kx * width + c));
            let line = &map[(site + ky * row) * width..][..(N + KERNEL - 1) * width];
            for ix in 0..N + KERNEL - 1 {
                let input = load(line, ix * width + c);
                for (kx, sum) in sums.iter_mut().enumerate() {
                    if let Some(output) = ix.checked_sub(kx).and_then(|n| outputs.get(n)) {
                        *sum = simd.mul_add_e_f32s(input, *output, *sum);
                    }
                }
            }
            for (kx, sum) in sums.into_iter().enumerate() {
                S::as_mut_simd_f32s(&mut taps[kx * width + c..][..S::F32_LANES]).0[0] = sum;
            }
        }
    }
    N
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arches, assert_close, numbers};

    /// Tokens → dense map, as the definition has it.
    fn dense(layout: &Layout, tokens: &[f32], channels: usize) -> Vec<Vec<f64>> {
        let width = layout.grid[1] * layout.patch[1];
        let mut map = vec![vec![0.0; channels]; layout.grid[0] * layout.patch[0] * width];
        for (token, position) in positions(layout).into_iter().enumerate() {
            map[position] = tokens[token * channels..][..channels].iter().map(|v| f64::from(*v)).collect();
        }
        map
    }

    /// Site of every token on the map without halo.
    fn positions(layout: &Layout) -> Vec<usize> {
        let ([rows, columns], [height, width]) = (layout.grid, layout.patch);
        let all: Vec<u32> = (0..(rows * columns) as u32).collect();
        let mut found = Vec::new();
        for &patch in layout.visible.unwrap_or(&all) {
            let (row, column) = (patch as usize / columns, patch as usize % columns);
            for y in 0..height {
                for x in 0..width {
                    found.push((row * height + y) * columns * width + column * width + x);
                }
            }
        }
        found
    }

    struct Naive {
        y: Vec<f64>,
        dx: Vec<f64>,
        dw: Vec<f64>,
        db: Vec<f64>,
    }

    fn naive(layout: &Layout, x: &[f32], w: &[f32], b: &[f32], dy: &[f32]) -> Naive {
        let (channels, positions) = (b.len(), positions(layout));
        let (map, upstream) = (dense(layout, x, channels), dense(layout, dy, channels));
        let width = (layout.grid[1] * layout.patch[1]) as isize;
        let height = (layout.grid[0] * layout.patch[0]) as isize;
        let at = |map: &[Vec<f64>], y: isize, x: isize, c: usize| {
            if (0..height).contains(&y) && (0..width).contains(&x) {
                map[(y * width + x) as usize][c]
            } else {
                0.0
            }
        };
        let mut result = Naive { y: vec![], dx: vec![], dw: vec![0.0; w.len()], db: vec![0.0; channels] };
        for &position in &positions {
            let (py, px) = (position as isize / width, position as isize % width);
            for c in 0..channels {
                let (mut y, mut dx) = (f64::from(b[c]), 0.0);
                result.db[c] += upstream[position][c];
                for tap in 0..TAPS {
                    let (ky, kx) = ((tap / KERNEL) as isize - 3, (tap % KERNEL) as isize - 3);
                    let weight = f64::from(w[c * TAPS + tap]);
                    y += at(&map, py + ky, px + kx, c) * weight;
                    dx += at(&upstream, py - ky, px - kx, c) * weight;
                    result.dw[c * TAPS + tap] += at(&map, py + ky, px + kx, c) * upstream[position][c];
                }
                result.y.push(y);
                result.dx.push(dx);
            }
        }
        result
    }

    /// Half of 64 patches.
    const EVEN: [u32; 32] = {
        let mut patches = [0; 32];
        let mut i = 0;
        while i < 32 {
            patches[i] = 2 * i as u32;
            i += 1;
        }
        patches
    };

    #[test]
    fn forward_and_backward_equal_the_definition() {
        let layouts = [
            Layout::new([1, 1], [1, 1], None),
            Layout::new([1, 1], [9, 13], None),
            Layout::new([3, 2], [8, 8], Some(&[0, 3, 5])),
            Layout::new([2, 3], [4, 4], Some(&[4])),
            Layout::new([7, 7], [1, 1], Some(&[0, 6, 8, 9, 24, 42, 48])),
            Layout::new([7, 7], [1, 1], Some(&[1, 6, 10, 25])),
            Layout::new([3, 3], [2, 2], Some(&[0, 1, 2, 3, 4, 5, 6, 7, 8])),
            Layout::new([4, 5], [1, 1], None),
            // Enough tokens for windows, of every width.
            Layout::new([1, 1], [9, 14], None),
            Layout::new([4, 4], [4, 4], Some(&[0, 3, 5, 6, 9, 12, 15])),
            Layout::new([8, 9], [2, 1], None),
            Layout::new([8, 8], [2, 2], Some(&EVEN)),
        ];
        for arch in arches() {
            // All use one map: what a sample leaves behind must not reach the next.
            for (layout, channels) in
                layouts.iter().flat_map(|l| [(l, 1), (l, 5), (l, 16), (l, 40), (l, 104)])
            {
                let count = layout.tokens() * channels;
                let (x, dy) = (numbers(count, 1), numbers(count, 2));
                let (w, b) = (numbers(channels * TAPS, 3), numbers(channels, 4));
                let expected = naive(layout, &x, &w, &b, &dy);
                let (mut y, mut dx) = (vec![0.0; count], vec![0.0; count]);
                let weights = Weights::new(&w, &b);
                let (all, line) = (layout.lines(), layout.patch[1] * channels);
                forward(arch, layout, &weights, &x, &mut y, 0..all);
                assert_close(&y, &expected.y, 1e-5, "y");
                let mut part = vec![0.0; (all - all / 2) * line];
                forward(arch, layout, &weights, &x, &mut part, all / 2..all);
                assert_eq!(part, y[all / 2 * line..]);
                forward(arch, layout, &Weights::turned(&w, channels), &dy, &mut dx, 0..all);
                assert_close(&dx, &expected.dx, 1e-5, "dx");
                let mut gradient = WeightGradient::new(channels);
                gradient.add(arch, layout, &x, &dy);
                let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; channels]);
                gradient.add_to(&mut dw, &mut db);
                assert_close(&dw, &expected.dw, 1e-5, "dw");
                assert_close(&db, &expected.db, 1e-5, "db");
            }
        }
    }
}
