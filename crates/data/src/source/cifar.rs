//! CIFAR-10 (Krizhevsky, 2009).

use std::fs;
use std::path::{Path, PathBuf};

use burn_dataset::Dataset;
use image::RgbImage;

use crate::decode::decode_file;
use crate::error::DataError;
use crate::source::{ImageSource, Sample, Split, Target};

/// Files by which the data set is recognised.
pub(super) const FILES: [&str; 4] =
    ["data_batch_1.bin", "data_batch_1.png", "test_batch.bin", "test_batch.png"];

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const IMAGE: usize = 3 * PLANE;
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// CIFAR-10 in memory: the standard binary batches, or PNG sheets with an image a row.
#[derive(Debug, Clone)]
pub struct Cifar10 {
    /// 32×32×3 each, row, column, channel.
    pixels: Vec<u8>,
    labels: Vec<u8>,
    classes: Vec<String>,
    split: &'static str,
}

impl Cifar10 {
    /// Reads one split.
    ///
    /// # Errors
    /// A file that is missing, truncated, or labels outside the ten classes.
    pub fn open(folder: &Path, split: Split) -> Result<Self, DataError> {
        let (names, label_file, split) = match split {
            Split::Train => {
                ((1..=5).map(|i| format!("data_batch_{i}")).collect(), "train_lables.json", "train")
            }
            Split::Val => (vec!["test_batch".to_owned()], "test_lables.json", "test"),
        };
        let mut this = Self { pixels: Vec::new(), labels: Vec::new(), classes: class_names(folder), split };
        if folder.join(format!("{}.bin", names[0])).is_file() {
            for name in names {
                this.read_binary(&folder.join(format!("{name}.bin")))?;
            }
        } else {
            for name in names {
                this.read_sheet(&folder.join(format!("{name}.png")))?;
            }
            this.read_labels(&folder.join(label_file))?;
        }
        match this.labels.iter().position(|label| usize::from(*label) >= this.classes.len()) {
            Some(image) => {
                let reason = format!("image {image} has label {}", this.labels[image]);
                Err(damaged(folder, reason))
            }
            None => Ok(this),
        }
    }

    /// Records of one label byte and three colour planes.
    fn read_binary(&mut self, path: &Path) -> Result<(), DataError> {
        let bytes = fs::read(path).map_err(DataError::io(path))?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(1 + IMAGE) {
            let reason = format!("{} bytes are no whole number of {}-byte records", bytes.len(), 1 + IMAGE);
            return Err(damaged(path, reason));
        }
        for record in bytes.chunks_exact(1 + IMAGE) {
            self.labels.push(record[0]);
            let planes = &record[1..];
            self.pixels
                .extend((0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]));
        }
        Ok(())
    }

    /// A picture whose row r is image r.
    fn read_sheet(&mut self, path: &Path) -> Result<(), DataError> {
        let sheet = decode_file(path)?;
        if sheet.width() as usize != PLANE {
            return Err(damaged(path, format!("{} pixels wide, expected {PLANE}", sheet.width())));
        }
        self.pixels.extend(sheet.into_raw());
        Ok(())
    }

    fn read_labels(&mut self, path: &Path) -> Result<(), DataError> {
        let text = fs::read_to_string(path).map_err(DataError::io(path))?;
        self.labels = serde_json::from_str(&text).map_err(|error| damaged(path, error.to_string()))?;
        let images = self.pixels.len() / IMAGE;
        if self.labels.len() != images {
            return Err(damaged(path, format!("{} labels for {images} images", self.labels.len())));
        }
        Ok(())
    }
}

fn damaged(path: &Path, reason: String) -> DataError {
    DataError::Damaged { path: PathBuf::from(path), reason }
}

fn class_names(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("batches.meta.txt")).unwrap_or_default();
    let names: Vec<_> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() == CLASSES.len() { names } else { CLASSES.map(str::to_owned).to_vec() }
}

impl Dataset<Sample, DataError> for Cifar10 {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let pixels = self.pixels[index * IMAGE..][..IMAGE].to_vec();
        let image = RgbImage::from_raw(SIDE as u32, SIDE as u32, pixels).unwrap_or_default();
        Ok(Sample { image, target: Target::Class(u32::from(self.labels[index])) })
    }

    fn len(&self) -> usize {
        self.labels.len()
    }
}

impl ImageSource for Cifar10 {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(u32::from(self.labels[index]))
    }

    fn name(&self, index: usize) -> String {
        format!("{}[{index}]", self.split)
    }
}
