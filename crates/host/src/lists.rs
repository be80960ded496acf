//! Which operations all parameters of a network go through at once.

use burn::tensor::Device;

use crate::is_on_host;

/// What computes on all gradients, weights or moments at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// Our loops over this machine's memory; losses and norms are numbers at once.
    Slices,
    /// ATen's operations on lists of tensors; losses and norms stay on the device until they are read. What a
    /// GPU takes, and libtorch's processor as well, to test that.
    Aten,
}

impl Lists {
    /// What a device has by itself.
    pub fn of(device: &Device) -> Self {
        if is_on_host(device) { Self::Slices } else { Self::Aten }
    }
}
