//! The images of one forward pass.

use crate::any_image::AnyImage;
use crate::error::DataError;
use crate::loader::memory::Staged;
use crate::source::Target;
use crate::transform::{Erased, Normalize};

/// Images of one forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The images, row-major in `shape`.
    pub pixels: Pixels,
    /// `[N, C, H, W]`.
    pub shape: [usize; 4],
    /// What is still to be erased of images that the device normalises: the number of the image within
    /// the batch, ascending, and its box.
    pub erased: Vec<(usize, Erased)>,
    /// The classes or numbers of the images.
    pub targets: Targets,
    /// Index of every image in the source.
    pub indices: Vec<u64>,
    /// What the random choices for every image depend on, beside seed and epoch: its index, unless the
    /// epoch has shown the image before. No two images of an epoch have the same,
    /// but for those that stand in for unreadable ones.
    pub draws: Vec<u64>,
    /// The pass over the data that the batch belongs to.
    pub epoch: u64,
}

/// The numbers of a batch's images.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// Normalised values.
    F32(Vec<f32>),
    /// Intensities, which the device normalises.
    U8(Vec<u8>),
    /// The same in memory that the device reads from.
    Staged(Staged),
}

/// What is known of a batch's images.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Images of which nothing is known.
    None,
    /// The class of each image, as an index.
    Classes(Vec<u32>),
    /// Numbers, as many for each image, image after image.
    Numbers(Vec<f32>),
}

impl Batch {
    /// A batch that waits for so many images of `[C, H, W]`.
    pub(crate) fn empty(
        pixels: Pixels,
        [channels, height, width]: [usize; 3],
        count: usize,
        epoch: u64,
    ) -> Self {
        let shape = [0, channels, height, width];
        let [indices, draws] = [Vec::with_capacity(count), Vec::with_capacity(count)];
        Self { pixels, shape, erased: Vec::new(), targets: Targets::None, indices, draws, epoch }
    }

    /// Adds the images of another batch of the same loader.
    ///
    /// # Errors
    /// Targets of another kind.
    pub(crate) fn append(&mut self, more: Self) -> Result<(), DataError> {
        if more.indices.is_empty() {
            return Ok(());
        }
        self.targets.append(more.targets, self.indices.len())?;
        match (&mut self.pixels, more.pixels) {
            (Pixels::F32(all), Pixels::F32(more)) => all.extend(more),
            (Pixels::U8(all), Pixels::U8(more)) => all.extend(more),
            // Written where it belongs.
            (Pixels::Staged(all), Pixels::Staged(more)) if *all == more => {}
            _ => unreachable!("one loader makes all batches alike"),
        }
        let before = self.shape[0];
        self.erased.extend(more.erased.into_iter().map(|(image, erased)| (before + image, erased)));
        self.indices.extend(more.indices);
        self.draws.extend(more.draws);
        self.shape[0] += more.shape[0];
        Ok(())
    }

    /// The normalised images, to be changed in place; none where the device normalises.
    pub fn normalized_mut(&mut self) -> Option<&mut [f32]> {
        match &mut self.pixels {
            Pixels::F32(values) => Some(values),
            Pixels::U8(_) | Pixels::Staged(_) => None,
        }
    }
}

impl Pixels {
    /// Room for so many numbers; `raw` ones are left for the device to normalise.
    pub(crate) fn with_capacity(raw: bool, numbers: usize) -> Self {
        match raw {
            true => Self::U8(Vec::with_capacity(numbers)),
            false => Self::F32(Vec::with_capacity(numbers)),
        }
    }

    /// Appends an image, `[C, H, W]`, and returns its normalised values; none where the device
    /// normalises.
    ///
    /// # Errors
    /// An image that does not fit the normalisation.
    pub(crate) fn push(
        &mut self,
        image: &AnyImage,
        normalize: &Normalize,
    ) -> Result<Option<&mut [f32]>, String> {
        match self {
            Self::U8(intensities) => normalize.append_raw(image, intensities).map(|()| None),
            Self::Staged(staged) => {
                let written = staged.write(|intensities| normalize.write_raw(image, intensities));
                written.unwrap_or(Ok(())).map(|()| None)
            }
            Self::F32(values) => {
                let start = values.len();
                normalize.apply(image, values)?;
                Ok(Some(&mut values[start..]))
            }
        }
    }
}

impl Targets {
    /// Appends the targets of another batch after `before` other images.
    fn append(&mut self, more: Self, before: usize) -> Result<(), DataError> {
        match (more, &mut *self) {
            (Self::None, Self::None) => {}
            (Self::Classes(more), Self::Classes(all)) => all.extend(more),
            (Self::Numbers(more), Self::Numbers(all)) => all.extend(more),
            (more, Self::None) if before == 0 => *self = more,
            _ => return Err(DataError::MixedTargets),
        }
        Ok(())
    }

    /// Appends the target of the image after `before` others.
    ///
    /// # Errors
    /// A target of another kind than the others.
    pub(crate) fn push(&mut self, target: Target, before: usize) -> Result<(), DataError> {
        match (target, &mut *self) {
            (Target::None, Self::None) => {}
            (Target::Class(class), Self::Classes(classes)) => classes.push(class),
            (Target::Values(values), Self::Numbers(numbers)) => numbers.extend(values),
            (Target::Class(class), Self::None) if before == 0 => *self = Self::Classes(vec![class]),
            (Target::Values(values), Self::None) if before == 0 => *self = Self::Numbers(values),
            _ => return Err(DataError::MixedTargets),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_all_of_one_kind() {
        let mut targets = Targets::None;
        targets.push(Target::Class(2), 0).unwrap();
        targets.push(Target::Class(0), 1).unwrap();
        assert_eq!(targets, Targets::Classes(vec![2, 0]));
        for other in [Target::None, Target::Values(vec![1.0])] {
            assert!(matches!(targets.push(other, 2), Err(DataError::MixedTargets)));
        }
        let mut none = Targets::None;
        none.push(Target::None, 0).unwrap();
        assert!(matches!(none.push(Target::Class(1), 1), Err(DataError::MixedTargets)));
        targets.append(Targets::Classes(vec![1]), 2).unwrap();
        assert_eq!(targets, Targets::Classes(vec![2, 0, 1]));
        assert!(matches!(targets.append(Targets::None, 3), Err(DataError::MixedTargets)));
    }
}
