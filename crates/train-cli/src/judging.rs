//! A classifier and the images that it is judged by: what `eval` tells and `report` shows.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use data::{
    ClassMap, ClassMatch, DataError, IMAGES_FILE, ImageList, ImageSource, Judged, Matched, Split, Targets,
    evaluation_loader, match_classes,
};
use finetune::{Agreement, Classifier, FinetuneError, Inference, Metrics, ProblemType, for_every_batch};
use trainer::Unit;

use crate::args::EvalArgs;
use crate::checkpoint::checkpoint;
use crate::output::note;
use crate::world::World;

/// A classifier and the images that it is judged by.
pub(crate) struct Judging {
    pub(crate) classifier: Classifier,
    pub(crate) judged: Judged,
    /// The images, their classes numbered as the network's outputs.
    pub(crate) source: Arc<dyn ImageSource>,
    pub(crate) classes: Vec<String>,
    /// How they were matched.
    pub(crate) how: ClassMatch,
}

/// The classifier as it is, beside another network that sees the same images.
pub(crate) struct Beside {
    pub(crate) metrics: Metrics,
    pub(crate) agreement: Agreement,
}

impl Judging {
    /// Opens both. What has become of the images since the run began is said.
    pub(crate) fn open(args: &EvalArgs, device: &Device, world: &World) -> Result<Self> {
        let classifier = Classifier::new(checkpoint(&args.checkpoint, &args.set)?, device)?;
        let list = ImageList::read(&classifier.path.join(IMAGES_FILE))?;
        let (data, split) = (args.data.as_deref(), args.split.map(Split::from));
        let judged = Judged::open(&classifier.data, data, split, list.as_ref())?;
        if world.is_leader() {
            judged.remarks().iter().for_each(|remark| note!("note: {remark}"));
        }
        let source = Arc::clone(&judged.images);
        if ProblemType::of(source.task()) != classifier.problem {
            let path = args.checkpoint.path.display();
            bail!("{path} was trained for targets of another kind than these");
        }
        let Matched { source, classes, how } = match_outputs(args, &classifier, source)
            .with_context(|| format!("for {}", args.checkpoint.path.display()))?;
        Ok(Self { classifier, judged, source, classes, how })
    }

    /// How well the network does on all images; `also` looks at the outputs and targets of each batch, in the
    /// order of the images.
    pub(crate) fn judge(
        &self,
        args: &EvalArgs,
        world: &World,
        mut also: impl FnMut(&[f32], &Targets),
    ) -> Result<Metrics> {
        let mut metrics = self.metrics();
        self.for_every_batch([&self.classifier.inference], args, world, |[found], targets| {
            also(found, targets);
            metrics.add(found, targets)
        })?;
        Ok(metrics)
    }

    /// How well another network does, and the classifier beside it; every image is read once.
    pub(crate) fn compare(
        &self,
        other: &Inference,
        args: &EvalArgs,
        world: &World,
    ) -> Result<(Metrics, Beside)> {
        let mut metrics = self.metrics();
        let agreement = Agreement::new(self.classifier.problem, self.outputs());
        let mut beside = Beside { metrics: self.metrics(), agreement };
        self.for_every_batch([&self.classifier.inference, other], args, world, |[own, other], targets| {
            beside.agreement.add(own, other);
            beside.metrics.add(own, targets)?;
            metrics.add(other, targets)
        })?;
        Ok((metrics, beside))
    }

    fn outputs(&self) -> usize {
        self.source.classes().len()
    }

    fn metrics(&self) -> Metrics {
        Metrics::new(self.classifier.problem, self.outputs())
    }

    /// Shows outputs of the networks and targets of all images to `visit`.
    fn for_every_batch<const N: usize>(
        &self,
        networks: [&Inference; N],
        args: &EvalArgs,
        world: &World,
        mut visit: impl FnMut([&[f32]; N], &Targets) -> Result<(), FinetuneError>,
    ) -> Result<()> {
        let Classifier { data, eval, model, .. } = &self.classifier;
        let (channels, batch) = (model.num_channels, args.batch.images);
        let loader = evaluation_loader(&self.source, data, eval, channels, batch, world.shard())?;
        let bar = world.bar();
        bar.start("judging", Unit::Items, 0..self.source.len() as u64);
        let judged = for_every_batch(networks, &loader, args.tta.views(), &**world, |found, targets| {
            bar.advance((found[0].len() / self.outputs()) as u64);
            visit(found, targets)
        });
        judged.with_context(|| format!("for {}", args.checkpoint.path.display()))
    }
}

/// The images, numbered as the network's outputs.
fn match_outputs(
    args: &EvalArgs,
    classifier: &Classifier,
    source: Arc<dyn ImageSource>,
) -> Result<Matched, DataError> {
    let Classifier { classes, naming, .. } = classifier;
    match &args.class_map {
        Some(file) => ClassMap::load(file)?.apply(source, classes, *naming),
        None => match_classes(source, classes, *naming),
    }
}
