//! Which thread computes.

use burn::tensor::Device;

use crate::tensor::is_on_host;

/// Runs a whole step, an evaluation or the like on a device. On this machine's processor it runs on the
/// kernels' threads, which stay awake meanwhile. Another device is driven by the calling thread alone:
/// cuDNN remembers its measurements and cuBLAS keeps its handles by thread, so that another thread would
/// measure and allocate anew. Callers have to be the same thread from step to step.
pub fn compute_on<T: Send>(device: &Device, run: impl FnOnce() -> T + Send) -> T {
    match is_on_host(device) {
        true => kernels::on_pool(run),
        false => run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors;
    use std::thread;

    /// Whether the thread that calls computes, and whether the kernels' threads do.
    fn computes(device: &Device) -> (bool, bool) {
        let caller = thread::current().id();
        let computing = || (thread::current().id() == caller, kernels::is_on_pool());
        compute_on(device, computing)
    }

    #[test]
    fn processors_compute_on_the_threads_of_the_kernels() {
        for device in processors() {
            for device in [device.clone(), device.autodiff()] {
                assert_eq!(computes(&device), (false, true), "{device:?}");
            }
        }
    }

    /// No GPU takes part: only the choice of the thread is made for its name.
    #[cfg(feature = "tch")]
    #[allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]
    #[test]
    fn a_gpu_is_driven_by_the_thread_that_calls() {
        for index in [0, 1] {
            let gpu = Device::libtorch_cuda(index);
            assert_eq!(computes(&gpu), (true, false));
            assert_eq!(computes(&gpu.autodiff()), (true, false));
        }
    }
}
