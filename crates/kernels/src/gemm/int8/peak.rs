//! How fast 8-bit products can be on this machine.

use std::hint::black_box;
use std::time::Instant;

use super::{Instructions, PackedInt8, product};
use crate::gemm::Start;

/// What all threads reach at once in products of quantised rows whose operands stay in their caches,
/// best of several, in GOP/s.
pub fn peak_gops() -> f64 {
    const ROWS: usize = 128;
    const COLUMNS: usize = 288;
    const DEPTH: usize = 512;
    const PRODUCTS: usize = 400;
    let best = Instructions::new();
    let weight = PackedInt8::transposed(best, &[1.0; DEPTH * COLUMNS], DEPTH, COLUMNS);
    let seconds = (0..8).map(|_| {
        let start = Instant::now();
        rayon::broadcast(|_| {
            let (a, mut c) = ([1.0; ROWS * DEPTH], vec![0.0; ROWS * COLUMNS]);
            (0..PRODUCTS).for_each(|_| product(best, black_box(&a), &weight, &mut c, Start::Zero));
        });
        start.elapsed().as_secs_f64()
    });
    let products = (PRODUCTS * rayon::current_num_threads()) as f64;
    2.0 * products * (ROWS * COLUMNS * DEPTH) as f64 / seconds.fold(f64::INFINITY, f64::min) / 1e9
}
