//! A small module for the tests of this crate.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

#[derive(Module, Debug)]
pub(crate) struct Layer {
    w: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
pub(crate) struct Toy {
    a: Vec<Layer>,
    b: Param<Tensor<1>>,
}

/// Official names of the toy are its paths behind a prefix.
pub(crate) fn name(path: &str) -> String {
    format!("toy.{path}")
}

impl Toy {
    pub(crate) fn new(offset: f32, device: &Device) -> Self {
        let values = |n: usize| (0..n).map(|i| (i as f32 * 0.37 + offset).sin()).collect::<Vec<_>>();
        let layer = || Layer { w: Param::from_data(TensorData::new(values(9), [3, 3]), device) };
        Self { a: vec![layer(), layer()], b: Param::from_data(TensorData::new(values(3), [3]), device) }
    }
}
