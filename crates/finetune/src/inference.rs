//! A network that judges images.

use burn::tensor::{Device, Tensor};
use model::{
    ConvNextV2ForImageClassification, Format, Observe, PreparedClassifier, Unprepared, official_name,
};
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

    /// The same network with its linear layers and downsampling in another format.
    ///
    /// # Errors
    /// 8 bits of a network that our kernels do not compute.
    pub fn in_format(&self, format: Format) -> Result<Self, Unprepared> {
        if format == Format::Int8 {
            PreparedClassifier::suits(&self.network)?;
        }
        let prepared = PreparedClassifier::new(&self.network, format);
        Ok(Self { network: self.network.clone(), device: self.device.clone(), prepared })
    }

    /// The network.
    pub fn network(&self) -> &ConvNextV2ForImageClassification {
        &self.network
    }

    /// Outputs of normalised images `[N, C, H, W]`, row by row.
    ///
    /// # Errors
    /// Outputs that are not finite: nothing can be told from them.
    pub fn outputs(&self, images: &[f32], shape: [usize; 4], tta: Tta) -> Result<Vec<f32>, NotFinite> {
        match tta {
            Tta::None => self.forward(images, shape),
            Tta::Flip => {
                let rows = images.chunks(shape[3]);
                let mirrored: Vec<f32> = rows.flat_map(|row| row.iter().rev().copied()).collect();
                let found = self.forward(images, shape)?;
                let mirrored = self.forward(&mirrored, shape)?;
                Ok(found.iter().zip(mirrored).map(|(a, b)| 0.5 * (a + b)).collect())
            }
        }
    }

    fn forward(&self, images: &[f32], shape: [usize; 4]) -> Result<Vec<f32>, NotFinite> {
        host::compute_on(&self.device, || {
            let outputs = match &self.prepared {
                Some(prepared) => prepared.forward(images, shape),
                None => {
                    let outputs = self.network.forward(self.tensor(images, shape), None).into_data();
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

    fn tensor(&self, images: &[f32], shape: [usize; 4]) -> Tensor<4> {
        host::floats(images.to_vec(), shape, &self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::StateDict;
    use model::activation::Activation;
    use model::{ConvNextV2Config, Kernels};
    use rayon::ThreadPoolBuilder;

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

    fn outputs(
        network: &ConvNextV2ForImageClassification,
        format: Format,
        images: &[f32],
    ) -> Result<Vec<f32>, NotFinite> {
        let inference = Inference::new(network.clone(), &Device::flex()).in_format(format).unwrap();
        inference.outputs(images, SHAPE, Tta::None)
    }

    const FORMATS: [Format; 2] = [Format::F32, Format::Int8];

    /// Whichever weight is broken: its tensor is named, and no number comes out.
    #[test]
    fn every_weight_that_is_not_finite_is_found() {
        let sound = StateDict::of_module(&network(), &official_name);
        for format in FORMATS {
            assert!(outputs(&network(), format, &images()).is_ok(), "{format:?}");
        }
        for broken in sound.names() {
            for (value, format) in [f32::NAN, f32::INFINITY].into_iter().flat_map(|v| FORMATS.map(|f| (v, f)))
            {
                let mut dict = sound.clone();
                let mut entry = dict.get(broken).unwrap().clone();
                entry.values[1] = value;
                dict.insert(broken.to_owned(), entry);
                let (network, _) = dict.apply_to(network(), &official_name);
                match outputs(&network, format, &images()) {
                    Err(NotFinite::Weight { weight, count, layer }) => {
                        assert_eq!((&weight[..], count), (broken, 1));
                        assert!(broken.starts_with(&layer) && layer.len() < broken.len(), "{layer}");
                    }
                    found => panic!("{broken} {value} {format:?}: {found:?}"),
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
        let mut values = images();
        values[7] = f32::NAN;
        for format in FORMATS {
            let overflow = Err(NotFinite::Layer("stages.1.1".to_owned()));
            assert_eq!(outputs(&large, format, &images()), overflow, "{format:?}");
            assert_eq!(outputs(&network(), format, &values), Err(NotFinite::Images), "{format:?}");
        }
    }

    #[test]
    fn the_mirror_image_counts_as_much_as_the_image() {
        let mirrored: Vec<f32> =
            images().chunks(SHAPE[3]).flat_map(|row| row.iter().rev().copied().collect::<Vec<_>>()).collect();
        let network = network();
        let [a, b] = [&images(), &mirrored].map(|images| outputs(&network, Format::F32, images).unwrap());
        let mean: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (a + b) / 2.0).collect();
        let inference = Inference::new(network, &Device::flex());
        let flipped = |images: &[f32]| inference.outputs(images, SHAPE, Tta::Flip).unwrap();
        assert_eq!(flipped(&images()), mean);
        assert_eq!(flipped(&mirrored), mean);
        assert_ne!(a, mean);
    }

    #[test]
    fn any_number_of_threads_finds_the_same_bits() {
        const IMAGE: usize = 3 * 48 * 56;
        let images: Vec<f32> = (0..5 * IMAGE).map(|i| (i as f32 * 0.37).sin()).collect();
        for format in FORMATS {
            let inference = Inference::new(network(), &Device::flex()).in_format(format).unwrap();
            for count in [1, 5] {
                let (shape, images) = ([count, 3, 48, 56], &images[..count * IMAGE]);
                let on = |threads| {
                    let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    pool.install(|| inference.outputs(images, shape, Tta::None)).unwrap()
                };
                let one = on(1);
                for threads in [2, 3, 8] {
                    assert_eq!(one, on(threads), "{format:?}, {count}, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn eight_bits_are_refused_where_our_kernels_do_not_compute() {
        let device = Device::flex();
        let refused = |network| Inference::new(network, &device).in_format(Format::Int8).unwrap_err();
        for kernels in [Kernels::Reference, Kernels::Aten] {
            assert_eq!(refused(network().with_compute(kernels.into())), Unprepared::Kernels);
        }
        let relu = ConvNextV2Config { hidden_act: Activation::Relu, ..ConvNextV2Config::default() };
        let relu = ConvNextV2ForImageClassification::new(&relu, 1, &device).unwrap();
        assert_eq!(refused(relu.clone()), Unprepared::Activation);
        // F32 is what any of them computes.
        assert!(Inference::new(relu, &device).in_format(Format::F32).is_ok());
    }
}
