//! Matrix products in 8 bits, for inference.
//!
//! Weights are quantised once, each output's to −127…127 ([`PackedInt8`]); rows as they come, each to
//! 0…255 from its least to its largest value ([`Quantized`]), so that nothing needs to be calibrated.
//! Sums of their products are exact in 32 bits, and what they stand for is
//!
//! scale of the row · scale of the column · (Σ row · column − zero point of the row · Σ column).
//!
//! [`product`] is the counterpart of [`gemm::product`](super::product). All [`Instructions`] give the same
//! bits: integers are exact, and what is computed in f32 is the same operations in the same order.
//!
//! ```
//! use kernels::gemm::{Start, int8};
//!
//! let best = int8::Instructions::new();
//! // Two outputs of three inputs.
//! let weight = int8::PackedInt8::transposed(best, &[1.0, 0.5, -1.0, 0.0, 0.0, 2.0], 3, 2);
//! let mut c = [0.0; 2];
//! int8::product(best, &[0.2, 0.4, 0.6], &weight, &mut c, Start::Zero);
//! assert!((c[0] + 0.2).abs() < 0.01 && (c[1] - 1.2).abs() < 0.01);
//! ```

mod instructions;
mod packed;
mod peak;
mod product;
mod quantized;
#[cfg(test)]
mod tests;

pub use instructions::Instructions;
pub use packed::PackedInt8;
pub use peak::peak_gops;
pub use product::product;
pub(crate) use product::product_with;
pub use quantized::Quantized;

/// Values of the depth that are multiplied and summed at once.
const GROUP: usize = 4;

/// The nearest integer, of two the even one, of a value below 2^22. Unlike a conversion, which
/// saturates, loops of this become a few vector instructions everywhere.
#[inline(always)]
fn round(value: f32) -> i32 {
    /// 1.5 · 2^23: adding it leaves the rounded integer in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    (value + SHIFT).to_bits() as i32 - SHIFT.to_bits() as i32
}

/// What takes the place of a scale that is not a normal number: zero, or NaN if it is not finite.
#[inline(always)]
fn in_place_of(scale: f32) -> f32 {
    if scale.is_finite() { 0.0 } else { f32::NAN }
}
