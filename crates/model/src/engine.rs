//! What computes the network.

use burn::tensor::Device;
use host::{Precision, is_on_host};
use serde::{Deserialize, Serialize};

/// What is asked to compute the network, and in which numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// Blocks, convolutions, norms and the loss as single operations with a handwritten backward
    /// pass: our kernels on the CPU, in plain and compact execution and with GELU; libtorch's on a
    /// GPU.
    #[default]
    Fused,
    /// Burn's tensor operations throughout.
    Reference,
    /// As on a GPU, wherever libtorch runs: to test what a GPU does.
    Aten,
    /// [`Fused`](Self::Fused) in bf16, see [`in_precision`](Self::in_precision).
    #[serde(skip)]
    FusedBf16,
    /// [`Aten`](Self::Aten) in bf16.
    #[serde(skip)]
    AtenBf16,
}

/// What computes an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Our kernels, on slices in this machine's memory.
    Slices,
    /// Libtorch's own, in the fused operations of this crate.
    #[cfg(feature = "tch")]
    Aten(Precision),
    /// Burn's tensor operations.
    Tensors,
}

impl Engine {
    /// Of its heavy operations.
    pub fn precision(self) -> Precision {
        match self {
            #[cfg(feature = "tch")]
            Self::Aten(precision) => precision,
            Self::Slices | Self::Tensors => Precision::F32,
        }
    }
}

impl Kernels {
    /// All that a device has, in f32.
    pub fn all_on(device: &Device) -> impl Iterator<Item = Self> + use<> {
        let aten = host::is_libtorch(device).then_some(Self::Aten);
        [Self::Reference, Self::Fused].into_iter().chain(aten)
    }

    /// The same with the heavy operations in another precision, where something else than our
    /// kernels and Burn's operations computes them: these know f32 only.
    pub fn in_precision(self, precision: Precision) -> Self {
        match (self, precision) {
            (Self::Fused | Self::FusedBf16, Precision::F32) => Self::Fused,
            (Self::Fused | Self::FusedBf16, Precision::Bf16) => Self::FusedBf16,
            (Self::Aten | Self::AtenBf16, Precision::F32) => Self::Aten,
            (Self::Aten | Self::AtenBf16, Precision::Bf16) => Self::AtenBf16,
            (Self::Reference, _) => Self::Reference,
        }
    }

    /// What computes on a device.
    pub fn engine(self, device: &Device) -> Engine {
        match self {
            Self::Reference => Engine::Tensors,
            Self::Fused | Self::FusedBf16 if is_on_host(device) => Engine::Slices,
            #[cfg(feature = "tch")]
            Self::Fused | Self::Aten if host::is_libtorch(device) => Engine::Aten(Precision::F32),
            #[cfg(feature = "tch")]
            Self::FusedBf16 | Self::AtenBf16 if host::is_libtorch(device) => Engine::Aten(Precision::Bf16),
            Self::Fused | Self::FusedBf16 | Self::Aten | Self::AtenBf16 => Engine::Tensors,
        }
    }
}
