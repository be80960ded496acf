//! How fast products can be on this machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::Arch;
use crate::gemm::{Packed, Start, product};

/// How long it takes to find out, unless a single round takes longer.
const TIME: Duration = Duration::from_millis(60);

/// Seconds that all threads take for something at once, in the best of as many rounds as there is time for.
pub(super) fn best_seconds(work: impl Fn() + Sync) -> f64 {
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    while best.is_infinite() || begin.elapsed() < TIME {
        let start = Instant::now();
        rayon::broadcast(|_| work());
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// What all threads reach at once in products whose operands stay in their caches, best of several,
/// in GFLOP/s.
pub fn peak_gflops() -> f64 {
    const ROWS: usize = 128;
    const COLUMNS: usize = 288;
    const DEPTH: usize = 128;
    const PRODUCTS: usize = 100;
    let weight = Packed::new(Arch::new(), &[1.0; DEPTH * COLUMNS], DEPTH, COLUMNS);
    let seconds = best_seconds(|| {
        let (a, mut c) = (vec![1.0; ROWS * DEPTH], vec![0.0; ROWS * COLUMNS]);
        (0..PRODUCTS).for_each(|_| product(Arch::new(), black_box(&a), &weight, &mut c, Start::Zero));
    });
    let products = (PRODUCTS * rayon::current_num_threads()) as f64;
    2.0 * products * (ROWS * COLUMNS * DEPTH) as f64 / seconds / 1e9
}
