//! Images as an encoder sees them, and the files that they go into.

use std::collections::HashMap;
use std::io::{Error, Result};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use crate::knn::Features;

/// Images as an encoder sees them.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedded {
    /// `[images, width]`.
    pub features: Vec<f32>,
    /// A class for each image, where there are any.
    pub labels: Vec<u32>,
    /// Names of the images.
    pub names: Vec<String>,
}

impl Embedded {
    /// Numbers of a feature vector.
    pub fn width(&self) -> usize {
        self.features.len() / self.names.len().max(1)
    }

    /// Features and classes, to be judged by a probe.
    pub fn labelled(&self) -> Features<'_> {
        Features { values: &self.features, labels: &self.labels }
    }

    /// Writes `features` and, where every image has a class, `labels`; names of images in the metadata.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_safetensors(&self, path: &Path) -> Result<()> {
        let features = bytes(&self.features);
        let labels: Vec<u8> = self.labels.iter().flat_map(|l| i64::from(*l).to_le_bytes()).collect();
        let shape = vec![self.names.len(), self.width()];
        let mut tensors =
            vec![("features", TensorView::new(Dtype::F32, shape, &features).map_err(Error::other)?)];
        if self.labels.len() == self.names.len() {
            let shape = vec![self.labels.len()];
            tensors.push(("labels", TensorView::new(Dtype::I64, shape, &labels).map_err(Error::other)?));
        }
        let metadata = HashMap::from([("names".to_owned(), serde_json::to_string(&self.names)?)]);
        std::fs::write(path, safetensors::serialize(tensors, Some(metadata)).map_err(Error::other)?)
    }

    /// Writes the features alone in NumPy's format, version 1.0: magic, length of the header, a header
    /// padded to 64 bytes, values.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_npy(&self, path: &Path) -> Result<()> {
        const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
        let shape = (self.names.len(), self.width());
        let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape:?}, }}");
        let length = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 2;
        header = format!("{header:<width$}\n", width = length - 1);
        let file = [MAGIC, &(length as u16).to_le_bytes(), header.as_bytes(), &bytes(&self.features)];
        std::fs::write(path, file.concat())
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
