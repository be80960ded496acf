//! Why data cannot be used.

use std::path::PathBuf;

use config::SettingError;

/// Endings of files that are read as images.
pub(crate) const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "bmp", "gif"];

/// Why data cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DataError {
    /// No data are named.
    #[error("no images: give --data DIR, or path = \"…\" in the [data] section")]
    NoPath,
    /// A setting that is not allowed.
    #[error(transparent)]
    Config(#[from] SettingError),
    /// Training and validation images have targets of different kinds.
    #[error("the validation images have targets of another kind than the training images")]
    OtherTask,
    /// The validation images do not go with the training images.
    #[error("in the validation images: {0}")]
    Validation(Box<DataError>),
    /// Validation images of its own, and a share to be held out.
    #[error(
        "{} has validation images of its own, and data.val_fraction would hold out others; leave it out",
        .0.display()
    )]
    DividedTwice(PathBuf),
    /// A share so small that no image is held out.
    #[error("data.val_fraction = {fraction} of {} images leaves none to validate on", path.display())]
    NothingHeldOut {
        /// The data.
        path: PathBuf,
        /// The share.
        fraction: f64,
    },
    /// Only training images.
    #[error(
        "{} has no validation images; add a folder val beside train, name them in data.val_csv, or hold some \
         out: --set data.val_fraction=0.1",
        .0.display()
    )]
    NoValidation(PathBuf),
    /// Images that are not divided.
    #[error(
        "{} is not divided into train and val; hold some images out: --set data.val_fraction=0.1",
        .0.display()
    )]
    NotDivided(PathBuf),
    /// A path that does not exist.
    #[error("no data at {}: it does not exist", .0.display())]
    NotFound(PathBuf),
    /// A file where a folder is needed.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// A folder without anything in it.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// Files, but no images among them.
    #[error("{} holds {files} files but no image; images end in {}", path.display(), EXTENSIONS.join(", "))]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// Files in it and below.
        files: usize,
    },
    /// A folder that stands for a class has no image.
    #[error("class folder {} holds no image; remove it or add images", .0.display())]
    EmptyClass(PathBuf),
    /// An image of a class that the network does not know.
    #[error("class {class} is not among the {known} that are trained")]
    UnknownClass {
        /// Name of the class.
        class: String,
        /// Classes of the network.
        known: usize,
    },
    /// A number that the network predicts is not given.
    #[error("column target.{0} is missing, which the network predicts")]
    MissingNumber(String),
    /// Labels are needed and there are none.
    #[error("{} has no class folders; expected one subfolder of images for each class", .0.display())]
    NoClasses(PathBuf),
    /// A file or folder that cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason that the operating system gives.
        reason: String,
    },
    /// A file that is not a whole image.
    #[error("cannot decode {}: {reason}", path.display())]
    Decode {
        /// The image.
        path: PathBuf,
        /// The reason that the decoder gives.
        reason: String,
    },
    /// A data set file of the wrong size or form.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The reason, in words.
        reason: String,
    },
    /// A split is asked for that the folder does not have.
    #[error("{} has other splits but no {wanted}", path.display())]
    NoSplit {
        /// The folder.
        path: PathBuf,
        /// Names of subfolders that would do.
        wanted: String,
    },
    /// A setting that cannot work.
    #[error("{setting} {reason}")]
    Setting {
        /// The key of the setting.
        setting: &'static str,
        /// The value, and what it has to be.
        reason: String,
    },
    /// A thread that makes batches has died of a bug; its message is on standard error.
    #[error("a loader thread has panicked; its message is above; data.workers = 0 decodes without threads")]
    WorkerPanicked,
    /// A batch of images with targets of several kinds.
    #[error(
        "some images have a class and others have numbers or nothing; a data set has targets of one kind"
    )]
    MixedTargets,
    /// Fewer images than a batch takes.
    #[error("a batch takes {batch} images, the data have {images}; lower train.batch_size")]
    BatchTooLarge {
        /// Images of a batch.
        batch: usize,
        /// Images in all.
        images: usize,
    },
    /// Too many unreadable images.
    #[error(
        "{} unreadable images, more than data.max_corrupt = {limit}: {}; repair or remove them, or raise the limit",
        found.len(), few(found)
    )]
    TooManyCorrupt {
        /// Name and reason of each.
        found: Vec<(String, String)>,
        /// Unreadable images that are skipped.
        limit: usize,
    },
    /// Images that a network is judged by cannot be read.
    #[error("{} of the images to evaluate cannot be read: {}; repair or remove them", .0.len(), few(.0))]
    Unreadable(Vec<(String, String)>),
    /// Not a single readable image.
    #[error("none of the images can be read; the last one: {0}")]
    AllCorrupt(String),
}

impl DataError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, reason: error.to_string() }
    }
}

fn few(found: &[(String, String)]) -> String {
    let shown: Vec<_> = found.iter().take(3).map(|(name, reason)| format!("{name} ({reason})")).collect();
    shown.join(", ") + if found.len() > 3 { ", …" } else { "" }
}
