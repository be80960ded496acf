//! All parts of a data set, to be looked at or packed.

use std::path::Path;
use std::sync::Arc;

use crate::data_config::{DataConfig, Divided};
use crate::error::DataError;
use crate::source::{ImageSource, Labels, LeftOut, Split, open_labelled, splits};

/// A part of a data set.
pub struct Part {
    /// Which one it is; none of data that are not divided.
    pub split: Option<Split>,
    /// Its images, with classes if they have any.
    pub images: Arc<dyn ImageSource>,
    /// Why its images have no classes, if they have none.
    pub without_classes: Option<DataError>,
    /// What lies with its images and is not used; told once of parts of one folder.
    pub left_out: LeftOut,
}

impl Part {
    /// What the part is called in tables and names of files.
    pub fn name(&self) -> String {
        self.split.map_or_else(|| "images".to_owned(), |split| split.to_string())
    }

    fn of(split: Option<Split>, images: Arc<dyn ImageSource>) -> Self {
        let left_out = images.left_out();
        Self { split, images, without_classes: None, left_out }
    }
}

impl DataConfig {
    /// Every part of the data: those that they are divided into, with `val_csv` or `val_fraction` those that
    /// fine-tuning with this seed would divide them into, and otherwise a single one.
    ///
    /// # Errors
    /// No path, nothing there that can be used, or parts that do not go together.
    pub fn parts(&self, seed: u64) -> Result<Vec<Part>, DataError> {
        let path = self.path()?;
        let found = splits(path, self.format)?;
        if self.val_fraction.is_none() && self.val_csv.is_none() {
            return match &found[..] {
                [] => Ok(vec![self.part(path, None)?]),
                found => found.iter().map(|split| self.part(path, Some(*split))).collect(),
            };
        }
        let Divided { training, validation, .. } = self.open_divided(seed, None)?;
        let mut parts = vec![Part::of(Some(Split::Train), training), Part::of(Some(Split::Val), validation)];
        if self.val_fraction.is_some() {
            parts[1].left_out = LeftOut::default();
        }
        if found.contains(&Split::Test) {
            parts.push(self.part(path, Some(Split::Test))?);
        }
        Ok(parts)
    }

    fn part(&self, path: &Path, split: Option<Split>) -> Result<Part, DataError> {
        let open =
            |labels| open_labelled(path, self.format, split.unwrap_or(Split::Train), labels, &self.label_key);
        match open(Labels::Required) {
            Ok(images) => Ok(Part::of(split, images)),
            // What is wrong with more than the labels is wrong without them as well.
            Err(reason) => {
                Ok(Part { without_classes: Some(reason), ..Part::of(split, open(Labels::Ignored)?) })
            }
        }
    }
}
