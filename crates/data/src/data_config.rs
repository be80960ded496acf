//! The `[data]` section: where images come from, and how their pixels become numbers.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn_dataset::Dataset;
use config::{SettingError, section};
use serde::{Deserialize, Serialize};

use crate::decode::DecodeOptions;
use crate::error::DataError;
use crate::image_list::{ImageList, few, name_below};
use crate::loader::{Sampling, Shuffle};
use crate::source::{
    Container, Format, ImageSource, Labels, SHARD_LABEL, Split, Subset, beside_parts, divide,
    looks_like_a_split, open_labelled, shards_root, splits, with_classes,
};
use crate::statistics::{check_statistics, normalize};
use crate::transform::{IMAGENET_MEAN, IMAGENET_STD, Normalize};

section! {
    /// Where images come from, and how their pixels become numbers.
    pub struct DataConfig: "data", together = together {
        /// A folder, a table that lists images (`.csv`, `.tsv`, `.jsonl`), tar shards such as
        /// `train-{000..146}.tar`, or Parquet files of images; `--data` overrides it.
        path: Option<PathBuf> = None;
        /// A table that lists the images to validate on, which are then not trained on.
        val_csv: Option<PathBuf> = None;
        /// How images are stored; `auto` recognises it by content.
        format: Format = Format::Auto;
        /// Size of the images that the network gets, in pixels.
        image_size: ImageSize = ImageSize::Square(224), "one side, or `[height, width]`" => |_| true;
        /// Mean of each channel, of intensities from 0 to 1.
        mean: Vec<f32> = IMAGENET_MEAN.to_vec();
        /// Standard deviation of each channel, of intensities from 0 to 1.
        std: Vec<f32> = IMAGENET_STD.to_vec();
        /// The numbers that become the intensities 0 and 1, of arrays (`.npy`) and of TIFFs with more bits or
        /// bands than pictures have, such as `[0, 10000]`; all that the type holds if nothing is said, and
        /// floats as they are.
        range: Option<[f32; 2]> = None, "two rising numbers"
            => |range| range.is_none_or(|[low, high]| low < high && (high - low).is_finite());
        /// Share of the training images held out for validation, for fine-tuning on data without a
        /// validation folder.
        val_fraction: Option<f64> = None, "between 0 and 1"
            => |share| share.is_none_or(|share| share > 0.0 && share < 1.0);
        /// How often training shows an image in an epoch: `uniform` once; `balanced` so that every class
        /// is shown equally often, images of small ones again and again, of large ones not all of them.
        sampling: Sampling = Sampling::Uniform;
        /// In which order training shows the images of an epoch: `images` in any; `shards`, for tar shards
        /// on slow disks and for Parquet files, shard after shard or row group after row group, mixed among
        /// 4096 images.
        shuffle: Shuffle = Shuffle::Images;
        /// Key of the class in the `.json` files of tar shards, where there is no `.cls` file; column of the
        /// class in Parquet files.
        label_key: String = SHARD_LABEL.to_owned();
        /// Threads that decode and augment: `auto` takes one a core, at most 16; 0 does it between steps.
        workers: Workers = Workers::Auto(Auto::Auto), "`auto`, or a number up to 1024" => |workers| workers.count() <= 1024;
        /// Finished images that wait for their batch, at most, but one a thread at least; as many as a batch
        /// has if nothing is said.
        prefetch: Option<usize> = None, "up to 1048576" => |images| images.is_none_or(|images| images <= 1 << 20);
        /// Pixels of the largest image that is decoded: a small file can claim to be a very large one.
        max_pixels: u64 = DecodeOptions::default().max_pixels;
        /// Whether training decodes every JPEG whole and at full size. Otherwise one that is much larger
        /// than what is cut out of it is decoded at a half, a quarter or an eighth, which is faster and
        /// changes pixels by little.
        exact_decode: bool = false;
        /// Unreadable files that are skipped before the run stops.
        max_corrupt: usize = 10;
    }
    on resume {
        fixed: val_csv, format, image_size, mean, std, range, val_fraction, sampling, shuffle, label_key,
            exact_decode;
        free: path, workers, prefetch, max_pixels, max_corrupt;
    }
}

fn together(data: &DataConfig) -> Result<(), SettingError> {
    if data.val_fraction.is_some() && data.val_csv.is_some() {
        return Err(SettingError::Together(
            "data.val_csv and data.val_fraction both choose the validation images; leave one of them out"
                .to_owned(),
        ));
    }
    if data.shuffle == Shuffle::Shards && data.sampling == Sampling::Balanced {
        return Err(SettingError::Together(
            "data.shuffle = \"shards\" and data.sampling = \"balanced\" both choose the order of the images; \
             leave one of them out"
                .to_owned(),
        ));
    }
    check_statistics(("data.mean", &data.mean), ("data.std", &data.std))
}

/// `"auto"` or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"auto\" or a number of threads")]
pub enum Workers {
    /// By the cores.
    Auto(Auto),
    /// So many.
    Number(usize),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto {
    /// The word.
    Auto,
}

impl Workers {
    /// Threads: by those that compute in this process (`RAYON_NUM_THREADS`, or the cores), unless a number
    /// was given.
    pub fn count(self) -> usize {
        const MOST: usize = 16;
        match self {
            Self::Auto(_) => rayon::current_num_threads().min(MOST),
            Self::Number(count) => count,
        }
    }
}

/// `224` or `[224, 160]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a side or [height, width] in pixels")]
pub enum ImageSize {
    /// Both sides.
    Square(usize),
    /// Height and width.
    Rectangle([usize; 2]),
}

impl ImageSize {
    /// Height and width.
    pub fn pixels(self) -> [usize; 2] {
        match self {
            Self::Square(side) => [side, side],
            Self::Rectangle(sides) => sides,
        }
    }
}

/// Images to train on, and images to judge by.
pub struct Divided {
    /// The images that are trained on.
    pub training: Arc<dyn ImageSource>,
    /// Images held out, with the same classes.
    pub validation: Arc<dyn ImageSource>,
    /// Where the validation images come from, in words.
    pub origin: String,
}

/// Images that nothing is learnt from.
pub struct Apart {
    /// The images.
    pub images: Arc<dyn ImageSource>,
    /// Where they come from, in words.
    pub origin: String,
}

impl DataConfig {
    /// The normalisation of training images of so many channels.
    ///
    /// # Errors
    /// Numbers that do not fit the channels or are not allowed.
    pub fn normalize(&self, channels: usize) -> Result<Normalize, SettingError> {
        normalize(channels, ("data.mean", &self.mean), ("data.std", &self.std))
    }

    /// How images are decoded for a network of so many channels.
    pub fn decode(&self, channels: usize) -> DecodeOptions {
        let (max_pixels, exact, range) = (self.max_pixels, self.exact_decode, self.range);
        DecodeOptions { max_pixels, exact, channels, range }
    }

    pub(crate) fn path(&self) -> Result<&PathBuf, DataError> {
        self.path.as_ref().ok_or(DataError::NoPath)
    }

    /// The training images.
    ///
    /// # Errors
    /// No path, or nothing there that can be used.
    pub fn open(&self, labels: Labels) -> Result<Arc<dyn ImageSource>, DataError> {
        self.open_split(Split::Train, labels)
    }

    fn open_split(&self, split: Split, labels: Labels) -> Result<Arc<dyn ImageSource>, DataError> {
        open_labelled(self.path()?, self.format, split, labels, &self.label_key)
    }

    /// The folder that names of images are [listed](ImageList) below.
    ///
    /// # Errors
    /// No path.
    pub fn root(&self) -> Result<&Path, DataError> {
        let path = self.path()?;
        Ok(if path.is_dir() { path } else { shards_root(path) })
    }

    /// Training and validation images: a `val` folder beside `train` or rows `val` of a table, `val_csv`,
    /// or `val_fraction` of the training images, [held out](divide) by seed and name; those that a run has
    /// recorded stay where they were. Classes have the same numbers in both.
    ///
    /// # Errors
    /// Data that are not divided, or whose parts do not go together.
    pub fn open_divided(&self, seed: u64, recorded: Option<&ImageList>) -> Result<Divided, DataError> {
        let training = self.open(Labels::Required)?;
        let Divided { training, validation, origin } = match (self.val_fraction, &self.val_csv) {
            (Some(fraction), _) => {
                self.hold_out(training, ("data.val_fraction", fraction), seed, recorded)?
            }
            (None, Some(csv)) => {
                if csv.is_dir() || Container::named(csv).is_some() {
                    return Err(DataError::NoTable(csv.clone()));
                }
                let validation =
                    open_labelled(csv, Format::Auto, Split::Val, Labels::Required, &self.label_key)?;
                let training: Arc<dyn ImageSource> = Arc::new(without(&training, &*validation));
                Divided { training, validation, origin: format!("listed in {}", csv.display()) }
            }
            (None, None) => {
                let validation = self.validation_of_its_own()?;
                let origin = format!("the part val of {}", self.path()?.display());
                Divided { training, validation, origin }
            }
        };
        if training.task() != validation.task() {
            return Err(DataError::OtherTask);
        }
        // Their numbers must mean the same.
        let validation = with_classes(validation, training.classes())
            .map_err(|error| DataError::Validation(Box::new(error)))?;
        Ok(Divided { training, validation, origin })
    }

    /// All images, labelled or not, for training that needs none to validate on: those of the part `val`
    /// of the data, or a share of the others, are set apart all the same. `stated` is that share by the key
    /// that names it, `usual` the one of so many images where nobody states it. A run that has recorded that
    /// it set none apart goes on so.
    ///
    /// # Errors
    /// Data that cannot be opened, or that are divided already and have a share stated; a share that holds no
    /// image out.
    pub fn open_apart(
        &self,
        (key, stated): (&'static str, Option<f64>),
        usual: impl Fn(usize) -> f64,
        seed: u64,
        recorded: Option<&ImageList>,
    ) -> Result<(Arc<dyn ImageSource>, Option<Apart>), DataError> {
        let (path, training) = (self.path()?, self.open(Labels::Ignored)?);
        if recorded.is_some_and(|list| list.count(Split::Val) == 0) {
            return Ok((training, None));
        }
        // A run that has set some apart goes on so, however many would be usual by now.
        let share = stated.unwrap_or_else(|| match recorded {
            Some(list) => {
                list.count(Split::Val) as f64 / (list.count(Split::Val) + list.count(Split::Train)) as f64
            }
            None => usual(training.len()),
        });
        if splits(path, self.format)?.contains(&Split::Val) {
            if stated.is_some_and(|share| share > 0.0) {
                return Err(DataError::DividedTwice { path: path.clone(), key });
            }
            let images = self.open_split(Split::Val, Labels::Ignored)?;
            let origin = format!("the part val of {}", path.display());
            return Ok((training, Some(Apart { images, origin })));
        }
        if share == 0.0 {
            return Ok((training, None));
        }
        let Divided { training, validation, origin } =
            self.hold_out(training, (key, share), seed, recorded)?;
        Ok((training, Some(Apart { images: validation, origin })))
    }

    fn hold_out(
        &self,
        images: Arc<dyn ImageSource>,
        (key, fraction): (&'static str, f64),
        seed: u64,
        recorded: Option<&ImageList>,
    ) -> Result<Divided, DataError> {
        let (path, root) = (self.path()?, self.root()?);
        if splits(path, self.format)?.contains(&Split::Val) {
            return Err(DataError::DividedTwice { path: path.clone(), key });
        }
        let name = |index| name_below(root, &images.name(index));
        let (training, validation) = divide(&images, fraction, seed, name, recorded);
        if validation.is_empty() {
            return Err(DataError::NothingHeldOut { path: path.clone(), key, fraction });
        }
        let origin = format!("held out of {} by seed and name ({key} = {fraction})", path.display());
        Ok(Divided { training: Arc::new(training), validation: Arc::new(validation), origin })
    }

    fn validation_of_its_own(&self) -> Result<Arc<dyn ImageSource>, DataError> {
        let path = self.path()?;
        let found = splits(path, self.format)?;
        if found.is_empty() {
            return Err(DataError::NotDivided(path.clone()));
        }
        if !found.contains(&Split::Val) {
            return Err(DataError::NoValidation { path: path.clone(), found });
        }
        self.open_split(Split::Val, Labels::Required)
    }

    /// Which part of a divided data set is trained on, in words; none for one that is not divided.
    ///
    /// # Errors
    /// No path, nothing there, or two folders for one part.
    pub fn part_in_words(&self) -> Result<Option<String>, DataError> {
        let path = self.path()?;
        let found = splits(path, self.format)?;
        let others: Vec<_> = found.iter().filter(|split| **split != Split::Train).collect();
        let mut others: Vec<_> = others.iter().map(ToString::to_string).collect();
        others.extend(beside_parts(path)?);
        let alone = if others.is_empty() { String::new() } else { format!("; not {}", others.join(", ")) };
        Ok((!found.is_empty()).then(|| format!("train of {}{alone}", path.display())))
    }

    /// What is odd about classes of these names, in words.
    pub fn warning(&self, classes: &[String]) -> Option<String> {
        let odd: Vec<_> = classes.iter().filter(|name| looks_like_a_split(name)).cloned().collect();
        let some = few(&odd);
        (!odd.is_empty()).then(|| {
            format!(
                "{some}: {} named like a part of a data set, and taken for {}. Parts are recognised by the \
                 names {}, in any case",
                if odd.len() == 1 { "a class" } else { "classes" },
                if odd.len() == 1 { "a class" } else { "classes" },
                Split::ALL.iter().flat_map(|split| split.names()).copied().collect::<Vec<_>>().join(", ")
            )
        })
    }
}

/// The images of a source that are not in another one.
fn without(source: &Arc<dyn ImageSource>, other: &dyn ImageSource) -> Subset {
    // The same file may have been named in two ways.
    let file = |name: String| fs::canonicalize(&name).unwrap_or(name.into());
    let held_out: HashSet<PathBuf> = (0..other.len()).map(|index| file(other.name(index))).collect();
    Subset::new(source, |index| !held_out.contains(&file(source.name(index))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Section;

    #[test]
    fn one_channel_takes_the_mean_of_three_numbers() {
        let data = DataConfig { mean: vec![0.3, 0.6, 0.9], ..DataConfig::default() };
        let grey = data.normalize(1).unwrap().mean[0];
        assert!((grey - 0.6).abs() < 1e-6);
        let wrong = DataConfig { std: vec![1.0], ..DataConfig::default() };
        assert!(wrong.normalize(3).unwrap_err().to_string().contains("data.std has 1 numbers"));
        let wrong = DataConfig { std: vec![1.0, 0.0, 1.0], ..DataConfig::default() };
        assert!(wrong.normalize(3).unwrap_err().to_string().contains("data.std must be of"));
    }

    #[test]
    fn validation_images_and_orders_are_chosen_in_one_way() {
        let both =
            DataConfig { val_fraction: Some(0.1), val_csv: Some("a.csv".into()), ..DataConfig::default() };
        assert!(both.check().unwrap_err().to_string().contains("leave one of them out"));
        let orders =
            DataConfig { shuffle: Shuffle::Shards, sampling: Sampling::Balanced, ..DataConfig::default() };
        assert!(orders.check().unwrap_err().to_string().contains("both choose the order"));
        let all = DataConfig { val_fraction: Some(1.0), ..DataConfig::default() };
        assert_eq!(
            all.check().unwrap_err().to_string(),
            "data.val_fraction must be between 0 and 1, found 1.0"
        );
    }
}
