//! A network that judges images.

use burn::tensor::{Device, Tensor};
use model::{ConvNextV2ForImageClassification, Format, Observe, PreparedClassifier, official_name};
use trainer::NotFinite;

/// What a network is shown of an image in evaluation (test-time augmentation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tta {
    /// The image.
    #[default]
    None,
    /// The image and its mirror image; what counts is the mean of the two outputs, before they become
    /// probabilities.
    Flip,
}

/// A network without autodiff, made ready to judge many images.
#[derive(Debug)]
pub struct Inference {
    network: ConvNextV2ForImageClassification,
    device: Device,
    /// What computes where our kernels can.
    prepared: Option<PreparedClassifier>,
}

impl Inference {
    /// Makes a network ready, on the device where it is.
    pub fn new(network: ConvNextV2ForImageClassification, device: &Device) -> Self {
        let prepared = PreparedClassifier::new(&network, Format::F32);
        Self { network, device: device.clone(), prepared }
    }

    /// The network.
    pub fn network(&self) -> &ConvNextV2ForImageClassification {
        &self.network
    }

    /// Outputs of normalised images `[N, C, H, W]`, row by row.
    ///
    /// # Errors
    /// Outputs that are not finite: nothing can be told from them.
    pub fn outputs(&self, images: Vec<f32>, shape: [usize; 4], tta: Tta) -> Result<Vec<f32>, NotFinite> {
        match tta {
            Tta::None => self.forward(images, shape),
            Tta::Flip => {
                let mirrored = images.chunks(shape[3]).flat_map(|row| row.iter().rev().copied()).collect();
                let found = self.forward(images, shape)?;
                let mirrored = self.forward(mirrored, shape)?;
                Ok(found.iter().zip(mirrored).map(|(a, b)| 0.5 * (a + b)).collect())
            }
        }
    }

    fn forward(&self, images: Vec<f32>, shape: [usize; 4]) -> Result<Vec<f32>, NotFinite> {
        host::compute_on(&self.device, || {
            let outputs = match &self.prepared {
                Some(prepared) => prepared.forward(&images, shape),
                None => {
                    let outputs = self.network.forward(self.tensor(images.clone(), shape), None).into_data();
                    outputs.try_into_vec().expect("f32 outputs")
                }
            };
            if outputs.iter().all(|output| output.is_finite()) {
                return Ok(outputs);
            }
            let images = self.tensor(images, shape);
            let walk = |observe: &mut Observe| self.network.observe(images.clone(), observe);
            Err(NotFinite::find(&self.network, &official_name, &images, walk))
        })
    }

    fn tensor(&self, images: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
        host::floats(images, shape, &self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::StateDict;
    use model::ConvNextV2Config;

    const SHAPE: [usize; 4] = [2, 3, 16, 24];

    fn network() -> ConvNextV2ForImageClassification {
        let (depths, hidden_sizes) = (vec![1, 2], vec![8, 16]);
        let config = ConvNextV2Config {
            depths,
            hidden_sizes,
            patch_size: 2,
            num_stages: 2,
            num_labels: 3,
            ..ConvNextV2Config::default()
        };
        ConvNextV2ForImageClassification::new(&config, 1, &Device::flex()).unwrap()
    }

    fn images() -> Vec<f32> {
        (0..SHAPE.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect()
    }

    fn outputs(network: &ConvNextV2ForImageClassification, images: Vec<f32>) -> Result<Vec<f32>, NotFinite> {
        Inference::new(network.clone(), &Device::flex()).outputs(images, SHAPE, Tta::None)
    }

    /// Whichever weight is broken: its tensor is named, and no number comes out.
    #[test]
    fn every_weight_that_is_not_finite_is_found() {
        let sound = StateDict::of_module(&network(), &official_name);
        assert!(outputs(&network(), images()).is_ok());
        for broken in sound.names() {
            for value in [f32::NAN, f32::INFINITY] {
                let mut dict = sound.clone();
                let mut entry = dict.get(broken).unwrap().clone();
                entry.values[1] = value;
                dict.insert(broken.to_owned(), entry);
                let (network, _) = dict.apply_to(network(), &official_name);
                match outputs(&network, images()) {
                    Err(NotFinite::Weight { weight, count, layer }) => {
                        assert_eq!((&weight[..], count), (broken, 1));
                        assert!(broken.starts_with(&layer) && layer.len() < broken.len(), "{layer}");
                    }
                    found => panic!("{broken} {value}: {found:?}"),
                }
            }
        }
    }

    #[test]
    fn a_layer_that_overflows_is_named_and_so_are_images() {
        let mut dict = StateDict::of_module(&network(), &official_name);
        let mut entry = dict.get("stages.1.0.pwconv2.bias").unwrap().clone();
        entry.values.fill(f32::MAX);
        dict.insert("stages.1.0.pwconv2.bias".to_owned(), entry.clone());
        dict.insert("stages.1.1.pwconv2.bias".to_owned(), entry);
        let (large, _) = dict.apply_to(network(), &official_name);
        assert_eq!(outputs(&large, images()), Err(NotFinite::Layer("stages.1.1".to_owned())));
        let mut values = images();
        values[7] = f32::NAN;
        assert_eq!(outputs(&network(), values), Err(NotFinite::Images));
    }

    #[test]
    fn the_mirror_image_counts_as_much_as_the_image() {
        let mirrored: Vec<f32> =
            images().chunks(SHAPE[3]).flat_map(|row| row.iter().rev().copied().collect::<Vec<_>>()).collect();
        let network = network();
        let [a, b] = [images(), mirrored.clone()].map(|images| outputs(&network, images).unwrap());
        let mean: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (a + b) / 2.0).collect();
        let inference = Inference::new(network, &Device::flex());
        let flipped = |images| inference.outputs(images, SHAPE, Tta::Flip).unwrap();
        assert_eq!(flipped(images()), mean);
        assert_eq!(flipped(mirrored), mean);
        assert_ne!(a, mean);
    }
}
