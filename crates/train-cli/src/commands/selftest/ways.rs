//! What a device can compute with.

use anyhow::Result;
use burn::tensor::Device;
use host::{DeviceName, Lists, Precision};
use model::activation::Activation;
use model::{Compute, Engine, Execution, Kernels};
use serde::Serialize;

/// In which numbers products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Numbers {
    F32,
    /// f32 whose products have short factors, on a GPU.
    Tf32,
    Bf16,
}

/// A way to compute.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// With autodiff.
    pub(super) device: Device,
    pub(super) compute: Compute,
    pub(super) numbers: Numbers,
}

impl Way {
    /// What all others are compared with: Burn's operations on the processor, in pure Rust.
    pub(super) fn reference() -> Self {
        let (device, compute) = (Device::flex().autodiff(), Kernels::Reference.into());
        Self { device, compute, numbers: Numbers::F32 }
    }

    /// What computes on all parameters at once.
    pub(super) fn lists(&self) -> Lists {
        self.compute.lists(&self.device)
    }

    /// Every way of a device but the reference itself: each of its kernels, in all numbers that they know.
    pub(super) fn all_of(device: &Device) -> Vec<Self> {
        let (is_gpu, mut ways) = (matches!(DeviceName::of(device), DeviceName::LibTorchCuda(_)), Vec::new());
        let mut engines: Vec<Engine> = Vec::new();
        for compute in Compute::all_on(device) {
            let engine = compute.engine(device);
            // On a GPU two names are one engine; Flex's tensor operations are the reference.
            if engines.contains(&engine) || engine == Engine::Tensors && !host::is_libtorch(device) {
                continue;
            }
            engines.push(engine);
            let way = |precision, numbers| {
                let compute = Compute { precision, ..compute };
                Self { device: device.clone().autodiff(), compute, numbers }
            };
            ways.push(way(Precision::F32, Numbers::F32));
            if is_gpu {
                ways.push(way(Precision::F32, Numbers::Tf32));
            }
            if matches!(engine, Engine::Aten(_)) {
                ways.push(way(Precision::Bf16, Numbers::Bf16));
            }
        }
        ways
    }

    /// Sets what is the process's: libtorch's threads, and whether a GPU shortens factors.
    pub(super) fn prepare(&self) -> Result<()> {
        self.compute.on(&self.device, Activation::Gelu, Execution::Compact)?;
        host::follow_tf32(&self.device, Some(self.numbers == Numbers::Tf32));
        Ok(())
    }
}

/// How masked images are run, or that nothing is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Run {
    Plain,
    Masked,
    Compact,
}

impl Run {
    pub(super) const MASKED: &[Self] = &[Self::Masked, Self::Compact];
    pub(super) const ALL: &[Self] = &[Self::Plain, Self::Masked, Self::Compact];

    pub(super) fn execution(self) -> Option<Execution> {
        match self {
            Self::Plain => None,
            Self::Masked => Some(Execution::Masked),
            Self::Compact => Some(Execution::Compact),
        }
    }
}
