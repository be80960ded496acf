//! The mask of FCMAE: which patches of each image the encoder sees.

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
        let mut mask = Self { grid, visible: Vec::new(), hidden: Vec::new() };
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
