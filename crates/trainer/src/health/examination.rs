//! A network on the images that health is measured on.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use config::SettingError;
use data::transform::{EvalTransform, Normalize};
use data::{DataConfig, DecodeOptions, EvalConfig, ImageSource, Target, image_of, prepare};
use rayon::prelude::*;

use crate::health::collapse::channel_distances;
use crate::health::dead::Deviations;
use crate::health::features::Features;
use crate::health::knn::knn;
use crate::health::measures::Measures;
use crate::health::ridge::ridge_probe;
use crate::health::subjects::{Labelled, Subjects};
use crate::objective::BoxError;
use crate::stop::StopSignal;

/// Neighbours that vote, at most; and of how many images one does, where there are few: no more than a class
/// has.
const NEIGHBOURS: usize = 20;
const SHARE_OF_NEIGHBOURS: usize = 10;
/// Images that are looked at together, whatever a batch of training takes: few, since all their patches are
/// visible, and the expanded features of all stages are held at once.
const TOGETHER: usize = 8;

/// A network, without autodiff, as health looks at it.
pub trait Examined: Sync {
    /// What every stage makes of normalised images `[N, C, H, W]`: the expanded features of its last block,
    /// `[N, T, 4C]`, behind the activation and before GRN, where features collapse (arXiv:2301.00808, section
    /// 4). Outputs of stages do not show it: in the sum of all blocks before, signs are as often alike as not.
    fn expanded(&self, images: Tensor<4>) -> Vec<Tensor<3>>;

    /// The final features `[N, C]` of images, pooled and normed.
    fn features(&self, images: Tensor<4>) -> Tensor<2>;

    /// The mean loss of images, without what is random in training. `places` are their places among all
    /// that are looked at, which tell their masks.
    ///
    /// # Errors
    /// Targets that it cannot use.
    fn loss(&self, images: Tensor<4>, places: &[u64], targets: &[Target]) -> Result<f64, BoxError>;

    /// The mean loss of a network that says the same of all these images; none where that is not known.
    fn baseline(&self, _images: Tensor<4>) -> Option<f64> {
        None
    }

    /// The means of |γ| and of |β| over the GRN layers of each stage.
    fn grn(&self) -> Vec<[f64; 2]>;
}

/// Images to measure health on, and how a network sees them: as in evaluation.
pub struct Examination {
    subjects: Subjects,
    decode: DecodeOptions,
    transform: EvalTransform,
    normalize: Normalize,
}

/// Images that could be read, with their places in their source.
struct Read {
    images: Tensor<4>,
    places: Vec<usize>,
}

/// Features and classes of images.
#[derive(Default)]
struct Embedded {
    values: Vec<f32>,
    labels: Vec<u32>,
}

impl Embedded {
    fn labelled(&self) -> Features<'_> {
        Features { values: &self.values, labels: &self.labels }
    }
}

impl Examination {
    /// Of images of so many channels.
    ///
    /// # Errors
    /// Means and deviations that fit no image.
    pub fn new(
        subjects: Subjects,
        data: &DataConfig,
        eval: &EvalConfig,
        channels: usize,
    ) -> Result<Self, SettingError> {
        Ok(Self {
            subjects,
            decode: data.decode(channels),
            transform: eval.transform(data),
            normalize: eval.normalize(data, channels)?,
        })
    }

    /// Measures a network; none when `stop` says so, which is asked before every batch. Images that cannot be
    /// read, or do not fit, are left out. All processes of a run do the same, each for itself.
    ///
    /// # Errors
    /// Targets that the network cannot use, another process that has ended.
    pub fn measure(
        &self,
        network: &dyn Examined,
        device: &Device,
        stop: &StopSignal<'_>,
    ) -> Result<Option<Measures>, BoxError> {
        let Subjects { images, held_out, probed, .. } = &self.subjects;
        let mut measured = Measured::default();
        for batch in batches(images) {
            if stop.is_given()? {
                return Ok(None);
            }
            if let Some(read) = self.read(images, batch, device) {
                host::compute_on(device, || measured.add(network, images, read))?;
            }
        }
        let mut measures = Measures { held_out: *held_out, ..measured.measures(network) };
        if let Some(probed) = probed {
            let Some(known) = self.embed(&probed.known, network, device, stop)? else { return Ok(None) };
            let Some(asked) = self.embed(&probed.asked, network, device, stop)? else { return Ok(None) };
            (measures.knn, measures.linear) = probe(probed.classes, &known, &asked).unzip();
            measures.num_classes = measures.knn.map(|_| probed.classes);
        }
        Ok(Some(measures))
    }

    /// The images of a source as in evaluation; none if none can be read.
    fn read(&self, source: &Arc<dyn ImageSource>, places: Range<usize>, device: &Device) -> Option<Read> {
        let read = |place: usize| {
            let image = image_of(&**source, place, self.decode).ok()?;
            let (values, _) = prepare(vec![image], &self.transform, &self.normalize).ok()?;
            Some((place, values))
        };
        let (places, values): (Vec<usize>, Vec<Vec<f32>>) = places.into_par_iter().filter_map(read).unzip();
        let [height, width] = self.transform.size;
        let shape = [values.len(), self.normalize.channels(), height, width];
        (!places.is_empty()).then(|| Read { images: host::floats(values.concat(), shape, device), places })
    }

    /// Features and classes of images; none when `stop` says so.
    fn embed(
        &self,
        images: &Labelled,
        network: &dyn Examined,
        device: &Device,
        stop: &StopSignal<'_>,
    ) -> Result<Option<Embedded>, BoxError> {
        let mut embedded = Embedded::default();
        for (source, labels) in images.parts() {
            for batch in batches(source) {
                if stop.is_given()? {
                    return Ok(None);
                }
                let Some(Read { images, places }) = self.read(source, batch, device) else { continue };
                let features = host::compute_on(device, || network.features(images).into_data());
                embedded.values.extend(features.iter::<f32>());
                embedded.labels.extend(places.into_iter().map(|place| labels[place]));
            }
        }
        Ok(Some(embedded))
    }
}

fn batches(source: &Arc<dyn ImageSource>) -> impl Iterator<Item = Range<usize>> + use<> {
    let images = source.len();
    (0..images).step_by(TOGETHER).map(move |first| first..images.min(first + TOGETHER))
}

/// Accuracies of the nearest neighbours and of the linear classifier; none of features that are no numbers,
/// or where none could be read.
fn probe(classes: usize, known: &Embedded, asked: &Embedded) -> Option<(f64, f64)> {
    let is_finite = |values: &[f32]| !values.is_empty() && values.iter().all(|value| value.is_finite());
    if !is_finite(&known.values) || !is_finite(&asked.values) {
        return None;
    }
    let (training, test) = (known.labelled(), asked.labelled());
    let neighbours = NEIGHBOURS.min((known.labels.len() / SHARE_OF_NEIGHBOURS).max(1));
    let mut right = 0;
    knn(training, test, classes, neighbours, |votes, label| {
        let own = votes[label as usize];
        let above = |(class, vote): (usize, &f32)| *vote > own || *vote == own && class < label as usize;
        right += usize::from(own > f32::NEG_INFINITY && !votes.iter().enumerate().any(above));
    });
    let nearest = right as f64 / asked.labels.len() as f64;
    Some((nearest, ridge_probe(training, test, classes)))
}

/// What has been measured so far.
#[derive(Default)]
struct Measured {
    images: f64,
    /// Σ loss.
    loss: f64,
    /// Σ loss of a network that says the same of all.
    baseline: Option<f64>,
    /// Σ distance, by stage.
    distances: Vec<f64>,
    deviations: Vec<Deviations>,
}

impl Measured {
    fn add(
        &mut self,
        network: &dyn Examined,
        source: &Arc<dyn ImageSource>,
        Read { images, places }: Read,
    ) -> Result<(), BoxError> {
        let targets: Vec<Target> = places.iter().map(|place| source.target(*place)).collect();
        let (count, places) =
            (places.len() as f64, places.iter().map(|place| *place as u64).collect::<Vec<_>>());
        self.images += count;
        self.loss += count * network.loss(images.clone(), &places, &targets)?;
        if let Some(baseline) = network.baseline(images.clone()) {
            *self.baseline.get_or_insert(0.0) += count * baseline;
        }
        let stages = network.expanded(images);
        self.distances.resize(stages.len(), 0.0);
        self.deviations.resize(stages.len(), Deviations::default());
        let sums = self.distances.iter_mut().zip(&mut self.deviations);
        for (expanded, (distance, deviations)) in stages.into_iter().zip(sums) {
            *distance += channel_distances(expanded.clone()).iter().sum::<f64>();
            deviations.add(expanded);
        }
        Ok(())
    }

    fn measures(&self, network: &dyn Examined) -> Measures {
        let grn = network.grn();
        Measures {
            loss: (self.images > 0.0).then(|| self.loss / self.images),
            baseline: self.baseline.map(|sum| sum / self.images),
            distance: self.distances.iter().map(|sum| sum / self.images).collect(),
            dead: self.deviations.iter().map(Deviations::dead).collect(),
            grn_gamma: grn.iter().map(|[gamma, _]| *gamma).collect(),
            grn_beta: grn.iter().map(|[_, beta]| *beta).collect(),
            ..Measures::default()
        }
    }
}
