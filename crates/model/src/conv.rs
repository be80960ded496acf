//! The two convolutions of the network: strided without overlap, and depthwise.

use burn::module::{Module, Param};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, module};
use kernels::strided_conv::Order;

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
        self.by_windows(images, sites, Order::Map, by_tokens)
    }

    /// Tokens `[N, T, in]` at `sites` → tokens `[N, T / k², out]` at the coarser sites returned.
    pub fn forward(&self, x: Tensor<3>, sites: &Sites) -> (Tensor<3>, Sites) {
        self.by_windows(x, sites, Order::Tokens, |x| self.linear(x, sites))
    }

    /// Applies a 1×1 convolution token by token.
    pub fn pointwise(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, _] = x.dims();
        self.forward(x, &Sites::all(batch, [1, tokens])).0
    }

    /// The linear layer over gathered windows.
    fn linear(&self, x: Tensor<3>, sites: &Sites) -> Tensor<3> {
        let [outputs, inputs, kernel, _] = self.weight.dims();
        let weight = self.weight.val().permute([0, 2, 3, 1]).reshape([outputs, kernel * kernel * inputs]);
        ops::linear(self.compute, sites.windows(x, kernel).0, weight, self.bias.val())
    }

    /// By a kernel that reads the windows where they lie, or as `definition` has it.
    fn by_windows<const D: usize>(
        &self,
        x: Tensor<D>,
        sites: &Sites,
        order: Order,
        definition: impl FnOnce(Tensor<D>) -> Tensor<3>,
    ) -> (Tensor<3>, Sites) {
        let [_, inputs, kernel, _] = self.weight.dims();
        let windows = || sites.kernel_windows(inputs, kernel, order);
        let y = ops::strided_conv(self.compute, x, self.weight.val(), self.bias.val(), windows, definition);
        (y, sites.coarser(kernel))
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
