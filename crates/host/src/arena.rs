//! What a step needs of this machine's memory, brought to the device that computes in one piece.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::libtorch;

/// What is brought to a device together: every upload costs the host a while, however little it brings.
///
/// ```
/// use burn::tensor::Device;
/// use host::Arena;
///
/// let mut arena = Arena::new(&Device::flex());
/// let targets = arena.floats(vec![0.0, 1.0, 1.0, 0.0]);
/// let picked = arena.indices(vec![3, 5]);
/// let mut uploaded = arena.upload();
/// assert_eq!(uploaded.floats(targets, [2, 2]).dims(), [2, 2]);
/// assert_eq!(uploaded.indices(picked).dims(), [2]);
/// ```
#[derive(Debug)]
pub struct Arena {
    device: Device,
    parts: Vec<Part>,
}

/// A part of an arena, on the host.
#[derive(Debug)]
#[cfg_attr(not(feature = "tch"), allow(dead_code, reason = "only libtorch reads bytes"))]
pub(crate) enum Part {
    Floats(Vec<f32>),
    Indices(Vec<i64>),
    Bytes(Vec<u8>),
    /// Bytes that lie where the device reads them already.
    Staged(Arc<libtorch::Staging>),
}

#[cfg(feature = "tch")]
impl Part {
    /// Those that are not staged.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Floats(values) => bytemuck::cast_slice(values),
            Self::Indices(values) => bytemuck::cast_slice(values),
            Self::Bytes(values) => values,
            Self::Staged(_) => &[],
        }
    }
}

/// Where something lies in an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(usize);

impl Arena {
    /// An empty one for a device.
    pub fn new(device: &Device) -> Self {
        Self { device: device.clone(), parts: Vec::new() }
    }

    fn add(&mut self, part: Part) -> At {
        self.parts.push(part);
        At(self.parts.len() - 1)
    }

    /// Adds numbers.
    pub fn floats(&mut self, values: Vec<f32>) -> At {
        self.add(Part::Floats(values))
    }

    /// Adds indices.
    pub fn indices(&mut self, values: Vec<i64>) -> At {
        self.add(Part::Indices(values))
    }

    /// Adds bytes.
    pub fn bytes(&mut self, values: Vec<u8>) -> At {
        self.add(Part::Bytes(values))
    }

    /// Adds bytes that lie where the device reads them already.
    pub fn staged(&mut self, staging: Arc<libtorch::Staging>) -> At {
        self.add(Part::Staged(staging))
    }

    /// Brings all of it to the device. To a GPU that is one copy, which nothing waits for; where libtorch
    /// computes on the processor, tensors are views of one memory.
    pub fn upload(self) -> Uploaded {
        let parts = match crate::is_libtorch(&self.device) {
            true => {
                let landed = libtorch::upload(&self.parts, &self.device);
                Parts::Landed(landed.into_iter().map(Some).collect())
            }
            false => Parts::Kept(self.parts),
        };
        Uploaded { device: self.device, parts }
    }
}

/// What was brought to a device.
#[derive(Debug)]
pub struct Uploaded {
    device: Device,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    /// For libtorch; none where it was taken out.
    Landed(Vec<Option<libtorch::Landed>>),
    /// For other devices, which take what they are given.
    Kept(Vec<Part>),
}

impl Uploaded {
    /// The device that it was brought to.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Numbers of a shape. They are taken out: nobody else has them afterwards.
    ///
    /// # Panics
    /// If there is something else or nothing any more, or not as many numbers.
    pub fn floats<const D: usize>(&mut self, At(part): At, shape: [usize; D]) -> Tensor<D> {
        match &mut self.parts {
            Parts::Landed(parts) => {
                let landed = parts[part].take().expect("numbers that were added");
                landed.float_tensor(shape, &self.device)
            }
            Parts::Kept(parts) => {
                let Part::Floats(values) = take(&mut parts[part]) else { panic!("numbers were added") };
                Tensor::from_data(TensorData::new(values, shape), &self.device)
            }
        }
    }

    /// A list of indices, taken out as numbers are.
    ///
    /// # Panics
    /// If there is something else or nothing any more.
    pub fn indices(&mut self, At(part): At) -> Tensor<1, Int> {
        match &mut self.parts {
            Parts::Landed(parts) => {
                let landed = parts[part].take().expect("indices that were added");
                landed.index_tensor(&self.device)
            }
            Parts::Kept(parts) => {
                let Part::Indices(values) = take(&mut parts[part]) else { panic!("indices were added") };
                let count = values.len();
                Tensor::from_data(TensorData::new(values, [count]), &self.device)
            }
        }
    }

    /// For operations of libtorch; none on other devices, and of what was taken out.
    pub fn landed(&self, At(part): At) -> Option<&libtorch::Landed> {
        match &self.parts {
            Parts::Landed(parts) => parts[part].as_ref(),
            Parts::Kept(_) => None,
        }
    }
}

fn take(part: &mut Part) -> Part {
    std::mem::replace(part, Part::Bytes(Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_all_kinds_and_lengths_arrive_whole() {
        for device in crate::processors() {
            for device in [device.clone(), device.autodiff()] {
                let mut arena = Arena::new(&device);
                let odd = arena.floats(vec![1.0, 2.0, 3.0]);
                let bytes = arena.bytes((0..77).collect());
                let indices = arena.indices(vec![7, -1]);
                let none = arena.floats(Vec::new());
                let long: Vec<f32> = (0..200).map(|i| i as f32).collect();
                let table = arena.floats(long.clone());
                let mut uploaded = arena.upload();
                let found = uploaded.floats(table, [4, 50]);
                assert_eq!(found.is_autodiff(), device.is_autodiff());
                assert_eq!(found.into_data().try_into_vec::<f32>().unwrap(), long);
                let found = uploaded.floats(odd, [1, 3]).into_data().try_into_vec::<f32>().unwrap();
                assert_eq!(found, [1.0, 2.0, 3.0]);
                let found: Vec<i64> = uploaded.indices(indices).into_data().iter::<i64>().collect();
                assert_eq!(found, [7, -1]);
                assert_eq!(uploaded.floats(none, [0, 4]).dims(), [0, 4]);
                assert_eq!(uploaded.landed(bytes).is_some(), crate::is_libtorch(&device));
            }
        }
    }
}
