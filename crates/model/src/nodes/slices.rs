//! Our kernels as operations: on the memory of Flex and of libtorch on the CPU.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use host::HostBackend;
use kernels::block::{self as block_kernel, Batch, Weights};
use kernels::strided_conv::{self, Windows};
use kernels::{Arch, Format, layer_norm};

use super::operation::Operation;

/// The block on a batch; input and weights in the order of [`BlockWeights`](crate::ops::BlockWeights).
#[derive(Debug)]
pub(crate) struct Block(pub(crate) Batch);

fn weights<B: HostBackend>(t: &[FloatTensor<B>; 11]) -> Weights<'_> {
    Weights {
        dwconv: B::values(&t[1]),
        dwconv_bias: B::values(&t[2]),
        norm: B::values(&t[3]),
        norm_bias: B::values(&t[4]),
        pwconv1: B::values(&t[5]),
        pwconv1_bias: B::values(&t[6]),
        gamma: B::values(&t[7]),
        beta: B::values(&t[8]),
        pwconv2: B::values(&t[9]),
        pwconv2_bias: B::values(&t[10]),
    }
}

impl Block {
    fn output<B: HostBackend>(&self, values: Vec<f32>, x: &FloatTensor<B>) -> FloatTensor<B> {
        let channels = x.shape()[2];
        B::tensor(values, [self.0.samples, self.0.tokens_out(), channels])
    }
}

impl<B: HostBackend> Operation<B, 11> for Block {
    type Saved = block_kernel::Saved;

    fn infer(&self, t: &[FloatTensor<B>; 11]) -> FloatTensor<B> {
        let prepared = block_kernel::Prepared::new(Arch::new(), Format::F32, &weights::<B>(t));
        let y = block_kernel::infer(Arch::new(), &self.0, &prepared, B::values(&t[0]));
        self.output::<B>(y, &t[0])
    }

    fn forward(&self, t: &[FloatTensor<B>; 11]) -> (FloatTensor<B>, Self::Saved) {
        let (y, saved) = block_kernel::forward(Arch::new(), &self.0, &weights::<B>(t), B::values(&t[0]));
        (self.output::<B>(y, &t[0]), saved)
    }

    fn save(&self, t: &[FloatTensor<B>; 11]) -> Self::Saved {
        block_kernel::save(Arch::new(), &self.0, &weights::<B>(t), B::values(&t[0]))
    }

    fn backward(
        &self,
        t: &[FloatTensor<B>; 11],
        saved: &Self::Saved,
        dy: FloatTensor<B>,
        _wanted: [bool; 11],
    ) -> [Option<FloatTensor<B>>; 11] {
        let (x, dy) = (B::values(&t[0]), B::values(&dy));
        let (dx, dw) = block_kernel::backward(Arch::new(), &self.0, &weights::<B>(t), x, saved, dy);
        let mut values = std::iter::once(dx).chain(dw.into_array());
        t.each_ref().map(|input| values.next().map(|values| B::tensor(values, input.shape())))
    }
}

/// The convolution of these windows; input, weight `[out, in, k, k]` and bias.
#[derive(Debug)]
pub(crate) struct StridedConv(pub(crate) Windows);

impl<B: HostBackend> Operation<B, 3> for StridedConv {
    type Saved = ();

    fn forward(&self, [x, weight, bias]: &[FloatTensor<B>; 3]) -> (FloatTensor<B>, ()) {
        let prepared = strided_conv::Prepared::new(Arch::new(), &self.0, B::values(weight), B::values(bias));
        let y = strided_conv::forward(Arch::new(), &self.0, B::values(x), &prepared);
        (B::tensor(y, [self.0.samples, self.0.rows(), bias.shape()[0]]), ())
    }

    fn backward(
        &self,
        [x, weight, bias]: &[FloatTensor<B>; 3],
        (): &(),
        dy: FloatTensor<B>,
        [wants_dx, ..]: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        let [values, kernel, dy] = [x, weight, &dy].map(B::values);
        let outputs = bias.shape()[0];
        let (dx, dw, db) = strided_conv::backward(&self.0, values, kernel, dy, outputs, wants_dx);
        let dx = dx.map(|dx| B::tensor(dx, x.shape()));
        [dx, Some(B::tensor(dw, weight.shape())), Some(B::tensor(db, bias.shape()))]
    }
}

/// LayerNorm over the last dimension; input, weight and bias.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub(crate) epsilon: f64,
}

impl<B: HostBackend> Operation<B, 3> for LayerNorm {
    type Saved = layer_norm::Saved;

    fn forward(&self, [x, weight, bias]: &[FloatTensor<B>; 3]) -> (FloatTensor<B>, Self::Saved) {
        let [values, weight, bias] = [x, weight, bias].map(B::values);
        let (y, saved) = layer_norm::layer(Arch::new(), values, weight, bias, self.epsilon as f32);
        (B::tensor(y, x.shape()), saved)
    }

    fn backward(
        &self,
        t: &[FloatTensor<B>; 3],
        saved: &Self::Saved,
        dy: FloatTensor<B>,
        _wanted: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        let values = layer_norm::layer_backward(Arch::new(), saved, B::values(&t[1]), B::values(&dy));
        let mut values = values.into_iter();
        t.each_ref().map(|input| values.next().map(|values| B::tensor(values, input.shape())))
    }
}
