//! Images that libtorch's device normalises, erases boxes of and mixes, and the memory it reads them from.

#![allow(deprecated, reason = "Burn 0.22 is the last release with libtorch, and is pinned")]

use std::sync::Arc;

use burn::backend::libtorch::TchTensor;
use burn::tensor::{Device, Tensor};
use data::mixup::Mix;
use data::transform::{Erased, Normalize};
use data::{BatchMemory, MemoryPool, Pixels};
use host::libtorch::{Staging, constants, float_tensor};
use host::{Arena, At, Uploaded};
use tch::{Kind, Tensor as Raw};

/// What intensities are multiplied with, and what is added then, by channel, `[C, 1, 1]`.
#[derive(Debug)]
pub(super) struct Normalization {
    scale: TchTensor,
    shift: TchTensor,
}

impl Normalization {
    pub(super) fn new(Normalize { mean, std }: &Normalize, device: &Device) -> Self {
        let channels = |numbers: Vec<f32>| TchTensor::new(constants(numbers, device).view([-1, 1, 1]));
        Self {
            scale: channels(std.iter().map(|std| 1.0 / (255.0 * std)).collect()),
            shift: channels(mean.iter().zip(std).map(|(mean, std)| -mean / std).collect()),
        }
    }
}

/// Intensities `[N, C, H, W]` on their way, and what is to be done to them.
#[derive(Debug)]
pub(super) struct RawAt {
    intensities: At,
    shape: [usize; 4],
    erased: Option<ErasedAt>,
    mix: Mix,
}

/// Boxes of noise on their way, row by row.
#[derive(Debug)]
struct ErasedAt {
    /// All values, image after image, channel after channel, row after row.
    noise: At,
    /// Of each row, its place among the numbers of all images less that among the noise.
    ahead: At,
    /// Of each row, how many values it has.
    lengths: At,
    /// Values of all rows.
    values: usize,
}

impl ErasedAt {
    fn put(erased: &[(usize, Erased)], shape: [usize; 4], arena: &mut Arena) -> Option<Self> {
        let [_, channels, height, width] = shape;
        let (mut noise, mut ahead, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        let mut before = 0;
        for (image, Erased { area: [top, left, rows, columns], noise: values }) in erased {
            for line in (0..channels).flat_map(|c| (0..*rows).map(move |row| c * height + top + row)) {
                let start = (image * channels * height + line) * width + left;
                ahead.push(start as i64 - before);
                lengths.push(*columns as i64);
                before += *columns as i64;
            }
            noise.extend(values);
        }
        let values = noise.len();
        (values > 0).then(|| Self {
            noise: arena.floats(noise),
            ahead: arena.indices(ahead),
            lengths: arena.indices(lengths),
            values,
        })
    }

    /// Overwrites the boxes of contiguous images.
    fn apply(&self, images: &mut Raw, uploaded: &Uploaded) {
        let landed = |at| uploaded.landed(at).expect("uploaded for libtorch");
        let (ahead, lengths) = (landed(self.ahead).indices(), landed(self.lengths).indices());
        let count = self.values as i64;
        // With its size known, nothing waits for the sum of the lengths.
        let places = ahead.repeat_interleave_self_tensor(&lengths, 0, count)
            + Raw::arange(count, (Kind::Int64, images.device()));
        let _ = images.put_(&places, &landed(self.noise).floats(), false);
    }
}

/// Adds intensities, and what is to be done to them, to what goes to the device.
pub(super) fn put(
    pixels: Pixels,
    shape: [usize; 4],
    erased: &[(usize, Erased)],
    mix: Mix,
    arena: &mut Arena,
) -> RawAt {
    let intensities = match pixels {
        Pixels::U8(values) => arena.bytes(values),
        Pixels::Staged(staged) => {
            let memory = staged.memory().downcast::<Memory>().expect("memory of the pool below");
            arena.staged(Arc::clone(&memory.0))
        }
        Pixels::F32(_) => unreachable!("the host has normalised them"),
    };
    RawAt { intensities, shape, erased: ErasedAt::put(erased, shape, arena), mix }
}

/// Images `[N, C, H, W]` as the network is to see them.
pub(super) fn images(
    raw: RawAt,
    normalization: &Normalization,
    uploaded: &Uploaded,
    device: &Device,
) -> Tensor<4> {
    let intensities = uploaded.landed(raw.intensities).expect("uploaded for libtorch").bytes(&raw.shape);
    let mut images = intensities * &normalization.scale.tensor;
    let _ = images.g_add_(&normalization.shift.tensor);
    if let Some(erased) = raw.erased {
        erased.apply(&mut images, uploaded);
    }
    mix(&mut images, raw.mix);
    float_tensor(images, device)
}

/// Mixes images with those as far from the end of the batch, as [`Mix::apply`] does.
fn mix(images: &mut Raw, mix: Mix) {
    match mix {
        Mix::None => {}
        Mix::Mixup(lambda) => {
            let others = images.flip([0]);
            let _ = images.lerp_(&others, 1.0 - lambda);
        }
        Mix::Cutmix([top, bottom, left, right]) if top < bottom && left < right => {
            let [top, bottom, left, right] = [top, bottom, left, right].map(|n| n as i64);
            let mut area = images.narrow(2, top, bottom - top).narrow(3, left, right - left);
            area.copy_(&area.flip([0]));
        }
        Mix::Cutmix(_) => {}
    }
}

/// Makes memory that a device reads batches from.
struct Pool(Device);

/// Memory for one batch.
#[derive(Debug)]
struct Memory(Arc<Staging>);

impl MemoryPool for Pool {
    fn batch(&self, images: usize, bytes: usize) -> Arc<dyn BatchMemory> {
        Arc::new(Memory(Arc::new(Staging::new(&self.0, images, bytes))))
    }
}

impl BatchMemory for Memory {
    fn write(&self, image: usize, write: &mut dyn FnMut(&mut [u8])) {
        self.0.write(image, write);
    }
}

pub(super) fn memory_pool(device: &Device) -> Arc<dyn MemoryPool> {
    Arc::new(Pool(device.clone()))
}
