//! A classifier made for inference: weights packed once, and nothing kept for a backward pass.

use burn::tensor::Tensor;
use host::HostTensor;
use kernels::block::{self, Batch, Statistics};
use kernels::dwconv7::Neighbours;
use kernels::strided_conv::{self, Order, Windows};
use kernels::{Arch, Format, layer_norm, pooling};

use crate::activation::Activation;
use crate::block_weights::BlockWeights;
use crate::conv::StridedConv;
use crate::convnextv2::ConvNextV2ForImageClassification;
use crate::encoder::Downsample;
use crate::engine::{Engine, Kernels};
use crate::layer_norm::LayerNorm;

/// [`ConvNextV2ForImageClassification`] as our kernels read it. The same numbers up to rounding: what the norms
/// multiply and add is part of the layers behind them.
///
/// ```
/// use burn::tensor::Device;
/// use model::{ConvNextV2Config, ConvNextV2ForImageClassification, Format, PreparedClassifier, Size};
///
/// let device = Device::flex();
/// let config = ConvNextV2Config { num_labels: 10, ..ConvNextV2Config::from_size(Size::Atto) };
/// let classifier = ConvNextV2ForImageClassification::new(&config, 0, &device)?;
/// let prepared = PreparedClassifier::new(&classifier, Format::F32).expect("GELU, on the processor");
/// let logits = prepared.forward(&vec![0.5; 2 * 3 * 64 * 64], [2, 3, 64, 64]);
/// assert_eq!(logits.len(), 2 * 10);
/// # Ok::<(), model::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct PreparedClassifier {
    arch: Arch,
    /// Pixels of a side of the stem's windows.
    patch: usize,
    stem: strided_conv::Prepared,
    stem_norm: Norm,
    stages: Vec<Stage>,
    norm: Norm,
    /// Reads the pooled features before weight and bias of their norm.
    head: Option<strided_conv::Prepared>,
}

#[derive(Debug)]
struct Stage {
    /// All stages but the first begin with one.
    downsample: Option<Halving>,
    channels: usize,
    blocks: Vec<block::Prepared>,
}

/// LayerNorm and 2×2 convolution.
#[derive(Debug)]
struct Halving {
    epsilon: f32,
    conv: strided_conv::Prepared,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

/// Why our kernels do not compute a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unprepared {
    /// Others were asked for.
    #[error("model.kernels asks for others than \"fused\"")]
    Kernels,
    /// Blocks with another activation than GELU.
    #[error("model.hidden_act is another activation than \"gelu\"")]
    Activation,
    /// Its weights are on another device than this machine's processor.
    #[error("its device is not the processor")]
    Device,
}

impl PreparedClassifier {
    /// Whether our kernels compute a network.
    ///
    /// # Errors
    /// Why they do not.
    pub fn suits(network: &ConvNextV2ForImageClassification) -> Result<(), Unprepared> {
        let encoder = &network.convnextv2.encoder;
        let device = encoder.stem.conv.weight.val().device();
        encoder.stages.iter().flatten().try_for_each(|block| {
            match (block.compute().engine(&device), block.compute().kernels) {
                (Engine::Slices, _) if block.activation() == Activation::Gelu => Ok(()),
                (Engine::Slices, _) => Err(Unprepared::Activation),
                (_, Kernels::Fused) => Err(Unprepared::Device),
                (_, Kernels::Reference | Kernels::Aten) => Err(Unprepared::Kernels),
            }
        })
    }

    /// Makes it, the linear layers and downsampling in the format given; stem and head are always f32.
    /// None where our kernels do not compute the network, see [`suits`](Self::suits).
    pub fn new(network: &ConvNextV2ForImageClassification, format: Format) -> Option<Self> {
        Self::suits(network).ok()?;
        let (encoder, arch) = (&network.convnextv2.encoder, Arch::new());
        let patch = encoder.stem.conv.weight.dims()[2];
        let stages = encoder.stages.iter().enumerate().map(|(i, blocks)| Stage {
            downsample: i.checked_sub(1).map(|i| Halving::new(arch, format, &encoder.downsample[i])),
            channels: outputs(if i == 0 { &encoder.stem.conv } else { &encoder.downsample[i - 1].conv }),
            blocks: blocks.iter().map(|block| prepare_block(arch, format, block.weights())).collect(),
        });
        let norm = Norm::new(&network.convnextv2.norm);
        let head = network.head.as_ref().map(|head| {
            let (weight, bias) = (values(head.weight.val()), values(head.bias.val()));
            let windows = rows(1, norm.weight.len());
            strided_conv::Prepared::after_norm(
                arch,
                Format::F32,
                &windows,
                &weight,
                &bias,
                (&norm.weight, &norm.bias),
            )
        });
        let stem = {
            let (weight, bias) =
                (values(encoder.stem.conv.weight.val()), values(encoder.stem.conv.bias.val()));
            let windows = map_windows([1, encoder.stem.conv.weight.dims()[1], patch, patch], patch);
            strided_conv::Prepared::new(arch, &windows, &weight, &bias)
        };
        let stem_norm = Norm::new(&encoder.stem.norm);
        Some(Self { arch, patch, stem, stem_norm, stages: stages.collect(), norm, head })
    }

    /// Logits, or features where there is no head, image by image, of normalised images `[N, C, H, W]`.
    ///
    /// # Panics
    /// If there are not as many numbers as the shape says, or other channels than the network's.
    pub fn forward(&self, images: &[f32], shape: [usize; 4]) -> Vec<f32> {
        let (arch, [samples, _, height, width]) = (self.arch, shape);
        let mut map = [height / self.patch, width / self.patch];
        let mut x = strided_conv::forward(arch, &map_windows(shape, self.patch), images, &self.stem);
        self.stem_norm.apply(arch, &mut x);
        let mut channels = self.stem_norm.weight.len();
        for stage in &self.stages {
            if let Some(Halving { epsilon, conv }) = &stage.downsample {
                layer_norm::normalize_all(arch, &mut x, channels, *epsilon);
                let (grid, order) = ([1, 1], Order::Tokens);
                let windows =
                    Windows { samples, grid, patch: map, visible: None, channels, kernel: 2, order };
                x = strided_conv::forward(arch, &windows, &x, conv);
                map = map.map(|side| side / 2);
                channels = stage.channels;
            }
            let batch = Batch {
                samples,
                grid: [1, 1],
                patch: map,
                visible: None,
                selected: None,
                branch_scale: None,
                statistics: Statistics::Sample,
                neighbours: Neighbours::default(),
            };
            for block in &stage.blocks {
                x = block::infer(arch, &batch, block, &x);
            }
        }
        let mut features = pooling::mean(arch, &x, samples, channels);
        match &self.head {
            Some(head) => {
                layer_norm::normalize_all(arch, &mut features, channels, self.norm.epsilon);
                strided_conv::forward(arch, &rows(samples, channels), &features, head)
            }
            None => {
                self.norm.apply(arch, &mut features);
                features
            }
        }
    }
}

fn prepare_block(arch: Arch, format: Format, weights: BlockWeights) -> block::Prepared {
    let BlockWeights { dwconv, gamma, beta, pwconv1, pwconv2, .. } = weights;
    block::Prepared::new(
        arch,
        format,
        &block::Weights {
            dwconv: &values(dwconv),
            dwconv_bias: &values(weights.dwconv_bias),
            norm: &values(weights.norm),
            norm_bias: &values(weights.norm_bias),
            pwconv1: &values(pwconv1),
            pwconv1_bias: &values(weights.pwconv1_bias),
            gamma: &values(gamma),
            beta: &values(beta),
            pwconv2: &values(pwconv2),
            pwconv2_bias: &values(weights.pwconv2_bias),
        },
    )
}

impl Halving {
    fn new(arch: Arch, format: Format, Downsample { norm, conv }: &Downsample) -> Self {
        let [_, channels, kernel, _] = conv.weight.dims();
        let (weight, bias) = (values(conv.weight.val()), values(conv.bias.val()));
        let (grid, patch, order) = ([1, 1], [kernel, kernel], Order::Tokens);
        let windows = Windows { samples: 1, grid, patch, visible: None, channels, kernel, order };
        let norm = Norm::new(norm);
        let conv = strided_conv::Prepared::after_norm(
            arch,
            format,
            &windows,
            &weight,
            &bias,
            (&norm.weight, &norm.bias),
        );
        Self { epsilon: norm.epsilon, conv }
    }
}

impl Norm {
    fn new(norm: &LayerNorm) -> Self {
        let (weight, bias) = (values(norm.weight.val()), values(norm.bias.val()));
        Self { weight, bias, epsilon: norm.epsilon as f32 }
    }

    fn apply(&self, arch: Arch, x: &mut [f32]) {
        layer_norm::apply_all(arch, x, &self.weight, &self.bias, self.epsilon);
    }
}

/// The windows of a stem on whole images.
fn map_windows([samples, channels, height, width]: [usize; 4], kernel: usize) -> Windows {
    let (grid, order) = ([1, 1], Order::Map);
    Windows { samples, grid, patch: [height, width], visible: None, channels, kernel, order }
}

/// Rows for a linear layer: a convolution of 1×1 windows.
fn rows(samples: usize, channels: usize) -> Windows {
    let (grid, patch, order) = ([1, 1], [1, 1], Order::Tokens);
    Windows { samples, grid, patch, visible: None, channels, kernel: 1, order }
}

fn outputs(conv: &StridedConv) -> usize {
    conv.bias.dims()[0]
}

/// The values of a parameter in this machine's memory.
fn values<const D: usize>(parameter: Tensor<D>) -> Vec<f32> {
    let parameter = if parameter.is_autodiff() { parameter.inner() } else { parameter };
    HostTensor::new(parameter).expect("a parameter in this machine's memory").values().to_vec()
}
