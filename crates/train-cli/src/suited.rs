//! Settings that suit the images at hand, as commented configuration files.

use config::in_toml;
use model::Size;

/// What is known of the images.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Where they are; none for a file that leaves it to `--data`.
    pub(crate) path: Option<String>,
    /// How many there are, outside of a part that is set apart to judge by.
    pub(crate) images: usize,
    /// Pixels of the shorter side of most of them.
    pub(crate) side: usize,
    /// Cores of the machine.
    pub(crate) cores: usize,
}

/// The share that is held out to judge by where no part is set apart.
pub(crate) const HELD_OUT: f64 = 0.2;

/// What is known of their labels.
#[derive(Debug, Clone)]
pub(crate) struct Labelled {
    /// Images that are trained on.
    pub(crate) trained: usize,
    /// Images of the largest and of the smallest class; none where an image has no one class.
    pub(crate) extremes: Option<[usize; 2]>,
    /// Whether some of them are set apart to judge by.
    pub(crate) is_divided: bool,
    /// Whether there are classes, rather than numbers to predict.
    pub(crate) has_classes: bool,
}

/// A network for images of a size.
struct Network {
    /// Side of the images that it gets.
    image_size: usize,
    /// Side of the patches that are hidden.
    patch_size: usize,
    /// The lines of `[model]`.
    model: String,
    /// Width of the decoder.
    decoder_dim: usize,
}

/// Images that pretraining shows in all, as far as the bounds of its epochs allow.
const PRETRAINING_IMAGES: usize = 1_000_000;
/// The same for fine-tuning.
const FINE_TUNING_IMAGES: usize = 100_000;
/// Updates that an epoch has, unless there are fewer images.
const UPDATES: usize = 10;

impl Found {
    fn network(&self) -> Network {
        let size = match self.images {
            1_000_000.. => Size::Tiny,
            200_000.. => Size::Nano,
            50_000.. => Size::Pico,
            _ => Size::Atto,
        };
        let named = |stem: usize| {
            let comment = format!("# {} images; a larger one learns more from more of them", self.images);
            let size = format!("size = \"{size}\"           {comment}");
            match stem {
                4 => size,
                _ => format!(
                    "{size}\npatch_size = {stem}          # a finer stem than the usual 4, for small images"
                ),
            }
        };
        let (image_size, patch_size, model) = match self.side {
            192.. => (224, 32, named(4)),
            144.. => (160, 32, named(4)),
            112.. => (128, 32, named(4)),
            80.. => (96, 16, named(2)),
            48.. => (64, 16, named(2)),
            _ => (32, 8, TINY_IMAGES.to_owned()),
        };
        Network { image_size, patch_size, model, decoder_dim: if image_size == 32 { 256 } else { 512 } }
    }

    /// The largest power of two up to `most` that leaves an epoch enough updates.
    fn batch_size(&self, most: usize) -> usize {
        let fits = |size: &usize| *size <= most && self.images / size >= UPDATES;
        [64, 32, 16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)
    }

    fn epochs(&self, images: usize, [fewest, most]: [usize; 2]) -> usize {
        (images / self.images.max(1)).clamp(fewest, most)
    }

    fn workers(&self) -> usize {
        (self.cores / 2).clamp(2, 8)
    }

    fn path_line(&self) -> String {
        let path = self.path.as_ref().and_then(in_toml);
        path.map_or(String::new(), |path| format!("path = {path}\n"))
    }

    /// How the command names the data.
    fn data_flag(&self) -> &'static str {
        if self.path.is_some() { "" } else { " --data DIR" }
    }
}

/// The lines of `[model]` for thumbnails: three stages end in 4×4 sites.
const TINY_IMAGES: &str = "depths = [2, 4, 2]      # three stages: a fourth would leave 2×2 sites
hidden_sizes = [48, 96, 192]
patch_size = 2          # a finer stem than the usual 4, for small images";

/// The peak learning rate of a batch: by the square root of its size, as AdamW asks for.
fn rate(at: f64, usual: usize, batch_size: usize) -> String {
    format!("{:.1e}", at * (batch_size as f64 / usual as f64).sqrt())
}

/// A configuration for pretraining; `name` is what a command calls it.
pub(crate) fn pretraining(name: &str, found: &Found) -> String {
    let Network { image_size, patch_size, model, decoder_dim } = found.network();
    let Found { images, side, cores, .. } = found;
    let batch_size = found.batch_size(64);
    let epochs = found.epochs(PRETRAINING_IMAGES, [100, 400]);
    let updates = images / batch_size;
    let (warm_up, patches) = ((epochs / 20).min(5), (image_size / patch_size).pow(2));
    let pictures = (updates * epochs / 20).clamp(50, 1000);
    format!(
        r#"# FCMAE pretraining on about {images} images of one's own, most of them {side} pixels or more a side.
#
# Run:    train-cli pretrain --config {name}{flag}
# Source: what train-cli init writes for so many images of this size: the paper's objective, and a
#         schedule for little data. A place to start from; no published number exists.

[model]
{model}

[fcmae]
mask_ratio = 0.6        # share of the {patches} patches that is hidden
patch_size = {patch_size:<11}# {image_size} / {patch_size}: {per_side} patches a side
decoder_dim = {decoder_dim}

[data]
{path}image_size = {image_size:<11}# what the network gets; {side} pixels are there
workers = {workers:<14}# threads that decode, for {cores} cores; more if `wait` is above a few per cent

[augment]
crop_scale = [0.2, 1.0] # every epoch sees other parts of an image
hflip = true            # false where left and right matter, as in text

[optim]
lr = {lr:<19}# at a batch of {batch_size}; the paper's 1.5e-4 for 256 is for batches of 4096
warmup_epochs = {warm_up:<8}# the rate rises for so long
weight_decay = 0.05
betas = [0.9, 0.95]

[train]
batch_size = {batch_size:<11}# {updates} updates an epoch
epochs = {epochs:<15}# about {shown} images shown in all; more is better, if you can wait (--epochs)
checkpoint_every_minutes = 10.0

[log]
every_steps = {every}
pictures_every_steps = {pictures}
"#,
        flag = found.data_flag(),
        path = found.path_line(),
        per_side = image_size / patch_size,
        workers = found.workers(),
        lr = rate(1.2e-3, 256, batch_size),
        shown = in_words(images * epochs),
        every = updates.clamp(1, 20),
    )
}

/// A configuration for fine-tuning from the run `init`; `name` is what a command calls it.
pub(crate) fn fine_tuning(name: &str, init: &str, found: &Found, labelled: &Labelled) -> String {
    let image_size = found.network().image_size;
    let model = found.network().model.replace('\n', "\n# ");
    let images = labelled.trained;
    let found = &Found { images, ..found.clone() };
    let cores = found.cores;
    let batch_size = found.batch_size(32);
    let epochs = found.epochs(FINE_TUNING_IMAGES, [20, 100]);
    let warm_up = (epochs / 10).clamp(1, 5);
    format!(
        r#"# Fine-tuning on about {images} images of one's own, beside those that judge.
#
# Run:    train-cli finetune --config {name}{flag}
# Source: what train-cli init writes for so many images. A place to start from; no published number exists.

# The network is that of the checkpoint. To compare with training from scratch: --init none, and
# [model]
# {model}

[finetune]
init = {init}
layer_decay = 0.8       # lower layers learn slower; nearer to 1 the less the checkpoint has seen
{smoothing}ema_decay = 0.999       # the average of the weights is judged as well
ema_warmup = true
patience = {patience:<13}# stops after so many epochs without a better score
{weights}
[data]
{path}{held_out}image_size = {image_size:<11}# as in pretraining
workers = {workers:<14}# threads that decode, for {cores} cores

[augment]
crop_scale = [0.35, 1.0]
hflip = true            # false where left and right matter, as in text
rand_augment = "rand-m7-mstd0.5-inc1"
mixup = 0.2

[optim]
lr = {lr:<19}# of the head; the encoder's layers learn slower by layer_decay
warmup_epochs = {warm_up}
weight_decay = 0.05

[train]
batch_size = {batch_size:<11}# {updates} updates an epoch
epochs = {epochs:<15}# about {shown} images shown in all
checkpoint_every_minutes = 10.0

[log]
every_steps = {every}
"#,
        flag = found.data_flag(),
        init = in_toml(&init).unwrap_or_default(),
        smoothing = if labelled.has_classes {
            "label_smoothing = 0.1\n"
        } else {
            "label_smoothing = 0.0   # for classes\n"
        },
        patience = (epochs / 4).max(10),
        weights = labelled.weights(),
        path = found.path_line(),
        held_out = match labelled.is_divided {
            true => String::new(),
            false =>
                format!("val_fraction = {HELD_OUT:<8} # held out to judge by, since there is no part val\n"),
        },
        workers = found.workers(),
        lr = rate(1e-3, 32, batch_size),
        updates = images / batch_size,
        shown = in_words(images * epochs),
        every = (images / batch_size).clamp(1, 20),
    )
}

impl Labelled {
    /// The line that makes up for classes of different sizes.
    fn weights(&self) -> String {
        match self.extremes {
            Some([largest, smallest]) if smallest > 0 && largest > 4 * smallest => {
                format!(
                    "class_weights = \"balanced\" # the largest class has {largest} images, the smallest {smallest}\n"
                )
            }
            _ => String::new(),
        }
    }
}

/// `1.2 million` or `80,000`.
fn in_words(count: usize) -> String {
    match count {
        1_000_000.. => format!("{:.1} million", count as f64 / 1e6),
        1000.. => format!("{},{:03}", count / 1000, count % 1000),
        _ => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fcmae::PretrainExperiment;
    use finetune::FinetuneExperiment;
    use std::fs;

    fn found(images: usize, side: usize) -> Found {
        Found { path: Some("my \"photos\"".to_owned()), images, side, cores: 4 }
    }

    #[test]
    fn the_configuration_for_ten_thousand_photos_is_what_init_writes() {
        let text = pretraining("fcmae_custom", &Found { path: None, ..found(10_000, 500) });
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/fcmae_custom.toml");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(file, &text).unwrap();
        }
        assert_eq!(fs::read_to_string(file).unwrap(), text, "UPDATE=1 cargo test writes it");
    }

    #[test]
    fn images_of_any_size_and_number_get_a_network_that_can_be_trained() {
        for side in [20, 32, 50, 64, 100, 128, 150, 224, 4000] {
            for images in [3, 80, 200, 10_000, 300_000, 5_000_000] {
                let experiment: PretrainExperiment =
                    config::parse(&pretraining("a", &found(images, side)), &[]).unwrap();
                let (model, image) = (experiment.resolve().unwrap(), experiment.data.image_size.pixels());
                let shape = experiment.fcmae.mask_shape(&model, image).unwrap();
                assert!(shape.patches() >= 16, "{side}");
                assert!(experiment.optim.warmup_epochs <= 0.1 * experiment.train.epochs as f64);
                assert_eq!(experiment.data.path.as_deref(), Some("my \"photos\"".as_ref()));
                assert!(images < 10 || images / experiment.train.batch_size >= 10);
            }
        }
    }

    #[test]
    fn labels_decide_what_fine_tuning_says() {
        let text = |extremes, is_divided, has_classes| {
            fine_tuning(
                "b",
                "runs/a",
                &found(200, 64),
                &Labelled { trained: 160, extremes, is_divided, has_classes },
            )
        };
        let parse = |text: &str| config::parse::<FinetuneExperiment>(text, &[]).unwrap();
        let even = parse(&text(Some([120, 80]), false, true));
        assert_eq!((even.data.val_fraction, &even.finetune.class_weights), (Some(0.2), &None));
        assert_eq!((even.finetune.init.as_deref(), even.model.size), (Some("runs/a".as_ref()), None));
        let uneven = text(Some([190, 10]), true, true);
        assert!(uneven.contains("the largest class has 190 images, the smallest 10"), "{uneven}");
        assert_eq!(parse(&uneven).data.val_fraction, None);
        assert_eq!(parse(&text(None, true, false)).finetune.label_smoothing, 0.0);
    }

    #[test]
    fn rates_follow_the_root_of_the_batch() {
        assert_eq!([256, 64, 16].map(|batch| rate(1.2e-3, 256, batch)), ["1.2e-3", "6.0e-4", "3.0e-4"]);
        assert_eq!(["999", "80,000", "1.0 million"], [999, 80_000, 1_000_000].map(in_words));
    }
}
