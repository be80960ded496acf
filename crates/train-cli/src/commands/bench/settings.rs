//! What is measured, as the command line and a configuration of either kind say.

use anyhow::{Result, bail, ensure};
use data::imagenet_names;
use fcmae::PretrainExperiment;
use finetune::FinetuneExperiment;
use host::Precision;
use model::{Format, ModelConfig};
use trainer::TrainConfig;

use crate::args::{BenchArgs, BenchKind, BenchPrecision};
use crate::bundled::Meant;
use crate::configuration::{AnyExperiment, Source};

/// The network where no configuration names another.
const ATTO: &str = "[model]\nsize = \"atto\"\n";

/// Refuses options that make no difference to what is measured, or contradict each other.
pub(super) fn check(args: &BenchArgs) -> Result<()> {
    let kind = args.kind;
    let reads = matches!(kind, BenchKind::Predict | BenchKind::Data);
    ensure!(
        reads || args.data.is_none(),
        "a step is measured on noise; --data is for `bench predict` and `bench data`"
    );
    ensure!(
        kind == BenchKind::Pretrain || args.execution.is_none(),
        "--execution is how masked images are run: it is for `bench pretrain`, where images are masked"
    );
    ensure!(!(reads && args.ops), "--ops counts what a step asks of libtorch: pretrain, finetune or infer");
    let is_set =
        |wanted| args.set.iter().any(|set| set.split_once('=').is_some_and(|(key, _)| key.trim() == wanted));
    ensure!(
        kind == BenchKind::Pretrain || !is_set("model.execution"),
        "model.execution is how masked images are run: it is for `bench pretrain`, where images are masked"
    );
    let Some(precision) = args.precision else { return Ok(()) };
    ensure!(
        !is_set("train.precision"),
        "--precision and --set train.precision say the same; leave one of them out"
    );
    match (kind, precision) {
        (BenchKind::Data, _) => bail!("--precision is of a network; images are read without one"),
        (BenchKind::Pretrain | BenchKind::Finetune, BenchPrecision::Int8) => {
            bail!(
                "--precision int8 is for `bench infer` and `bench predict`; networks are trained in f32 or bf16"
            )
        }
        (BenchKind::Predict, BenchPrecision::Bf16) => {
            bail!("--precision bf16 is for training and `bench infer`; images are judged in f32 or int8")
        }
        _ => Ok(()),
    }
}

/// The numbers that a network for inference multiplies, where our kernels compute it.
pub(super) fn format(args: &BenchArgs) -> Format {
    match args.precision {
        Some(BenchPrecision::Int8) => Format::Int8,
        Some(BenchPrecision::F32 | BenchPrecision::Bf16) | None => Format::F32,
    }
}

/// A pretraining. Of a configuration for fine-tuning it has the network, which is masked as the paper masks.
pub(super) fn pretraining(args: &BenchArgs) -> Result<PretrainExperiment> {
    let mut experiment = match configuration(args)? {
        None => config::parse(ATTO, &args.set)?,
        Some(AnyExperiment::Pretrain(experiment)) => *experiment,
        Some(AnyExperiment::Finetune(experiment)) => {
            let FinetuneExperiment { seed, model, data, train, .. } = *experiment;
            PretrainExperiment { seed, model, data, train, ..PretrainExperiment::default() }
        }
    };
    experiment.model.execution = args.execution.or(experiment.model.execution);
    set_precision(&mut experiment.train, args);
    Ok(experiment)
}

/// A classifier and how it is trained. It tells the classes of ImageNet apart where the configuration names
/// none; of one for pretraining it has the encoder.
pub(super) fn classifier(args: &BenchArgs) -> Result<FinetuneExperiment> {
    let mut experiment = match configuration(args)? {
        None => config::parse(ATTO, &args.set)?,
        Some(AnyExperiment::Finetune(experiment)) => *experiment,
        Some(AnyExperiment::Pretrain(experiment)) => {
            let PretrainExperiment { seed, model, data, eval, train, .. } = *experiment;
            let model = ModelConfig { execution: None, ..model };
            FinetuneExperiment { seed, model, data, eval, train, ..FinetuneExperiment::default() }
        }
    };
    if experiment.finetune.classes.is_empty() {
        experiment.finetune.classes = imagenet_names();
    }
    set_precision(&mut experiment.train, args);
    Ok(experiment)
}

/// The configuration that was named, if one was.
fn configuration(args: &BenchArgs) -> Result<Option<AnyExperiment>> {
    let source = args.config.as_ref().map(|path| Source::find(path, Meant::Either)).transpose()?;
    source.map(|source| source.load_any(&args.set)).transpose()
}

fn set_precision(train: &mut TrainConfig, args: &BenchArgs) {
    train.precision = match args.precision {
        None => train.precision,
        Some(BenchPrecision::Bf16) => Precision::Bf16,
        Some(BenchPrecision::F32 | BenchPrecision::Int8) => Precision::F32,
    };
}
