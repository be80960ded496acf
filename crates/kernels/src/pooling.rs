//! Global average pooling.

use rayon::prelude::*;

use crate::{Arch, columns};

/// The mean over the tokens of each sample, `[N, T, C]` → `[N, C]`; zero where there are none.
pub fn mean(arch: Arch, x: &[f32], samples: usize, channels: usize) -> Vec<f32> {
    let mut means = vec![0.0; samples * channels];
    let tokens = x.len() / means.len().max(1);
    if tokens > 0 {
        means.par_chunks_mut(channels).zip(x.par_chunks(tokens * channels)).for_each(|(mean, x)| {
            columns::add_columns(arch, x, mean);
            mean.iter_mut().for_each(|mean| *mean /= tokens as f32);
        });
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_those_of_each_sample_and_channel() {
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        for arch in crate::testing::arches() {
            assert_eq!(mean(arch, &x, 2, 2), [2.0, 3.0, 8.0, 9.0]);
            assert_eq!(mean(arch, &[], 1, 3), [0.0; 3]);
        }
    }
}
