//! The ConvNeXt V2 block as a few passes over memory, forward and backward.
//!
//! Slices in, slices out; no tensors, no autodiff. Tokens are `[samples, tokens, channels]` in
//! row-major order. Instructions are chosen at run time ([`Arch`]); every kernel has a naive
//! counterpart that its tests compare it with, on the best instructions and on none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub mod block;
pub mod buffer;
mod columns;
pub mod dwconv7;
pub mod gelu;
pub mod gemm;
pub mod grn;
pub mod layer_norm;
mod linear;
pub mod memory;
pub mod patch_loss;
pub mod pooling;
mod results;
pub mod strided_conv;
#[cfg(test)]
mod testing;
mod transpose;
mod vector;

pub use linear::Format;
/// The instruction set to use; `Arch::new()` detects the best one.
pub use pulp::Arch;

/// Threads that kernels compute on.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Whether the calling thread is one of those.
pub fn is_on_pool() -> bool {
    rayon::current_thread_index().is_some()
}

/// Runs something on one of rayon's threads, and keeps the others awake while they find work at least
/// every two milliseconds. For a whole step: hundreds of passes of some microseconds each, and waking up
/// a thread takes as long as one of them.
pub fn on_pool<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    const PATIENCE: Duration = Duration::from_millis(2);
    rayon::scope(|scope| {
        let (here, done) = (rayon::current_thread_index(), Arc::new(AtomicBool::new(false)));
        // The others must come to rest however `run` ends.
        let done = OnDrop(done);
        let ended = done.0.clone();
        scope.spawn_broadcast(move |_, context| {
            let mut busy = Instant::now();
            while Some(context.index()) != here && !ended.load(Ordering::Relaxed) {
                if rayon::yield_now() == Some(rayon::Yield::Executed) {
                    busy = Instant::now();
                } else if busy.elapsed() > PATIENCE {
                    return;
                } else {
                    thread::yield_now();
                }
            }
        });
        run()
    })
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a loop compiled for the chosen instruction set.
macro_rules! dispatch {
    ($arch:expr, $body:expr) => {
        $arch.dispatch(
            #[inline(always)]
            || $body,
        )
    };
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    #[test]
    fn steps_run_on_the_pool_and_end_with_it_at_rest() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let sum = |values: std::ops::Range<u64>| values.into_par_iter().map(|v| v * v).sum::<u64>();
            pool.install(|| {
                for n in 0..50u64 {
                    // One within another, as when a step evaluates.
                    let found = super::on_pool(|| sum(0..n) + super::on_pool(|| sum(0..n)));
                    assert_eq!(found, 2 * (0..n).map(|v| v * v).sum::<u64>());
                }
                let failed = std::panic::catch_unwind(|| super::on_pool(|| panic!("on purpose")));
                assert!(failed.is_err());
            });
        }
    }
}
