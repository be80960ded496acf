//! Numbers to where libtorch computes. To a GPU they go from page-locked memory and beside its computing;
//! libtorch's plain copy would wait until the GPU has nothing left to do.

use std::sync::{Mutex, PoisonError};

use burn::backend::libtorch::TchTensor;
use burn::backend::{DispatchDevice, LibTorch, LibTorchDevice};
use burn::tensor::{Device as BurnDevice, Int, Tensor};
use tch::{Device, Tensor as Raw};

use super::staging::{self, Kind, Staging};
use crate::arena::Part;

/// Parts begin at multiples of so many bytes, as memory that is asked for does.
const ALIGNMENT: usize = 256;

/// The copying stream of every GPU, by its number.
static STREAMS: Mutex<Vec<i64>> = Mutex::new(Vec::new());

/// The number of the GPU that a device is.
pub(crate) fn gpu(device: &BurnDevice) -> Option<usize> {
    match device.clone().inner().as_dispatch() {
        DispatchDevice::LibTorch(LibTorchDevice::Cuda(index)) => Some(*index),
        _ => None,
    }
}

/// A part of an upload, where libtorch computes.
#[derive(Debug)]
pub struct Landed {
    /// Bytes that other parts lie in too.
    memory: Raw,
    offset: usize,
    len: usize,
}

impl Landed {
    /// Its bytes in a shape.
    pub fn bytes(&self, shape: &[usize]) -> Raw {
        self.view(Kind::Bytes, shape)
    }

    /// Its bytes as floats.
    pub fn floats(&self) -> Raw {
        self.view(Kind::Floats, &[self.len / size_of::<f32>()])
    }

    /// Its bytes as indices.
    pub fn indices(&self) -> Raw {
        self.view(Kind::Indices, &[self.len / size_of::<i64>()])
    }

    fn view(&self, kind: Kind, shape: &[usize]) -> Raw {
        let sizes: Vec<i64> = shape.iter().map(|size| *size as i64).collect();
        staging::view(&self.memory, kind, self.offset, &sizes)
    }

    pub(crate) fn float_tensor<const D: usize>(&self, shape: [usize; D], device: &BurnDevice) -> Tensor<D> {
        float_tensor(self.view(Kind::Floats, &shape), device)
    }

    pub(crate) fn index_tensor(&self, device: &BurnDevice) -> Tensor<1, Int> {
        let indices = Tensor::<1, Int>::from_primitive::<LibTorch>(TchTensor::new(self.indices()));
        match device.is_autodiff() {
            true => indices.autodiff(),
            false => indices,
        }
    }
}

/// A tensor of libtorch as others know it, with autodiff if the device has it.
pub fn float_tensor<const D: usize>(tensor: Raw, device: &BurnDevice) -> Tensor<D> {
    let tensor = Tensor::from_primitive::<LibTorch>(TchTensor::new(tensor));
    match device.is_autodiff() {
        true => tensor.autodiff(),
        false => tensor,
    }
}

/// Where the bytes of a part lie.
struct Place {
    /// The number of its piece: first what was packed, then what was staged.
    piece: usize,
    offset: usize,
    len: usize,
}

/// Brings parts to a device of libtorch: one copy to a GPU; on the processor they are where they were
/// packed.
pub(crate) fn upload(parts: &[Part], device: &BurnDevice) -> Vec<Landed> {
    let (mut places, mut packed, mut staged) = (Vec::new(), 0, Vec::new());
    for part in parts {
        places.push(match part {
            Part::Staged(staging) => {
                let memory = staging.sealed_memory();
                staged.push(memory);
                Place { piece: staged.len(), offset: 0, len: memory.numel() }
            }
            part => {
                let (offset, len) = (packed, part.bytes().len());
                packed = (offset + len).next_multiple_of(ALIGNMENT);
                Place { piece: 0, offset, len }
            }
        });
    }
    let pack = Staging::new(device, 1, packed);
    pack.write(0, |memory| {
        for (part, place) in parts.iter().zip(&places).filter(|(_, place)| place.piece == 0) {
            memory[place.offset..place.offset + place.len].copy_from_slice(part.bytes());
        }
    });
    let mut pieces = vec![pack.sealed_memory()];
    pieces.extend(staged);
    super::counter::copied();
    let landed = match gpu(device) {
        Some(gpu) => copy(&pieces, gpu),
        None => pieces.iter().map(|piece| (piece.shallow_clone(), 0)).collect(),
    };
    let land = |place: Place| {
        let (memory, start) = &landed[place.piece];
        Landed { memory: memory.shallow_clone(), offset: start + place.offset, len: place.len }
    };
    places.into_iter().map(land).collect()
}

/// Pieces in one tensor on a GPU, and where each begins.
fn copy(pieces: &[&Raw], gpu: usize) -> Vec<(Raw, usize)> {
    let (starts, bytes) = starts(pieces.iter().map(|piece| piece.numel()));
    let mut streams = STREAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if streams.len() <= gpu {
        streams.resize(gpu + 1, -1);
    }
    let offsets: Vec<i64> = starts.iter().map(|start| *start as i64).collect();
    let whole = staging::upload(pieces, &offsets, bytes, gpu, &mut streams[gpu]);
    starts.into_iter().map(|start| (whole.shallow_clone(), start)).collect()
}

/// Where pieces of these lengths begin that lie one after another, and where the last one ends.
fn starts(lengths: impl Iterator<Item = usize>) -> (Vec<usize>, usize) {
    let mut end = 0;
    let starts = lengths.map(|len| {
        let start = end;
        end = (start + len).next_multiple_of(ALIGNMENT);
        start
    });
    (starts.collect(), end)
}

/// Indices on a device, from a list on the host.
pub fn indices_on(values: Vec<i64>, device: Device) -> Raw {
    let device = match device {
        Device::Cuda(gpu) => BurnDevice::libtorch_cuda(gpu),
        _ => BurnDevice::libtorch(),
    };
    upload(&[Part::Indices(values)], &device)[0].indices()
}

/// A few numbers on a device of libtorch, to stay there.
pub fn constants(values: Vec<f32>, device: &BurnDevice) -> Raw {
    upload(&[Part::Floats(values)], device)[0].floats()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_one_after_another() {
        assert_eq!(starts([300, 0, 256, 1].into_iter()), (vec![0, 512, 512, 768], 1024));
    }
}
