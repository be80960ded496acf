//! What libtorch could not compute, as an error.
//!
//! Neither Burn nor tch returns errors of libtorch: they panic with its message.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::DeviceName;
use crate::gpu_memory::{GpuMemory, mib};

/// What panics of this crate with a message of libtorch begin with.
pub(crate) const LIBTORCH: &str = "libtorch: ";
/// What tch's begin with, through Burn.
const TCH: &str = "called `Result::unwrap()` on an `Err` value: Torch(\"";

/// What libtorch could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is not as much memory.
    OutOfMemory {
        /// What could not be had, where libtorch says how much: `2.00 GiB`.
        asked: Option<String>,
    },
    /// The GPU has failed, and computes nothing for this process any more.
    Broken(String),
    /// There is no GPU, or libtorch cannot use it.
    NoGpu(String),
    /// Anything else.
    Refused(String),
}

/// What a device could not compute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DeviceFailure {
    /// The device.
    pub device: DeviceName,
    /// What it could not do.
    pub trouble: Trouble,
    /// Its memory behind that, of a GPU that still answers.
    pub memory: Option<GpuMemory>,
}

impl DeviceFailure {
    /// Whether less of everything would have been possible.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self.trouble, Trouble::OutOfMemory { .. })
    }
}

impl fmt::Display for DeviceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device;
        match &self.trouble {
            Trouble::OutOfMemory { asked } => {
                write!(f, "{device} is out of memory")?;
                let asked = asked.as_ref().map(|asked| format!("{asked} could not be had"));
                let facts: Vec<_> =
                    asked.into_iter().chain(self.memory.map(|memory| memory.to_string())).collect();
                if facts.is_empty() { Ok(()) } else { write!(f, ": {}", facts.join("; ")) }
            }
            Trouble::Broken(said) => write!(
                f,
                "{device} has failed: {said}; this process cannot use it any more. Start again, training with \
                 --resume auto; if it fails again, CUDA_LAUNCH_BLOCKING=1 tells where"
            ),
            Trouble::NoGpu(said) => {
                write!(f, "{device} cannot be used: {said}; nvidia-smi tells whether the driver sees a GPU")
            }
            Trouble::Refused(said) => {
                write!(f, "{device}: libtorch says: {said}; RUST_BACKTRACE=1 tells where")
            }
        }
    }
}

/// Calls of [`caught`] under way, on all threads: what fails may do so on another one.
static CATCHING: AtomicUsize = AtomicUsize::new(0);

/// Runs what computes on a device. A panic with a message of libtorch is an error, which nothing is printed
/// of, unless RUST_BACKTRACE asks where libtorch refused something; any other panic goes on. What was being changed must not
/// be used afterwards.
///
/// # Errors
/// What libtorch could not compute.
pub fn caught<T>(device: DeviceName, run: impl FnOnce() -> T) -> Result<T, DeviceFailure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_expected(info) {
                others(info);
            }
        }));
    });
    CATCHING.fetch_add(1, Ordering::SeqCst);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    CATCHING.fetch_sub(1, Ordering::SeqCst);
    result.map_err(|payload| match text(payload.as_ref()).and_then(said) {
        None => panic::resume_unwind(payload),
        Some(said) => {
            let device = device.settled();
            DeviceFailure { device, trouble: trouble(&said), memory: memory(device) }
        }
    })
}

/// Whether nothing is to be printed of a panic: where memory ended, the place says nothing.
fn is_expected(info: &PanicHookInfo<'_>) -> bool {
    if CATCHING.load(Ordering::SeqCst) == 0 {
        return false;
    }
    match text(info.payload()).and_then(said).map(|said| trouble(&said)) {
        None => false,
        Some(Trouble::OutOfMemory { .. } | Trouble::NoGpu(_)) => true,
        Some(Trouble::Broken(_) | Trouble::Refused(_)) => {
            std::env::var_os("RUST_BACKTRACE").is_none_or(|value| value == "0")
        }
    }
}

fn memory(device: DeviceName) -> Option<GpuMemory> {
    match device {
        DeviceName::LibTorchCuda(index) => crate::libtorch::gpu_memory(index.unwrap_or(0)),
        DeviceName::Auto | DeviceName::Cpu | DeviceName::LibTorch => None,
    }
}

fn text(payload: &(dyn Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
}

/// The first line of what libtorch says in a panic; none in those of others.
fn said(panic: &str) -> Option<String> {
    if let Some(said) = panic.strip_prefix(LIBTORCH) {
        return Some(said.lines().next().unwrap_or_default().to_owned());
    }
    // As Rust writes strings for programmers.
    let said = panic.strip_prefix(TCH)?;
    let end = said.find("\\n").or_else(|| said.rfind("\")")).unwrap_or(said.len());
    Some(said[..end].replace("\\\"", "\"").replace("\\'", "'"))
}

fn trouble(said: &str) -> Trouble {
    let has = |part: &&str| said.contains(*part);
    // Of allocators, of the driver, and of libraries that allocate for themselves.
    let out_of_memory = [
        "DefaultCPUAllocator:",
        "out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
        "cudaErrorMemoryAllocation",
    ];
    let no_gpu = [
        "not compiled with CUDA",
        "without ATen_cuda",
        "no NVIDIA driver",
        "NVIDIA driver on your system is too old",
        "no CUDA GPUs are available",
        "no CUDA-capable device",
        "from the 'CUDA' backend",
        "invalid device ordinal",
    ];
    match () {
        () if out_of_memory.iter().any(has) => Trouble::OutOfMemory { asked: asked(said) },
        () if no_gpu.iter().any(has) => Trouble::NoGpu(said.to_owned()),
        () if said.contains("CUDA error:") => Trouble::Broken(said.to_owned()),
        () => Trouble::Refused(said.to_owned()),
    }
}

/// How much memory could not be had: on a GPU libtorch rounds it, on a processor it counts bytes.
fn asked(said: &str) -> Option<String> {
    if let Some((_, rest)) = said.split_once("Tried to allocate ") {
        return rest
            .split_once(". ")
            .map_or(rest.strip_suffix('.'), |(asked, _)| Some(asked))
            .map(str::to_owned);
    }
    let (_, rest) = said.split_once("you tried to allocate ")?;
    let bytes: u64 = rest.split_once(' ')?.0.parse().ok()?;
    Some(format!("{} MiB", mib(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUDA: &str = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of \
                        which 1.05 GiB is free.";

    #[test]
    fn the_first_line_of_libtorch_is_found_in_a_panic() {
        let tch = |text: &str| format!("called `Result::unwrap()` on an `Err` value: Torch({text:?})");
        assert_eq!(said(&tch("a \"b\" isn't\nframe #0: c10::x")).unwrap(), "a \"b\" isn't");
        assert_eq!(said(&tch("no more lines")).unwrap(), "no more lines");
        assert_eq!(said("libtorch: ours\nframe #0: c10::x").unwrap(), "ours");
        assert_eq!(said("libtorch: ").unwrap(), "");
        for other in ["index out of bounds", "called `Result::unwrap()` on an `Err` value: Shape(\"x\")"] {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn what_libtorch_says_is_understood() {
        let processor = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: \
                         you tried to allocate 4503599627370496 bytes. Error code 12 (Cannot allocate memory)";
        let out_of_memory = |asked: Option<&str>| Trouble::OutOfMemory { asked: asked.map(str::to_owned) };
        assert_eq!(trouble(CUDA), out_of_memory(Some("2.00 GiB")));
        assert_eq!(
            trouble("CUDA out of memory. Tried to allocate 20.00 MiB."),
            out_of_memory(Some("20.00 MiB"))
        );
        assert_eq!(trouble(processor), out_of_memory(Some("4294967296 MiB")));
        for said in [
            "CUDA error: out of memory",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        ] {
            assert_eq!(trouble(said), out_of_memory(None), "{said}");
        }
        for said in ["CUDA error: device-side assert triggered", "CUDA error: unspecified launch failure"] {
            assert_eq!(trouble(said), Trouble::Broken(said.to_owned()));
        }
        for said in ["Torch not compiled with CUDA enabled", "CUDA error: invalid device ordinal"] {
            assert_eq!(trouble(said), Trouble::NoGpu(said.to_owned()));
        }
        let said = "The size of tensor a (2) must match the size of tensor b (3)";
        assert_eq!(trouble(said), Trouble::Refused(said.to_owned()));
    }

    #[test]
    fn a_message_names_device_and_memory() {
        let memory = GpuMemory { total: 100 << 20, free: 2 << 20, ..GpuMemory::default() };
        let device = DeviceName::LibTorchCuda(Some(1));
        let failure = DeviceFailure { device, trouble: trouble(CUDA), memory: Some(memory) };
        let expected = "cuda:1 is out of memory: 2.00 GiB could not be had; 2 of its 100 MiB are free";
        assert!(failure.to_string().starts_with(expected), "{failure}");
        let trouble = Trouble::OutOfMemory { asked: None };
        let failure = DeviceFailure { device, trouble, memory: None };
        assert_eq!(failure.to_string(), "cuda:1 is out of memory");
        let trouble = Trouble::Broken("CUDA error: misaligned address".to_owned());
        let failure = DeviceFailure { trouble, ..failure };
        assert!(failure.to_string().contains("misaligned address; this process cannot use it"), "{failure}");
    }

    #[test]
    fn panics_of_others_go_on() {
        let found = panic::catch_unwind(|| caught(DeviceName::Cpu, || panic!("a bug of {}", "ours")));
        let payload = found.map(|_| ()).unwrap_err();
        assert_eq!(text(payload.as_ref()), Some("a bug of ours"));
        assert_eq!(caught(DeviceName::Cpu, || 7), Ok(7));
    }

    #[cfg(feature = "tch")]
    #[test]
    fn what_libtorch_refuses_is_an_error_on_whichever_thread() {
        let device = crate::libtorch::processor();
        let name = DeviceName::LibTorch;
        let asks = || burn::tensor::Tensor::<2>::zeros([1 << 25, 1 << 25], &device);
        let failure = caught(name, || crate::compute_on(&device, asks)).unwrap_err();
        let trouble = Trouble::OutOfMemory { asked: Some("4294967296 MiB".to_owned()) };
        assert_eq!(failure, DeviceFailure { device: name, trouble, memory: None });
        // And from a function of this crate's own.
        let two = crate::libtorch::aten::from_values(vec![0.0; 4], &[2, 2]);
        let refused = || crate::libtorch::aten::layer_norm_backward(&two, &two, [&two, &two], [&two, &two]);
        let failure = caught(name, refused).unwrap_err();
        let Trouble::Refused(said) = failure.trouble else { panic!("{failure}") };
        assert!(!said.is_empty() && !said.contains('\n') && !said.contains("frame #"), "{said}");
    }
}
