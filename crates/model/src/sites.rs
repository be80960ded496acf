//! Which sites of a feature map exist, and how their tokens are laid out.
//!
//! All three executions of the encoder work on tokens `[N, T, C]`, one per existing site, in the
//! order patch, row within the patch, column within the patch:
//!
//! * **plain**: the whole map is one patch, so tokens are in row-major order;
//! * **masked**: all patches are present and hidden ones are held at zero, the dense simulation
//!   of a submanifold convolution, kept as the reference;
//! * **compact**: only visible patches are present, so that nothing is spent on hidden ones.

use std::sync::Arc;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor};
use kernels::block::{Batch, Statistics};
use kernels::dwconv7::Neighbours;
use kernels::strided_conv::{Order, Windows};
use serde::{Deserialize, Serialize};

use crate::map_rows::MapRows;
use crate::patch_mask::PatchMask;

/// How the encoder runs on a masked image; the results are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Execution {
    /// Visible tokens gathered: the work of the visible patches only.
    #[default]
    Compact,
    /// All tokens, hidden ones held at zero: the dense simulation.
    Masked,
}

/// The existing sites of a feature map of `grid` × `patch` sites.
#[derive(Debug, Clone)]
pub struct Sites {
    batch: usize,
    /// Patches: rows, columns.
    grid: [usize; 2],
    /// Sites of a patch: rows, columns.
    patch: [usize; 2],
    shown: Shown,
    /// Worked out once for all blocks of a stage, where libtorch computes.
    map_rows: MapRows,
    /// The same where our kernels compute.
    neighbours: Neighbours,
}

#[derive(Debug, Clone)]
enum Shown {
    All,
    /// 1 = visible, `[N, L, 1]`.
    Masked(Tensor<3>),
    /// The visible patches.
    Compact(Rows),
}

/// How the tokens of a batch lie on the dense map.
#[cfg_attr(not(feature = "tch"), allow(dead_code, reason = "only libtorch reads it"))]
pub(crate) struct TokenLayout<'a> {
    /// Samples, rows and columns of the map.
    pub(crate) map: [usize; 3],
    /// Patches: rows, columns.
    pub(crate) grid: [usize; 2],
    /// Sites of a patch: rows, columns.
    pub(crate) patch: [usize; 2],
    /// Indices into the patches of all samples, in the order of the tokens; none where the tokens are
    /// all sites of the map, row by row.
    pub(crate) patch_rows: Option<Tensor<1, Int>>,
    /// `[N, T, 1]`, 1 = visible; none where every token is.
    pub(crate) keep: Option<Tensor<3>>,
    /// Places of tokens on the map, worked out once for all blocks of a stage.
    pub(crate) map_rows: &'a MapRows,
}

/// The same number of patches picked from every sample.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Indices into the N·L patches.
    indices: Tensor<1, Int>,
    /// Indices into the L patches of each sample, for kernels that read memory.
    host: Arc<[u32]>,
    patches: usize,
    picked: usize,
}

impl Rows {
    /// From the patches picked in each sample, out of `patches`, and their indices among those of all.
    pub(crate) fn new(indices: Tensor<1, Int>, picked: &[Vec<usize>], patches: usize) -> Self {
        Self {
            indices,
            host: picked.iter().flatten().map(|patch| *patch as u32).collect(),
            patches,
            picked: picked.first().map_or(0, Vec::len),
        }
    }

    /// Indices into the patches of each sample, sample after sample.
    pub(crate) fn host(&self) -> &[u32] {
        &self.host
    }

    /// Flat indices of the tokens of picked patches, where every patch has `sites` of them.
    pub(crate) fn token_indices(&self, sites: usize) -> Tensor<1, Int> {
        if sites == 1 {
            return self.indices.clone();
        }
        let within = Tensor::<1, Int>::arange(0..sites as i64, &self.indices.device());
        let first = self.indices.clone().reshape([-1, 1]) * sites as i64;
        (first + within.reshape([1, -1])).reshape([-1])
    }

    /// Keeps the tokens of picked patches: `[N, L·s, C]` → `[N, picked·s, C]`, where every patch
    /// has s tokens.
    pub fn select(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, channels] = x.dims();
        let sites = tokens / self.patches;
        let x = x.reshape([batch * self.patches, sites * channels]);
        x.select(0, self.indices.clone()).reshape([batch, self.picked * sites, channels])
    }

    /// The reverse: `[N, picked·s, C]` → `[N, L·s, C]`, zero where nothing was picked.
    pub fn spread(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, channels] = x.dims();
        let sites = tokens / self.picked;
        let all = Tensor::<2>::zeros([batch * self.patches, sites * channels], &x.device());
        let x = x.reshape([batch * self.picked, sites * channels]);
        all.select_assign(0, self.indices.clone(), x, IndexingUpdateOp::Add).reshape([
            batch,
            self.patches * sites,
            channels,
        ])
    }
}

impl Sites {
    fn new(batch: usize, grid: [usize; 2], patch: [usize; 2], shown: Shown) -> Self {
        let lists = if matches!(shown, Shown::Compact(_)) { batch } else { 0 };
        let (map_rows, neighbours) = (MapRows::default(), Neighbours::of(lists));
        Self { batch, grid, patch, shown, map_rows, neighbours }
    }

    /// Every site of an N × `[height, width]` map.
    pub fn all(batch: usize, map: [usize; 2]) -> Self {
        Self::new(batch, [1, 1], map, Shown::All)
    }

    /// Every site of a map of `grid` patches of `patch` sites, in patch order.
    pub fn all_patches(batch: usize, grid: [usize; 2], patch: [usize; 2]) -> Self {
        Self::new(batch, grid, patch, Shown::All)
    }

    /// The visible sites of a masked map whose patches have `patch` sites each.
    pub fn masked(mask: &PatchMask, patch: [usize; 2], execution: Execution, device: &Device) -> Self {
        let rows = mask.visible_rows(device);
        let shown = match execution {
            Execution::Compact => Shown::Compact(rows),
            Execution::Masked => {
                Shown::Masked(rows.spread(Tensor::ones([mask.batch(), rows.picked, 1], device)))
            }
        };
        Self::new(mask.batch(), mask.grid(), patch, shown)
    }

    /// Sites of the whole map, existing or not: rows, columns.
    pub fn map(&self) -> [usize; 2] {
        [self.grid[0] * self.patch[0], self.grid[1] * self.patch[1]]
    }

    /// Samples of the batch.
    pub(crate) fn samples(&self) -> usize {
        self.batch
    }

    /// Patches: rows, columns.
    pub(crate) fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// Sites of a patch: rows, columns.
    pub(crate) fn patch(&self) -> [usize; 2] {
        self.patch
    }

    /// Indices of the patches that exist, counted over all samples; none where all do.
    pub(crate) fn present_patches(&self) -> Option<Tensor<1, Int>> {
        match &self.shown {
            Shown::Compact(rows) => Some(rows.indices.clone()),
            Shown::All | Shown::Masked(_) => None,
        }
    }

    /// Number of tokens of an existing patch.
    pub(crate) fn patch_sites(&self) -> usize {
        self.patch[0] * self.patch[1]
    }

    /// Which tokens exist, for kernels that read memory; none when hidden ones exist too.
    pub(crate) fn kernel_batch(&self, statistics: Statistics) -> Option<Batch> {
        let visible = match &self.shown {
            Shown::All => None,
            Shown::Compact(rows) => Some(rows.host().to_vec()),
            Shown::Masked(_) => return None,
        };
        let (samples, grid, patch) = (self.batch, self.grid, self.patch);
        let neighbours = self.neighbours.clone();
        let (selected, branch_scale) = (None, None);
        Some(Batch { samples, grid, patch, visible, selected, branch_scale, statistics, neighbours })
    }

    /// Where the k×k windows of tokens or of a map lie, for kernels that read memory.
    pub(crate) fn kernel_windows(&self, channels: usize, kernel: usize, order: Order) -> Windows {
        let visible = match &self.shown {
            Shown::Compact(rows) => Some(rows.host().to_vec()),
            Shown::All | Shown::Masked(_) => None,
        };
        let (samples, grid, patch) = (self.batch, self.grid, self.patch);
        Windows { samples, grid, patch, visible, channels, kernel, order }
    }

    /// How the tokens lie on the map, for libtorch's kernels.
    pub(crate) fn token_layout(&self, device: &Device) -> TokenLayout<'_> {
        let (patches, [height, width]) = (self.grid[0] * self.grid[1], self.map());
        let patch_rows = match &self.shown {
            Shown::Compact(rows) => Some(rows.indices.clone()),
            // One patch, or patches of one site: the order of the tokens is that of the map.
            _ if patches == 1 || self.patch == [1, 1] => None,
            _ => Some(Tensor::arange(0..(self.batch * patches) as i64, device)),
        };
        let keep = match &self.shown {
            Shown::Masked(keep) => {
                let sites = self.patch_sites();
                Some(keep.clone().repeat_dim(2, sites).reshape([self.batch, patches * sites, 1]))
            }
            Shown::All | Shown::Compact(_) => None,
        };
        let (map, map_rows) = ([self.batch, height, width], &self.map_rows);
        TokenLayout { map, grid: self.grid, patch: self.patch, patch_rows, keep, map_rows }
    }

    /// The sites that k×k windows form; rows and columns that fill no window are left out, as in a
    /// convolution without padding.
    pub(crate) fn coarser(&self, k: usize) -> Self {
        Self::new(self.batch, self.grid, self.patch.map(|sites| sites / k), self.shown.clone())
    }

    /// Patches of which tokens exist, per sample.
    pub(crate) fn present(&self) -> usize {
        match &self.shown {
            Shown::Compact(rows) => rows.picked,
            Shown::All | Shown::Masked(_) => self.grid[0] * self.grid[1],
        }
    }

    /// A dense map `[N, C, H, W]` → the tokens `[N, T, C]` of existing sites.
    pub fn gather(&self, map: Tensor<4>) -> Tensor<3> {
        let channels = map.dims()[1];
        let ([rows, columns], [height, width]) = (self.grid, self.patch);
        let x = map
            .reshape([self.batch, channels, rows, height, columns, width])
            .permute([0, 2, 4, 3, 5, 1])
            .reshape([self.batch, rows * columns * height * width, channels]);
        match &self.shown {
            Shown::Compact(present) => present.select(x),
            Shown::All | Shown::Masked(_) => x,
        }
    }

    /// Tokens `[N, T, C]` → the dense map `[N, C, H, W]`, zero where no token exists.
    pub fn scatter(&self, tokens: Tensor<3>) -> Tensor<4> {
        let channels = tokens.dims()[2];
        let ([rows, columns], [height, width]) = (self.grid, self.patch);
        let x = match &self.shown {
            Shown::Compact(present) => present.spread(tokens),
            Shown::All | Shown::Masked(_) => tokens,
        };
        x.reshape([self.batch, rows, columns, height, width, channels]).permute([0, 5, 1, 3, 2, 4]).reshape([
            self.batch,
            channels,
            rows * height,
            columns * width,
        ])
    }

    /// Zeroes the tokens of hidden sites; only the masked execution has any.
    pub fn hide(&self, tokens: Tensor<3>) -> Tensor<3> {
        let Shown::Masked(keep) = &self.shown else { return tokens };
        let [batch, count, channels] = tokens.dims();
        let x = tokens.reshape([batch, self.present(), count / self.present() * channels]);
        (x * keep.clone()).reshape([batch, count, channels])
    }

    /// The non-overlapping k×k windows of the map: tokens `[N, T, C]` → `[N, T / k², k·k·C]` in
    /// the order row, column, channel, with the coarser sites that they form.
    pub fn windows(&self, tokens: Tensor<3>, k: usize) -> (Tensor<3>, Self) {
        let channels = tokens.dims()[2];
        let [height, width] = self.patch;
        let [rows, columns] = [height / k, width / k];
        let x = tokens.reshape([self.batch * self.present(), height, width, channels]);
        let x = match [rows * k, columns * k] {
            full if full == self.patch => x,
            [height, width] => x.slice([0..self.batch * self.present(), 0..height, 0..width]),
        };
        let x = x
            .reshape([self.batch * self.present() * rows, k, columns, k * channels])
            .permute([0, 2, 1, 3])
            .reshape([self.batch, self.present() * rows * columns, k * k * channels]);
        (x, self.coarser(k))
    }
}
