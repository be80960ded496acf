//! The two convolutions of the network: strided without overlap, and depthwise.

use burn::module::{Module, Param};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, module};

use crate::engine::Compute;
use crate::ops;
use crate::sites::Sites;

/// Kernel side of the depthwise convolution (paper, figure 5).
pub const DEPTHWISE_KERNEL: usize = 7;

/// A k×k convolution of stride k: stem, downsampling and, with k = 1, projection.
///
/// Its windows do not overlap, so it is a linear layer over gathered windows. That is what lets
/// the compact execution run it on visible sites alone.
#[derive(Module, Debug)]
pub struct StridedConv {
    /// `[out, in, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    compute: Compute,
}

impl StridedConv {
    /// A layer of zeros; [`initialize`](crate::init::initialize) gives it values.
    pub fn zeros(inputs: usize, outputs: usize, kernel: usize, compute: Compute, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::zeros([outputs, inputs, kernel, kernel], device)),
            bias: Param::from_tensor(Tensor::zeros([outputs], device)),
            compute,
        }
    }

    /// Chooses what computes the layer.
    pub fn set_compute(&mut self, compute: Compute) {
        self.compute = compute;
    }

    /// Images `[N, in, H, W]` → the tokens `[N, T, out]` of their k×k windows at `sites`, and the
    /// coarser sites that these form.
    pub fn forward_map(&self, images: Tensor<4>, sites: &Sites) -> (Tensor<3>, Sites) {
        let by_tokens = |images| self.linear(sites.gather(images), sites);
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let y = ops::strided_conv_of_map(self.compute, images, weight, bias, sites, by_tokens);
        (y, sites.coarser(self.kernel()))
    }

    /// Tokens `[N, T, in]` at `sites` → tokens `[N, T / k², out]` at the coarser sites returned.
    pub fn forward(&self, x: Tensor<3>, sites: &Sites) -> (Tensor<3>, Sites) {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let y = ops::strided_conv(self.compute, x, weight, bias, sites, |x| self.linear(x, sites));
        (y, sites.coarser(self.kernel()))
    }

    /// Applies a 1×1 convolution token by token.
    pub fn pointwise(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, _] = x.dims();
        self.forward(x, &Sites::all(batch, [1, tokens])).0
    }

    fn kernel(&self) -> usize {
        self.weight.dims()[2]
    }

    /// The linear layer over gathered windows: what the convolution is.
    fn linear(&self, x: Tensor<3>, sites: &Sites) -> Tensor<3> {
        let [outputs, inputs, kernel, _] = self.weight.dims();
        let weight = self.weight.val().permute([0, 2, 3, 1]).reshape([outputs, kernel * kernel * inputs]);
        module::linear(sites.windows(x, kernel).0, weight.transpose(), Some(self.bias.val()))
    }
}

/// The depthwise 7×7 convolution: the one place where a site sees its neighbours.
#[derive(Module, Debug)]
pub struct DepthwiseConv {
    /// `[C, 1, 7, 7]`.
    pub weight: Param<Tensor<4>>,
    /// `[C]`.
    pub bias: Param<Tensor<1>>,
}

impl DepthwiseConv {
    /// A layer of zeros; [`initialize`](crate::init::initialize) gives it values.
    pub fn zeros(channels: usize, device: &Device) -> Self {
        let kernel = [channels, 1, DEPTHWISE_KERNEL, DEPTHWISE_KERNEL];
        Self {
            weight: Param::from_tensor(Tensor::zeros(kernel, device)),
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
        }
    }

    /// Tokens `[N, T, C]` → the same. Submanifold: hidden neighbours and everything beyond the
    /// border read as zero.
    pub fn forward(&self, x: Tensor<3>, sites: &Sites) -> Tensor<3> {
        let channels = self.bias.dims()[0];
        let padding = DEPTHWISE_KERNEL / 2;
        let options = ConvOptions::new([1, 1], [padding, padding], [1, 1], channels);
        let map = sites.scatter(x);
        let map = module::conv2d(map, self.weight.val(), Some(self.bias.val()), options);
        sites.hide(sites.gather(map))
    }
}
