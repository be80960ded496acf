//! Where to compute, by name.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::libtorch;

/// Why a device cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A device of libtorch in a build without it.
    #[error(
        "this build has no libtorch; make one that has: scripts/setup_libtorch.sh && \
         cargo build --release --features tch"
    )]
    NoLibtorch,
    /// Libtorch sees no GPU.
    #[error(
        "--device cuda:{0}: libtorch sees no GPU. Either the machine has none (nvidia-smi lists \
         them), its driver is too old for this libtorch, or libtorch was installed without CUDA: \
         scripts/setup_libtorch.sh --cuda && cargo build --release --features tch"
    )]
    NoGpu(usize),
    /// A number beyond those of the machine's GPUs.
    #[error("--device cuda:{index}: this machine's GPUs have the numbers 0 to {last}")]
    UnknownGpu {
        /// The number asked for.
        index: usize,
        /// The highest that there is.
        last: usize,
    },
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// The fastest device of this build and machine.
    Auto,
    /// This machine's processor, in pure Rust.
    Cpu,
    /// This machine's processor, through libtorch.
    LibTorch,
    /// An NVIDIA GPU, through libtorch; the first one if no number is given.
    LibTorchCuda(Option<usize>),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = match text {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "libtorch" | "libtorch:cpu" => Self::LibTorch,
            _ => Self::LibTorchCuda(gpu_number(text)?),
        };
        match name {
            Self::LibTorch | Self::LibTorchCuda(_) if !libtorch::AVAILABLE => {
                Err(DeviceError::NoLibtorch.to_string())
            }
            name => Ok(name),
        }
    }
}

/// The number of a GPU by its name: `cuda:1`, or `libtorch:cuda:1`; none where it says none.
fn gpu_number(text: &str) -> Result<Option<usize>, String> {
    let unknown = || {
        let hint = if text.starts_with("gpu") { "; an NVIDIA GPU is cuda:0" } else { "" };
        format!("must be auto, cpu, cuda, cuda:NUMBER or libtorch{hint}")
    };
    let number = text.strip_prefix("libtorch:").unwrap_or(text).strip_prefix("cuda").ok_or_else(unknown)?;
    match number.strip_prefix(':') {
        None if number.is_empty() => Ok(None),
        None => Err(unknown()),
        Some(number) => match number.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err("the number of a GPU is a whole number, as in cuda:0".to_owned()),
        },
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::LibTorch => f.write_str("libtorch"),
            Self::LibTorchCuda(None) => f.write_str("cuda"),
            Self::LibTorchCuda(Some(index)) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceName {
    /// The name of a device.
    pub fn of(device: &Device) -> Self {
        let device = device.clone().inner();
        match (libtorch::is_device(&device), libtorch::gpu(&device)) {
            (false, _) => Self::Cpu,
            (true, None) => Self::LibTorch,
            (true, gpu) => Self::LibTorchCuda(gpu),
        }
    }

    /// Whether it is an NVIDIA GPU of this machine.
    pub fn is_cuda(self) -> bool {
        matches!(self, Self::Auto | Self::LibTorchCuda(_)) && libtorch::cuda_devices() > 0
    }

    /// What it turns out to be.
    pub(crate) fn settled(self) -> Self {
        match self {
            Self::Auto if libtorch::cuda_devices() > 0 => Self::LibTorchCuda(Some(0)),
            Self::Auto => Self::Cpu,
            Self::LibTorchCuda(index) => Self::LibTorchCuda(Some(index.unwrap_or(0))),
            Self::Cpu | Self::LibTorch => self,
        }
    }

    /// Where no GPU was chosen, that of one of several processes of this machine. Schedulers that show
    /// each process its own GPU only call it number 0.
    pub fn for_process(self, local_rank: usize) -> Self {
        match (self, libtorch::cuda_devices()) {
            (Self::Auto | Self::LibTorchCuda(None), gpus @ 1..) => {
                Self::LibTorchCuda(Some(local_rank % gpus))
            }
            (other, _) => other,
        }
    }

    /// The device, without autodiff.
    ///
    /// # Errors
    /// A GPU that this machine or this build does not have.
    pub fn device(self) -> Result<Device, DeviceError> {
        match self {
            Self::Auto if libtorch::cuda_devices() > 0 => Ok(libtorch::cuda(0)),
            Self::Auto | Self::Cpu => Ok(Device::flex()),
            Self::LibTorch | Self::LibTorchCuda(_) if !libtorch::AVAILABLE => Err(DeviceError::NoLibtorch),
            Self::LibTorch => Ok(libtorch::processor()),
            Self::LibTorchCuda(index) => match (index.unwrap_or(0), libtorch::cuda_devices()) {
                (index, 0) => Err(DeviceError::NoGpu(index)),
                (index, count) if index >= count => Err(DeviceError::UnknownGpu { index, last: count - 1 }),
                (index, _) => Ok(libtorch::cuda(index)),
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["auto", "cpu"] {
            assert_eq!(text.parse::<DeviceName>().unwrap().to_string(), text);
        }
        for (text, hint) in [("gpu:1", "cuda:0"), ("tpu", "must be auto"), ("cudas", "must be auto")] {
            let error = text.parse::<DeviceName>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
        for text in ["libtorch:cuda:x", "cuda:x", "cuda:"] {
            assert!(text.parse::<DeviceName>().unwrap_err().contains("whole number"), "{text}");
        }
        assert_eq!(DeviceName::of(&Device::flex().autodiff()), DeviceName::Cpu);
    }

    #[cfg(not(feature = "tch"))]
    #[test]
    fn a_build_without_libtorch_says_how_to_get_one() {
        for text in ["libtorch", "libtorch:cuda:0", "cuda", "cuda:1"] {
            assert!(text.parse::<DeviceName>().unwrap_err().contains("--features tch"));
        }
    }

    #[cfg(feature = "tch")]
    #[test]
    fn names_of_libtorch_are_read_as_they_are_written() {
        for text in ["libtorch", "cuda", "cuda:3"] {
            assert_eq!(text.parse::<DeviceName>().unwrap().to_string(), text);
        }
        for (text, index) in [("libtorch:cuda", None), ("libtorch:cuda:3", Some(3))] {
            assert_eq!(text.parse::<DeviceName>().unwrap(), DeviceName::LibTorchCuda(index));
        }
        assert_eq!(DeviceName::of(&libtorch::processor()), DeviceName::LibTorch);
        assert!(DeviceName::LibTorch.device().is_ok());
        let error = DeviceName::LibTorchCuda(Some(99)).device().unwrap_err().to_string();
        assert!(error.contains("GPU"), "{error}");
    }
}
