//! Stem, four stages, and the downsampling between them.

use std::fmt;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::block::Block;
use crate::config::ConvNextV2Config;
use crate::conv::StridedConv;
use crate::drop_path::DropPath;
use crate::engine::Compute;
use crate::epsilon;
use crate::grn_stats::GrnStats;
use crate::layer_norm::LayerNorm;
use crate::sites::Sites;

/// k×k convolution of stride k, then LayerNorm.
#[derive(Module, Debug)]
pub struct Stem {
    /// Patch embedding.
    pub conv: StridedConv,
    /// LayerNorm over channels.
    pub norm: LayerNorm,
}

/// Is shown the official name of every layer, as its weights begin, and its output `[N, T, C]`.
pub type Observe<'a> = dyn FnMut(fmt::Arguments, &Tensor<3>) + 'a;

/// LayerNorm, then 2×2 convolution of stride 2.
#[derive(Module, Debug)]
pub struct Downsample {
    /// LayerNorm over channels.
    pub norm: LayerNorm,
    /// Halves the resolution.
    pub conv: StridedConv,
}

/// The encoder of ConvNeXt V2 without its final norm (paper, section 3 and figure 2).
#[derive(Module, Debug)]
pub struct Encoder {
    /// Pixels → first stage.
    pub stem: Stem,
    /// Stage i → stage i + 1.
    pub downsample: Vec<Downsample>,
    /// Blocks of each stage.
    pub stages: Vec<Vec<Block>>,
}

/// One feature map: the tokens of its existing sites.
#[derive(Debug, Clone)]
pub struct Features {
    /// The values of existing sites, `[N, T, C]`.
    pub tokens: Tensor<3>,
    /// What the tokens stand for.
    pub sites: Sites,
}

impl Features {
    /// The dense map `[N, C, H, W]`, zero at hidden sites.
    pub fn map(&self) -> Tensor<4> {
        self.sites.scatter(self.tokens.clone())
    }
}

impl Encoder {
    /// An encoder of zeros; [`initialize`](crate::init::initialize) gives it values.
    pub fn zeros(config: &ConvNextV2Config, stats: GrnStats, compute: Compute, device: &Device) -> Self {
        let sizes = &config.hidden_sizes;
        let stem = Stem {
            conv: StridedConv::zeros(config.num_channels, sizes[0], config.patch_size, compute, device),
            norm: LayerNorm::new(sizes[0], epsilon::LAYER_NORM, compute, device),
        };
        let downsample = sizes.windows(2).map(|pair| Downsample {
            norm: LayerNorm::new(pair[0], epsilon::LAYER_NORM, compute, device),
            conv: StridedConv::zeros(pair[0], pair[1], 2, compute, device),
        });
        let stages = config.depths.iter().zip(sizes).map(|(&depth, &channels)| {
            (0..depth).map(|_| Block::zeros(channels, config.hidden_act, stats, compute, device)).collect()
        });
        Self { stem, downsample: downsample.collect(), stages: stages.collect() }
    }

    /// Chooses what computes blocks, convolutions and norms.
    pub fn set_compute(&mut self, compute: Compute) {
        self.stem.conv.set_compute(compute);
        self.stem.norm.set_compute(compute);
        for layer in &mut self.downsample {
            layer.norm.set_compute(compute);
            layer.conv.set_compute(compute);
        }
        self.stages.iter_mut().flatten().for_each(|block| block.set_compute(compute));
    }

    /// Keeps γ and β of every GRN as they are: nothing is learnt by them.
    pub fn freeze_grn(&mut self) {
        self.stages.iter_mut().flatten().for_each(Block::freeze_grn);
    }

    /// The outputs of stem and stages, in order.
    ///
    /// # Shapes
    /// `images`: `[N, C, H, W]`. `sites`: the pixels to look at, see [`Sites::all`] and
    /// [`Sites::masked`]; what else the images hold cannot influence the result.
    pub fn forward(&self, images: Tensor<4>, sites: &Sites, drop_path: Option<&DropPath>) -> Vec<Features> {
        self.forward_observed(images, sites, drop_path, &mut |_, _| {})
    }

    /// The same, layer by layer before the eyes of `observe`.
    pub fn forward_observed(
        &self,
        images: Tensor<4>,
        sites: &Sites,
        drop_path: Option<&DropPath>,
        observe: &mut Observe,
    ) -> Vec<Features> {
        let (x, mut sites) = self.stem.conv.forward_map(images, sites);
        let mut x = sites.hide(self.stem.norm.forward(x));
        observe(format_args!("downsample_layers.0"), &x);
        let mut outputs = vec![Features { tokens: x.clone(), sites: sites.clone() }];
        let mut number = 0;
        for (i, stage) in self.stages.iter().enumerate() {
            if i > 0 {
                let Downsample { norm, conv } = &self.downsample[i - 1];
                (x, sites) = conv.forward(norm.forward(x), &sites);
                x = sites.hide(x);
                observe(format_args!("downsample_layers.{i}"), &x);
            }
            for (j, block) in stage.iter().enumerate() {
                x = block.forward(x, &sites, drop_path.map(|d| d.scale(number)));
                observe(format_args!("stages.{i}.{j}"), &x);
                number += 1;
            }
            outputs.push(Features { tokens: x.clone(), sites: sites.clone() });
        }
        outputs
    }
}
