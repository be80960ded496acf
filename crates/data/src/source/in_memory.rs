//! Small data sets that are read whole: CIFAR-10, MNIST and relatives.

use burn_dataset::Dataset;
use flate2::Crc;
use image::RgbImage;

use crate::error::DataError;
use crate::source::{ImageSource, Sample, Stored, decoded};

/// Images of one size and their classes, in memory.
#[derive(Debug, Clone)]
pub(super) struct InMemory {
    /// Image after image: row, column, channel.
    pub(super) pixels: Vec<u8>,
    /// Height and width of every image.
    pub(super) size: [usize; 2],
    /// 1 (grey) or 3 (colour).
    pub(super) channels: usize,
    /// The class of every image.
    pub(super) labels: Vec<u8>,
    /// Names of the classes.
    pub(super) classes: Vec<String>,
    /// The data set's own name of the split.
    pub(super) split: &'static str,
}

impl InMemory {
    fn pixels_of(&self, index: usize) -> &[u8] {
        let bytes = self.size.iter().product::<usize>() * self.channels;
        &self.pixels[index * bytes..][..bytes]
    }
}

impl Dataset<Sample, DataError> for InMemory {
    fn get(&self, index: usize) -> Result<Sample, DataError> {
        decoded(self, index)
    }

    fn len(&self) -> usize {
        self.labels.len()
    }
}

impl ImageSource for InMemory {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> Option<u32> {
        Some(u32::from(self.labels[index]))
    }

    fn name(&self, index: usize) -> String {
        format!("{}[{index}]", self.split)
    }

    /// All are of one size, so that the bytes say nothing: those of the pixels, summed up, do.
    fn bytes(&self, index: usize) -> u64 {
        let mut crc = Crc::new();
        crc.update(self.pixels_of(index));
        u64::from(crc.sum())
    }

    fn read(&self, index: usize) -> Result<Stored, DataError> {
        let [height, width] = self.size;
        let pixels = self.pixels_of(index);
        let pixels = match self.channels {
            1 => pixels.iter().flat_map(|grey| [*grey; 3]).collect(),
            _ => pixels.to_vec(),
        };
        let image = RgbImage::from_raw(width as u32, height as u32, pixels).unwrap_or_default();
        Ok(Stored::Decoded(image.into()))
    }
}
