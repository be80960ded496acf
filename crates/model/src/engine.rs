//! What computes the network.

use burn::tensor::Device;
use host::{Lists, Precision, Tf32Error, is_on_host};
use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::sites::Execution;

/// What is asked to compute the network.
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
    /// What computes on a GPU, wherever libtorch runs: to test what a GPU does.
    Aten,
}

/// What is asked to compute the network, and in which numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compute {
    /// Whose operations are asked for.
    pub kernels: Kernels,
    /// Numbers of the heavy operations. Only libtorch's know others than f32.
    pub precision: Precision,
    /// Whether blocks keep their input alone for the backward pass, and compute the rest again there.
    pub recompute: bool,
}

impl From<Kernels> for Compute {
    fn from(kernels: Kernels) -> Self {
        Self { kernels, precision: Precision::F32, recompute: false }
    }
}

/// What computes an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Our kernels, on slices in this machine's memory.
    Slices,
    /// Libtorch's own operations, in the fused operations of this crate; never in a build without
    /// libtorch.
    Aten(Precision),
    /// Burn's tensor operations.
    Tensors,
}

/// Why a device cannot compute what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ComputeError {
    /// Libtorch's operations on another device.
    #[error("model.kernels = \"aten\" are libtorch's: --device libtorch or cuda:0")]
    NotLibtorch,
    /// A precision that only libtorch's operations have.
    #[error(
        "train.precision = \"bf16\" takes a GPU (--device cuda:0) and model.kernels = \"fused\"; \
         on a processor, and by Burn's operations, networks are trained in f32"
    )]
    Precision,
    /// An activation that libtorch's fused block does not have.
    #[error("train.precision = \"bf16\" takes model.hidden_act = \"gelu\"; other blocks know f32 only")]
    Activation,
    /// Blocks that are not one operation, so that they keep what each of theirs needs.
    #[error(
        "train.recompute = true takes blocks that are computed as one: model.kernels = \"fused\" (or \
         \"aten\"), model.hidden_act = \"gelu\" and, on a processor, model.execution = \"compact\"; leave \
         train.recompute out, or set these"
    )]
    Recompute,
    /// TF32 where there is none.
    #[error(transparent)]
    Tf32(#[from] Tf32Error),
}

impl Engine {
    /// The numbers of its heavy operations.
    pub fn precision(self) -> Precision {
        match self {
            Self::Aten(precision) => precision,
            Self::Slices | Self::Tensors => Precision::F32,
        }
    }
}

impl Compute {
    /// All kernels that a device has, in f32.
    pub fn all_on(device: &Device) -> impl Iterator<Item = Self> + use<> {
        let aten = host::is_libtorch(device).then_some(Kernels::Aten);
        [Kernels::Reference, Kernels::Fused].into_iter().chain(aten).map(Self::from)
    }

    /// What computes on a device.
    pub fn engine(self, device: &Device) -> Engine {
        match self.kernels {
            Kernels::Fused if is_on_host(device) => Engine::Slices,
            Kernels::Fused | Kernels::Aten if host::is_libtorch(device) => Engine::Aten(self.precision),
            Kernels::Reference | Kernels::Fused | Kernels::Aten => Engine::Tensors,
        }
    }

    /// The same, once it is sure that the device can compute it in training. Gives libtorch the
    /// processor's threads where it computes there itself.
    ///
    /// # Errors
    /// Kernels or a precision that the device does not have, or blocks that cannot compute again what they
    /// do not keep.
    pub fn on(
        self,
        device: &Device,
        activation: Activation,
        execution: Execution,
    ) -> Result<Self, ComputeError> {
        if self.kernels == Kernels::Aten && !host::is_libtorch(device) {
            return Err(ComputeError::NotLibtorch);
        }
        let engine = self.engine(device);
        if host::is_libtorch(device) && engine != Engine::Slices {
            host::libtorch::set_threads(kernels::threads());
        }
        if engine.precision() != self.precision {
            return Err(ComputeError::Precision);
        }
        if self.precision == Precision::Bf16 && activation != Activation::Gelu {
            return Err(ComputeError::Activation);
        }
        let one_operation = match engine {
            Engine::Slices => activation == Activation::Gelu && execution == Execution::Compact,
            Engine::Aten(_) => activation == Activation::Gelu,
            Engine::Tensors => false,
        };
        if self.recompute && !one_operation {
            return Err(ComputeError::Recompute);
        }
        Ok(self)
    }

    /// What computes on all parameters of a network at once: ATen's operations where they compute the network.
    pub fn lists(self, device: &Device) -> Lists {
        match self.engine(device) {
            Engine::Aten(_) => Lists::Aten,
            Engine::Slices | Engine::Tensors => Lists::of(device),
        }
    }

    /// Whether the device is to normalise images: it does not wait for the processor then, and gets a
    /// quarter of the bytes.
    pub fn device_normalizes(self, device: &Device) -> bool {
        matches!(self.engine(device), Engine::Aten(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_on_a_processor_is_refused() {
        let device = Device::flex();
        let on = |kernels, precision| {
            let asked = Compute { kernels, precision, recompute: false };
            asked.on(&device, Activation::Gelu, Execution::Compact)
        };
        assert_eq!(on(Kernels::Fused, Precision::F32).unwrap().kernels, Kernels::Fused);
        for kernels in [Kernels::Fused, Kernels::Reference] {
            let error = on(kernels, Precision::Bf16).unwrap_err().to_string();
            assert!(error.contains("cuda:0"), "{error}");
        }
        assert!(on(Kernels::Aten, Precision::F32).unwrap_err().to_string().contains("aten"));
    }
    #[test]
    fn blocks_of_many_operations_cannot_be_computed_again() {
        let device = Device::flex();
        let on = |kernels, activation, execution| {
            let asked = Compute { recompute: true, ..Compute::from(kernels) };
            asked.on(&device, activation, execution).map(|compute| compute.recompute)
        };
        let (gelu, compact) = (Activation::Gelu, Execution::Compact);
        assert_eq!(on(Kernels::Fused, gelu, compact), Ok(true));
        for (kernels, activation, execution) in [
            (Kernels::Reference, gelu, compact),
            (Kernels::Fused, Activation::Relu, compact),
            (Kernels::Fused, gelu, Execution::Masked),
        ] {
            let error = on(kernels, activation, execution).unwrap_err();
            assert_eq!(error, ComputeError::Recompute);
            assert!(error.to_string().contains("leave train.recompute out"), "{error}");
        }
    }
}
