//! The convolution without overlap: stem, downsampling and, with one site a window, projections.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use host::libtorch::aten::Convolution;
use host::libtorch::copies::in_kind;
use tch::{Kind, Tensor};

use super::layout::{as_map, as_tokens};
use super::linear::weight_gradients;
use super::{cast, gradient};
use crate::nodes::Operation;

/// Where the windows of a convolution lie.
#[derive(Debug)]
pub(crate) enum Windows {
    /// On tokens `[N, T, C]`, which are the sites of maps of so many maps, rows and columns: each of the
    /// patches that exist is a map of its own.
    Tokens { map: [i64; 3], samples: i64 },
    /// All over a map `[N, C, H, W]`, row by row.
    Map,
    /// On a map, patch by patch.
    Patches {
        samples: i64,
        grid: [i64; 2],
        patch: [i64; 2],
        /// Those that exist, counted over all samples; all without.
        picked: Option<TchTensor>,
    },
}

/// Input, weight `[out, in, k, k]` and bias → tokens `[N, T, out]` in f32.
#[derive(Debug)]
pub(crate) struct StridedConv {
    pub(crate) windows: Windows,
    pub(crate) kernel: i64,
    /// Numbers of the convolution.
    pub(crate) kind: Kind,
}

/// What the backward pass needs, in the kind of the convolution.
#[derive(Debug)]
pub(crate) struct Saved {
    /// What was convolved: tokens where windows are single sites, else maps `[…, C, h, w]`.
    input: TchTensor,
    weight: TchTensor,
}

impl StridedConv {
    fn convolution(&self) -> Convolution {
        Convolution { stride: self.kernel, padding: 0, groups: 1 }
    }

    /// Whether it is a linear layer on tokens.
    fn is_linear(&self) -> bool {
        self.kernel == 1 && matches!(self.windows, Windows::Tokens { .. })
    }

    /// Input → maps `[…, C, h, w]`.
    fn to_maps(&self, x: &Tensor) -> Tensor {
        match &self.windows {
            Windows::Map => x.shallow_clone(),
            Windows::Tokens { map, .. } => as_map(x, *map),
            Windows::Patches { samples, grid: [rows, columns], patch: [height, width], picked } => {
                let channels = x.size()[1];
                let patches = x
                    .view([*samples, channels, *rows, *height, *columns, *width])
                    .permute([0, 2, 4, 1, 3, 5])
                    .reshape([samples * rows * columns, channels, *height, *width]);
                match picked {
                    Some(picked) => patches.index_select(0, &picked.tensor),
                    None => patches,
                }
            }
        }
    }

    /// The reverse, for gradients: maps → what was the input, zero where nothing was picked.
    fn back_to_input(&self, maps: &Tensor, input: &[i64]) -> Tensor {
        match &self.windows {
            Windows::Map => maps.shallow_clone(),
            Windows::Tokens { samples, .. } => as_tokens(maps, *samples),
            Windows::Patches { samples, grid: [rows, columns], patch: [height, width], picked } => {
                let channels = input[1];
                let all = [samples * rows * columns, channels, *height, *width];
                let patches = match picked {
                    Some(picked) => {
                        maps.new_zeros(all, (maps.kind(), maps.device())).index_copy_(0, &picked.tensor, maps)
                    }
                    None => maps.shallow_clone(),
                };
                patches
                    .reshape([*samples, *rows, *columns, channels, *height, *width])
                    .permute([0, 3, 1, 4, 2, 5])
                    .reshape(input)
            }
        }
    }

    fn samples(&self, x: &Tensor) -> i64 {
        match &self.windows {
            Windows::Tokens { samples, .. } | Windows::Patches { samples, .. } => *samples,
            Windows::Map => x.size()[0],
        }
    }

    /// Gradient of the tokens that came out, `[N, T, out]` → that of maps.
    fn to_maps_out(&self, dy: &Tensor, input: &Tensor) -> Tensor {
        let [maps, _, height, width] = sizes(input);
        as_map(dy, [maps, height / self.kernel, width / self.kernel])
    }
}

fn sizes(map: &Tensor) -> [i64; 4] {
    map.size().try_into().expect("maps [N, C, H, W]")
}

impl Operation<LibTorch, 3> for StridedConv {
    type Saved = Saved;

    fn forward(&self, [x, weight, bias]: &[TchTensor; 3]) -> (TchTensor, Saved) {
        let [weight, bias] = [weight, bias].map(|weight| in_kind(&weight.tensor, self.kind));
        let x = cast(&x.tensor, self.kind);
        let (input, weight, y) = if self.is_linear() {
            let weight = weight.view([weight.size()[0], -1]);
            let y = x.linear(&weight, Some(&bias));
            (x, weight, y)
        } else {
            let maps = self.to_maps(&x);
            let y = as_tokens(&self.convolution().forward(&maps, &weight, &bias), self.samples(&x));
            (maps, weight, y)
        };
        let [input, weight] = [input, weight].map(TchTensor::new);
        (TchTensor::new(cast(&y, Kind::Float)), Saved { input, weight })
    }

    fn backward(
        &self,
        inputs: &[TchTensor; 3],
        saved: &Saved,
        dy: TchTensor,
        [wants_dx, ..]: [bool; 3],
    ) -> [Option<TchTensor>; 3] {
        let [x, weight, bias] = inputs;
        let (input, kernel) = (&saved.input.tensor, &saved.weight.tensor);
        let dy = cast(&dy.tensor, self.kind);
        let (dx, [d_weight, d_bias]) = if self.is_linear() {
            (wants_dx.then(|| dy.matmul(kernel)), weight_gradients(&dy, input))
        } else {
            let d_maps = self.to_maps_out(&dy, input);
            let [dx, d_weight, d_bias] = self.convolution().backward(&d_maps, input, kernel, wants_dx);
            (wants_dx.then(|| self.back_to_input(&dx, &x.tensor.size())), [d_weight, d_bias])
        };
        let dx = dx.map(|dx| gradient::of(x, &dx));
        [dx, Some(gradient::of_weight(weight, &d_weight)), Some(gradient::of_weight(bias, &d_bias))]
    }
}
