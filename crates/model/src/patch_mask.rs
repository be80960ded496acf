//! The mask of FCMAE: which patches of each image the encoder sees.

use burn::tensor::{Device, Int, Tensor};
use host::{Arena, At, Uploaded};

use crate::sites::Rows;

/// Which patches of each image are visible; all others are hidden (removed).
///
/// Every sample has the same number of visible patches, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchMask {
    grid: [usize; 2],
    /// Per sample, ascending.
    visible: Vec<Vec<usize>>,
    /// Per sample, ascending.
    hidden: Vec<Vec<usize>>,
    on_device: OnDevice,
}

/// The visible and the hidden patches of all samples as indices on a device, if they have been brought
/// there.
#[derive(Debug, Clone, Default)]
struct OnDevice(Option<[Tensor<1, Int>; 2]>);

/// Where a mask is makes no difference to it.
impl PartialEq for OnDevice {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for OnDevice {}

/// A mask on its way to a device.
#[derive(Debug)]
pub struct PatchMaskAt {
    mask: PatchMask,
    visible: At,
    hidden: At,
}

impl PatchMaskAt {
    /// The mask, which is on the device too.
    pub fn arrived(self, uploaded: &mut Uploaded) -> PatchMask {
        let on_device = [self.visible, self.hidden].map(|at| uploaded.indices(at));
        PatchMask { on_device: OnDevice(Some(on_device)), ..self.mask }
    }
}

/// Why a set of visible patches is no mask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sample {sample} of the mask: {reason}")]
pub struct MaskError {
    sample: usize,
    reason: String,
}

impl PatchMask {
    /// A mask over a grid of `[rows, columns]` patches from the visible patches of every sample,
    /// as row-major indices in any order.
    ///
    /// # Errors
    /// An index outside the grid or given twice, samples with different numbers of visible
    /// patches, no visible patch.
    pub fn new(grid: [usize; 2], visible: Vec<Vec<usize>>) -> Result<Self, MaskError> {
        let patches = grid[0] * grid[1];
        let expected = visible.first().map_or(0, Vec::len);
        let mut mask = Self { grid, visible: Vec::new(), hidden: Vec::new(), on_device: OnDevice::default() };
        for (sample, list) in visible.into_iter().enumerate() {
            let error = |reason: String| MaskError { sample, reason };
            let mut is_visible = vec![false; patches];
            for &patch in &list {
                match is_visible.get_mut(patch) {
                    None => return Err(error(format!("patch {patch} lies outside the {patches} patches"))),
                    Some(true) => return Err(error(format!("patch {patch} is given twice"))),
                    Some(slot) => *slot = true,
                }
            }
            if list.len() != expected {
                let found = list.len();
                return Err(error(format!("has {found} visible patches, the first sample {expected}")));
            }
            if list.is_empty() {
                return Err(error("has no visible patch".into()));
            }
            let of = |wanted: bool| (0..patches).filter(|&p| is_visible[p] == wanted).collect();
            mask.visible.push(of(true));
            mask.hidden.push(of(false));
        }
        Ok(mask)
    }

    /// Patches per `[column, row]` of the grid: `[rows, columns]`.
    pub fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// Patches of one sample, visible or not.
    pub fn patches(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// Samples.
    pub fn batch(&self) -> usize {
        self.visible.len()
    }

    /// Visible patches of every sample, ascending.
    pub fn visible(&self) -> &[Vec<usize>] {
        &self.visible
    }

    /// Hidden patches of every sample, ascending.
    pub fn hidden(&self) -> &[Vec<usize>] {
        &self.hidden
    }

    /// Adds the mask to what goes to a device, so that it need not go there list by list.
    pub fn put(self, arena: &mut Arena) -> PatchMaskAt {
        let [visible, hidden] = [&self.visible, &self.hidden].map(|lists| arena.indices(self.flat(lists)));
        PatchMaskAt { mask: self, visible, hidden }
    }

    /// The visible patches on a device.
    pub fn visible_rows(&self, device: &Device) -> Rows {
        self.rows(0, &self.visible, device)
    }

    /// The hidden patches on a device.
    pub fn hidden_rows(&self, device: &Device) -> Rows {
        self.rows(1, &self.hidden, device)
    }

    fn rows(&self, list: usize, picked: &[Vec<usize>], device: &Device) -> Rows {
        let there = self.on_device.0.as_ref().map(|lists| lists[list].clone());
        let is_there = |at: Device| at == *device && at.is_autodiff() == device.is_autodiff();
        let indices = there.filter(|indices| is_there(indices.device()));
        let indices = indices.unwrap_or_else(|| host::indices(self.flat(picked), device));
        Rows::new(indices, picked, self.patches())
    }

    /// Indices into the patches of all samples.
    fn flat(&self, picked: &[Vec<usize>]) -> Vec<i64> {
        let of_sample = |(sample, list): (usize, &Vec<usize>)| {
            let first = sample * self.patches();
            list.iter().map(|patch| (first + patch) as i64).collect::<Vec<_>>()
        };
        picked.iter().enumerate().flat_map(of_sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_is_the_complement_of_visible() {
        let mask = PatchMask::new([2, 3], vec![vec![4, 0], vec![1, 5]]).unwrap();
        assert_eq!(mask.visible(), [vec![0, 4], vec![1, 5]]);
        assert_eq!(mask.hidden(), [vec![1, 2, 3, 5], vec![0, 2, 3, 4]]);
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        for (visible, reason) in [
            (vec![vec![6]], "outside"),
            (vec![vec![1, 1]], "twice"),
            (vec![vec![1], vec![1, 2]], "the first sample 1"),
            (vec![vec![]], "no visible patch"),
        ] {
            let message = PatchMask::new([2, 3], visible).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }
}
