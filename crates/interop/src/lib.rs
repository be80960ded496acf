//! Checkpoints of the outside world.

#[cfg(feature = "hub")]
pub mod hub;
pub mod onnx;
