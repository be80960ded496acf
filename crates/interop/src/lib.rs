//! Checkpoints of the outside world.

pub mod onnx;
