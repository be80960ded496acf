//! How fast 8-bit products can be on this machine.

use std::hint::black_box;

use super::{Instructions, PackedInt8, product};
use crate::gemm::Start;
use crate::gemm::peak::best_seconds;

/// What all threads reach at once in products of quantised rows whose operands stay in their caches,
/// best of several, in GOP/s.
pub fn peak_gops() -> f64 {
    const ROWS: usize = 128;
    const COLUMNS: usize = 288;
    const DEPTH: usize = 512;
    const PRODUCTS: usize = 100;
    let best = Instructions::new();
    let weight = PackedInt8::transposed(best, &[1.0; DEPTH * COLUMNS], DEPTH, COLUMNS);
    let seconds = best_seconds(|| {
        let (a, mut c) = (vec![1.0; ROWS * DEPTH], vec![0.0; ROWS * COLUMNS]);
        (0..PRODUCTS).for_each(|_| product(best, black_box(&a), &weight, &mut c, Start::Zero));
    });
    let products = (PRODUCTS * rayon::current_num_threads()) as f64;
    2.0 * products * (ROWS * COLUMNS * DEPTH) as f64 / seconds / 1e9
}
