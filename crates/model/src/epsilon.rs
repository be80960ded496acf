//! What is added to divisors.

/// Of every norm inside the network (official code; PyTorch's own default is 1e-5).
pub const LAYER_NORM: f64 = 1e-6;
/// Of GRN's division, so that an all-zero map stays zero.
pub const GRN: f64 = 1e-6;
