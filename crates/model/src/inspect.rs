//! An encoder on whole images, stage by stage, for who wants to know how it is.

use burn::tensor::Tensor;

use crate::encoder::Encoder;
use crate::sites::Sites;

impl Encoder {
    /// The expanded features of the last block of every stage, `[N, T, 4C]`, behind the activation and before
    /// GRN, of images `[N, C, H, W]` whose patches are all visible.
    pub fn expanded(&self, images: Tensor<4>) -> Vec<Tensor<3>> {
        let [batch, _, height, width] = images.dims();
        // The input of a block is the output of the layer before it.
        let (mut layers, mut seen, mut inputs) = (self.layers(), None, Vec::new());
        let observe = &mut |_: std::fmt::Arguments, output: &Tensor<3>| {
            let input = seen.replace(output.clone());
            if layers.next() == Some(Layer::LastBlock) {
                inputs.extend(input);
            }
        };
        let outputs = self.forward_observed(images, &Sites::all(batch, [height, width]), None, observe);
        let blocks = self.stages.iter().filter_map(|stage| stage.last());
        let stages = outputs.into_iter().skip(1).zip(inputs).zip(blocks);
        stages.map(|((output, input), block)| block.expanded(input, &output.sites)).collect()
    }

    /// The layers in the order in which they are observed.
    fn layers(&self) -> impl Iterator<Item = Layer> + use<> {
        let depths: Vec<usize> = self.stages.iter().map(Vec::len).collect();
        depths.into_iter().flat_map(|depth| {
            let blocks = (1..=depth).map(move |block| match block {
                last if last == depth => Layer::LastBlock,
                _ => Layer::Other,
            });
            std::iter::once(Layer::Other).chain(blocks)
        })
    }

    /// The means of |γ| and of |β| over the GRN layers of each stage.
    pub fn grn(&self) -> Vec<[f64; 2]> {
        let mean = |values: Vec<Tensor<4>>| {
            let all = Tensor::cat(values, 3).abs().mean();
            f64::from(all.into_scalar::<f32>())
        };
        let stages = self.stages.iter().map(|stage| {
            [
                mean(stage.iter().map(|block| block.grn.gamma.val()).collect()),
                mean(stage.iter().map(|block| block.grn.beta.val()).collect()),
            ]
        });
        stages.collect()
    }

    /// The mean over all sites of the last stage, `[N, C]`, every patch visible.
    pub fn pooled(&self, images: Tensor<4>) -> Tensor<2> {
        let [batch, _, height, width] = images.dims();
        let mut stages = self.forward(images, &Sites::all(batch, [height, width]), None);
        let last = stages.swap_remove(stages.len() - 1);
        let [batch, _, channels] = last.tokens.dims();
        last.tokens.mean_dim(1).reshape([batch, channels])
    }
}

/// A layer that is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// The last block of a stage.
    LastBlock,
    /// Stem, downsampling, or another block.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compute, ConvNextV2Config, ConvNextV2ForImageClassification, Kernels};
    use burn::tensor::{Device, Tolerance};

    #[test]
    fn a_stage_is_seen_as_figure_5_computes_it() {
        let config = ConvNextV2Config {
            depths: vec![1, 2],
            hidden_sizes: vec![4, 8],
            patch_size: 2,
            num_stages: 2,
            num_labels: 0,
            ..ConvNextV2Config::default()
        };
        let device = Device::flex();
        let network = ConvNextV2ForImageClassification::new(&config, 1, &device).unwrap();
        let network = network.with_compute(Compute::from(Kernels::Reference));
        let encoder = &network.convnextv2.encoder;
        let values: Vec<f32> = (0..2 * 3 * 16 * 12).map(|i| (i as f32 * 0.37).sin()).collect();
        let images = host::floats(values, [2, 3, 16, 12], &device);
        let expanded = encoder.expanded(images.clone());
        assert_eq!([expanded[0].dims(), expanded[1].dims()], [[2, 48, 16], [2, 12, 32]]);
        // With γ = β = 0, a block is its input plus the projected expanded features.
        let sites = Sites::all(2, [16, 12]);
        let mut seen = Vec::new();
        encoder.forward_observed(images.clone(), &sites, None, &mut |_, output| seen.push(output.clone()));
        let tolerance = Tolerance::<f32>::absolute(1e-5);
        for (stage, [input, output]) in [[0, 1], [3, 4]].into_iter().enumerate() {
            let block = encoder.stages[stage].last().unwrap();
            let projected = block.pwconv2.forward(expanded[stage].clone());
            let expected = (seen[input].clone() + projected).into_data();
            expected.assert_approx_eq(&seen[output].clone().into_data(), tolerance);
        }
        // Pooled as a classifier without head pools, before its norm.
        let pooled = network.convnextv2.norm.forward(encoder.pooled(images.clone())).into_data();
        pooled.assert_approx_eq(&network.forward(images, None).into_data(), tolerance);
        assert_eq!(encoder.grn(), [[0.0; 2]; 2]);
    }
}
