//! A trained classifier, opened to be used.

use std::path::PathBuf;

use burn::tensor::Device;
use checkpoint::Checkpoint;
use data::transform::{EvalTransform, Normalize};
use data::{AnyImage, DataConfig, EvalConfig, Naming};
use model::{ConvNextV2Config, ConvNextV2ForImageClassification, Format, Unprepared, official_name};

use crate::error::FinetuneError;
use crate::inference::{Inference, Tta};
use crate::problem::ProblemType;
use crate::recipe::{data_section, eval_section, follow_tf32, model_section, network_config};
use crate::section::FinetuneConfig;

/// A classifier with what has to be done to images before it sees them.
pub struct Classifier {
    /// The folder of the checkpoint, or its file.
    pub path: PathBuf,
    /// The images that it was trained on.
    pub data: DataConfig,
    /// What is done to images.
    pub eval: EvalConfig,
    /// The architecture.
    pub model: ConvNextV2Config,
    /// Names of the classes, or of the numbers that it predicts.
    pub classes: Vec<String>,
    /// Where the names come from.
    pub naming: Naming,
    /// What its outputs are.
    pub problem: ProblemType,
    /// The network.
    pub inference: Inference,
}

impl Classifier {
    /// The classifier of a checkpoint of any origin.
    ///
    /// # Errors
    /// A checkpoint without head, or weights that do not fit its configuration.
    pub fn new(checkpoint: Checkpoint, device: &Device) -> Result<Self, FinetuneError> {
        let Checkpoint { path, weights, recipe } = checkpoint;
        let Some(finetune) = recipe.section::<FinetuneConfig>("finetune")? else {
            return Err(FinetuneError::NoClasses(path));
        };
        follow_tf32(&recipe, device)?;
        let (section, data) = (model_section(&recipe)?, data_section(&recipe)?);
        let (classes, naming) = finetune.names();
        let model = network_config(&section, &data, classes.len())?;
        let eval = eval_section(&recipe)?;
        model.check_size(eval.size(&data))?;
        let fresh = ConvNextV2ForImageClassification::zeros(&model, device)?;
        let (network, report) = weights.apply_to(fresh.with_compute(section.kernels.into()), &official_name);
        if let Err(reason) = report.require_complete() {
            return Err(FinetuneError::Misfit { path, reason });
        }
        Ok(Self {
            path,
            data,
            eval,
            model,
            problem: finetune.problem_type.unwrap_or_default(),
            classes,
            naming,
            inference: Inference::new(network, device),
        })
    }

    /// The same classifier with its network in another format, see [`Inference::in_format`].
    ///
    /// # Errors
    /// 8 bits of a network that our kernels do not compute.
    pub fn in_format(self, format: Format) -> Result<Self, Unprepared> {
        let inference = self.inference.in_format(format)?;
        Ok(Self { inference, ..self })
    }

    /// What is done to an image, and the normalisation afterwards.
    ///
    /// # Errors
    /// A normalisation that fits no image.
    pub fn preprocessing(&self) -> Result<(EvalTransform, Normalize), FinetuneError> {
        let normalize = self.eval.normalize(&self.data, self.model.num_channels)?;
        Ok((self.eval.transform(&self.data), normalize))
    }

    /// Outputs of normalised images `[N, C, H, W]`, row by row.
    ///
    /// # Errors
    /// Outputs that are not finite.
    pub fn logits(&self, images: Vec<f32>, shape: [usize; 4], tta: Tta) -> Result<Vec<f32>, FinetuneError> {
        Ok(self.inference.outputs(&images, shape, tta)?)
    }

    /// Outputs of decoded images of any size, a row of [`classes`](Self::classes) each.
    ///
    /// # Errors
    /// Images of other channels than the network's, outputs that are not finite.
    pub fn predict(&self, images: Vec<AnyImage>) -> Result<Vec<f32>, FinetuneError> {
        let (transform, normalize) = self.preprocessing()?;
        let (values, shape) =
            data::prepare(images, &transform, &normalize).map_err(FinetuneError::OtherChannels)?;
        self.logits(values, shape, Tta::None)
    }

    /// Outputs by falling score, of equal ones the lower first; numbers in their own order.
    pub fn ranked(&self, logits: &[f32]) -> Vec<(usize, f32)> {
        let mut ranked: Vec<_> = self.problem.scores(logits).into_iter().enumerate().collect();
        if self.problem != ProblemType::Regression {
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        }
        ranked
    }
}
