//! Images as an encoder sees them.

use trainer::health::Features;

/// Images as an encoder sees them, to be judged by a probe.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embedded {
    /// `[images, width]`.
    pub features: Vec<f32>,
    /// A class for each image, where there are any.
    pub labels: Vec<u32>,
}

impl Embedded {
    /// Features and classes.
    pub fn labelled(&self) -> Features<'_> {
        Features { values: &self.features, labels: &self.labels }
    }
}
