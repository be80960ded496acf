//! Random numbers as functions of what they are for, never of when they are drawn.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are for; numbers for different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// The order of samples in an epoch.
    Order = 1,
    /// Crop and flip of a sample.
    Augment = 2,
    /// Visible patches of a sample.
    Mask = 3,
    /// Dropped residual branches of a sample.
    DropPath = 4,
    /// Mixing of two samples.
    Mixup = 5,
    /// Division into training and validation images.
    Split = 6,
}

/// The generator for one purpose, epoch and sample.
pub fn rng(seed: u64, stream: Stream, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, number) in key.chunks_exact_mut(8).zip([seed, stream as u64, epoch, index]) {
        bytes.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn numbers_depend_on_every_argument_and_on_nothing_else() {
        let draw = |seed, stream, epoch, index| rng(seed, stream, epoch, index).random::<u64>();
        let first = draw(1, Stream::Mask, 2, 3);
        assert_eq!(first, draw(1, Stream::Mask, 2, 3));
        for other in [
            draw(2, Stream::Mask, 2, 3),
            draw(1, Stream::Augment, 2, 3),
            draw(1, Stream::Mask, 3, 3),
            draw(1, Stream::Mask, 2, 4),
        ] {
            assert_ne!(first, other);
        }
    }
}
