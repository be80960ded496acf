//! Why data cannot be used.

use std::path::{Path, PathBuf};

use config::SettingError;
use whole::Unwritten;

use crate::image_list::{IMAGES_FILE, few as few_names};
use crate::source::Split;

/// Endings of files that are read as images.
pub(crate) const EXTENSIONS: [&str; 17] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "tif", "tiff", "bmp", "gif", "pnm", "pbm", "pgm", "ppm",
    "pam", "qoi", "npy",
];

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
        "{} has validation images of its own, and {key} would hold out others; leave it out",
        path.display()
    )]
    DividedTwice {
        /// The data.
        path: PathBuf,
        /// The key that names the share.
        key: &'static str,
    },
    /// A share so small that no image is held out.
    #[error("{key} = {fraction} of {} images leaves none to validate on", path.display())]
    NothingHeldOut {
        /// The data.
        path: PathBuf,
        /// The key that names the share.
        key: &'static str,
        /// The share.
        fraction: f64,
    },
    /// Only training images.
    #[error(
        "{} has {} but no images to validate on; add a folder val beside train, name them in data.val_csv, or \
         hold some of the training images out: --set data.val_fraction=0.1{}",
        path.display(), list(found), kept_for_the_end(found)
    )]
    NoValidation {
        /// The data.
        path: PathBuf,
        /// The splits that there are.
        found: Vec<Split>,
    },
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
    /// A folder that stands for a class is a link to what is listed elsewhere.
    #[error("class folder {} is a link to a folder that is listed already; remove it", .0.display())]
    RepeatedClass(PathBuf),
    /// An image of a class that the network does not know.
    #[error("class {class} is not among the {known} that are trained")]
    UnknownClass {
        /// Name of the class.
        class: String,
        /// Classes of the network.
        known: usize,
    },
    /// Classes of which a network knows none, or only some.
    #[error(
        "{}; say which is which with --class-map FILE",
        other_classes(strangers, *classes, *outputs, known)
    )]
    OtherClasses {
        /// Classes that it does not know.
        strangers: Vec<String>,
        /// Classes of the data.
        classes: usize,
        /// Outputs of the network.
        outputs: usize,
        /// First names of the outputs; none if they have no names.
        known: Vec<String>,
    },
    /// A name that two outputs have.
    #[error("two outputs of the network are called `{0}`; say which is meant with --class-map FILE")]
    TwinClass(String),
    /// A file of classes and outputs that cannot be used.
    #[error("{} {reason}", path.display())]
    ClassMap {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as a predicate.
        reason: String,
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
    /// A shard that cannot be used.
    #[error("{} {reason}", path.display())]
    Shard {
        /// The shard, or the folder that should hold it.
        path: PathBuf,
        /// What is wrong with it, as a predicate.
        reason: String,
    },
    /// Names of shards that cannot be read.
    #[error("--data: {0}")]
    Shards(String),
    /// Shards that are named and do not exist.
    #[error("{} of the {of} shards do not exist: {}", missing.len(), first(missing))]
    MissingShards {
        /// Those that do not exist.
        missing: Vec<PathBuf>,
        /// Shards that are named.
        of: usize,
    },
    /// Images are to be shuffled shard by shard, and lie in none.
    #[error(
        "data.shuffle = \"shards\" is for images in tar shards or Parquet files, and these are stored in another \
         way; leave it out"
    )]
    NoShards,
    /// A split is asked for that the data do not have.
    #[error(
        "{} has {} but no {wanted}{}", path.display(), list(found), names_of(*wanted)
    )]
    NoSplit {
        /// The data.
        path: PathBuf,
        /// The split.
        wanted: Split,
        /// Those that there are.
        found: Vec<Split>,
    },
    /// Two folders stand for one split.
    #[error("{} and {} would both be {split}; rename one of them", folders[0].display(), folders[1].display())]
    TwoFolders {
        /// The split.
        split: Split,
        /// The folders.
        folders: [PathBuf; 2],
    },
    /// A data set that is one folder too deep.
    #[error(
        "{} holds nothing but {inner}, which is a data set divided into parts; name that folder: --data {inner}",
        path.display(), inner = inner.display()
    )]
    TooDeep {
        /// The folder that was named.
        path: PathBuf,
        /// The one that is divided.
        inner: PathBuf,
    },
    /// Classes that are divided, instead of parts that hold classes.
    #[error(
        "{} is divided itself, and all its parts would be one class; put the parts outside and the classes \
         inside ({}/train/CLASS), or list the images in a CSV file with a column split",
        class.display(), path.display()
    )]
    DividedClass {
        /// The data.
        path: PathBuf,
        /// The folder of a class.
        class: PathBuf,
    },
    /// Two tables that lie with the images of a folder.
    #[error("{} and {} both say what the images are; remove one of them", .0[0].display(), .0[1].display())]
    TwoTables([PathBuf; 2]),
    /// Files of several data sets.
    #[error(
        "{} holds several data sets: {}; put the one that is meant into a folder of its own, or name its folder",
        path.display(), sets.join(", ")
    )]
    SeveralSets {
        /// The folder.
        path: PathBuf,
        /// What they are called.
        sets: Vec<String>,
    },
    /// CIFAR as Python objects.
    #[error(
        "{} is CIFAR in its version for Python, which is not read; download the binary version, {archive}",
        path.display()
    )]
    PythonCifar {
        /// The folder.
        path: PathBuf,
        /// The archive to download instead.
        archive: &'static str,
    },
    /// Two class folders that have one name.
    #[error(
        "two class folders in {} are called {class}, in different forms of Unicode; move their images into one",
        path.display()
    )]
    TwoClasses {
        /// The data.
        path: PathBuf,
        /// The name.
        class: String,
    },
    /// A run that does not say which images it held out.
    #[error(
        "this checkpoint does not say which images data.val_fraction held out: {IMAGES_FILE} is missing, as \
         in runs of earlier versions; name images that it was not trained on: --data DIR"
    )]
    NotRecorded,
    /// None of the images that are asked for is left.
    #[error("{} has none of the {split} images of the run", path.display())]
    NoneLeft {
        /// The data.
        path: PathBuf,
        /// The split.
        split: Split,
    },
    /// A setting that cannot work.
    #[error("{setting} {reason}")]
    Setting {
        /// The key of the setting.
        setting: &'static str,
        /// The value, and what it has to be.
        reason: String,
    },
    /// Validation images that no table lists.
    #[error("data.val_csv {} is no table (.csv, .tsv or .jsonl) that lists images to validate on", .0.display())]
    NoTable(PathBuf),
    /// A thread that makes batches has died of a bug; its message is on standard error.
    #[error("a loader thread has panicked; its message is above; data.workers = 0 decodes without threads")]
    WorkerPanicked,
    /// A batch of images with targets of several kinds.
    #[error(
        "some images have a class and others have numbers or nothing; a data set has targets of one kind"
    )]
    MixedTargets,
    /// Classes are to be shown equally often, and there are none.
    #[error(
        "data.sampling = \"balanced\" shows every class equally often, which takes one class an image; these \
         images have none, or several; leave it out"
    )]
    NoClassesToBalance,
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

    /// A file that cannot be written.
    pub(crate) fn unwritten(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Unwritten { path, error }.into()
    }

    pub(crate) fn no_split(path: &Path, wanted: Split, found: impl IntoIterator<Item = Split>) -> Self {
        Self::NoSplit { path: path.to_owned(), wanted, found: found.into_iter().collect() }
    }
}

impl From<Unwritten> for DataError {
    fn from(Unwritten { path, error }: Unwritten) -> Self {
        Self::Shard { path, reason: format!("cannot be written: {error}") }
    }
}

fn list(splits: &[Split]) -> String {
    splits.iter().map(Split::to_string).collect::<Vec<_>>().join(" and ")
}

fn first(paths: &[PathBuf]) -> String {
    few_names(&paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>())
}

/// What else a split may be called.
fn names_of(split: Split) -> String {
    format!(" (nor {})", split.names()[1..].join(", "))
}

fn kept_for_the_end(found: &[Split]) -> &'static str {
    if found.contains(&Split::Test) { " (test is kept for the end: train-cli eval --split test)" } else { "" }
}

fn other_classes(strangers: &[String], classes: usize, outputs: usize, known: &[String]) -> String {
    let listed = |names: &[String]| names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let more = if strangers.len() > 3 { ", …" } else { "" };
    let (count, strangers) = (strangers.len(), listed(strangers) + more);
    match known {
        [] => {
            let classes = if classes == 1 { "1 class".to_owned() } else { format!("{classes} classes") };
            format!(
                "the network has no names for its {outputs} outputs, the data have {classes}: {strangers}"
            )
        }
        known => format!(
            "{count} of the {classes} classes of the data are not among the {outputs} of the network ({} …): {strangers}",
            listed(known)
        ),
    }
}

fn few(found: &[(String, String)]) -> String {
    let shown: Vec<_> = found.iter().take(3).map(|(name, reason)| format!("{name} ({reason})")).collect();
    shown.join(", ") + if found.len() > 3 { ", …" } else { "" }
}
