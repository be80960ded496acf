//! How fast products can be on this machine.

use std::hint::black_box;
use std::time::Instant;

use crate::Arch;
use crate::gemm::{Packed, Start, product};

/// What all threads reach at once in products whose operands stay in their caches, best of several,
/// in GFLOP/s.
pub fn peak_gflops() -> f64 {
    const ROWS: usize = 128;
    const COLUMNS: usize = 288;
    const DEPTH: usize = 128;
    const PRODUCTS: usize = 400;
    let weight = Packed::new(Arch::new(), &[1.0; DEPTH * COLUMNS], DEPTH, COLUMNS);
    let seconds = (0..8).map(|_| {
        let start = Instant::now();
        rayon::broadcast(|_| {
            let (a, mut c) = (vec![1.0; ROWS * DEPTH], vec![0.0; ROWS * COLUMNS]);
            (0..PRODUCTS).for_each(|_| product(Arch::new(), black_box(&a), &weight, &mut c, Start::Zero));
        });
        start.elapsed().as_secs_f64()
    });
    let products = (PRODUCTS * rayon::current_num_threads()) as f64;
    2.0 * products * (ROWS * COLUMNS * DEPTH) as f64 / seconds.fold(f64::INFINITY, f64::min) / 1e9
}
