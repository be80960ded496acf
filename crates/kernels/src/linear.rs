//! A linear layer, and what stands before it and is linear too.

use rayon::prelude::*;

use crate::columns::dot;
use crate::gemm::epilogue::Epilogue;
use crate::gemm::int8::{Instructions, PackedInt8};
use crate::gemm::{Divide, Packed, Start, int8, product_with};
use crate::{Arch, dispatch};

/// Rows of a weight that a thread works on at a time.
const ROWS: usize = 64;

/// The numbers that products are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// 32-bit floating-point numbers.
    #[default]
    F32,
    /// Weights and activations in 8 bits, see [`gemm::int8`](int8). For inference.
    Int8,
}

/// Weight and bias in the order in which products read them.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    pub(crate) bias: Vec<f32>,
}

#[derive(Debug)]
enum Weight {
    F32(Packed),
    Int8(Instructions, PackedInt8),
}

impl Linear {
    /// From a weight `[out, in]`.
    pub(crate) fn new(arch: Arch, format: Format, weight: &[f32], bias: &[f32]) -> Self {
        let (outputs, bias) = (bias.len(), bias.to_vec());
        let inputs = weight.len() / outputs.max(1);
        let weight = match format {
            Format::F32 => Weight::F32(Packed::transposed(arch, weight, inputs, outputs)),
            Format::Int8 => {
                let instructions = Instructions::new();
                Weight::Int8(instructions, PackedInt8::transposed(instructions, weight, inputs, outputs))
            }
        };
        Self { weight, bias }
    }

    /// The same for inputs x that should have been multiplied by `gain` and added to `offset` before: both
    /// become part of the layer, since W·(γ·x + β) + b = (W·γ)·x + (b + W·β).
    pub(crate) fn after(
        arch: Arch,
        format: Format,
        weight: &[f32],
        bias: &[f32],
        gain: Option<&[f32]>,
        offset: &[f32],
    ) -> Self {
        let mut linear = match (format, gain) {
            (Format::F32, Some(gain)) => {
                let mut packed = Packed::transposed(arch, weight, gain.len(), bias.len());
                packed.scale_rows(arch, gain);
                Self { weight: Weight::F32(packed), bias: bias.to_vec() }
            }
            (Format::Int8, Some(gain)) => {
                let scaled: Vec<f32> = weight
                    .chunks_exact(gain.len())
                    .flat_map(|row| row.iter().zip(gain).map(|(w, g)| w * g))
                    .collect();
                Self::new(arch, format, &scaled, bias)
            }
            (_, None) => Self::new(arch, format, weight, bias),
        };
        let inputs = offset.len();
        linear.bias.par_chunks_mut(ROWS).zip(weight.par_chunks(ROWS * inputs)).for_each(|(bias, weight)| {
            dispatch!(arch, {
                let rows = bias.iter_mut().zip(weight.chunks_exact(inputs));
                rows.for_each(|(bias, row)| *bias += dot(row, offset));
            });
        });
        linear
    }

    /// Outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// The weight in f32, if it is so.
    pub(crate) fn packed(&self) -> Option<&Packed> {
        match &self.weight {
            Weight::F32(packed) => Some(packed),
            Weight::Int8(..) => None,
        }
    }

    /// Rows times the weight. The bias is the epilogue's affair.
    pub(crate) fn multiply(
        &self,
        arch: Arch,
        x: &[f32],
        y: &mut [f32],
        epilogue: &impl Epilogue,
        divide: Divide,
    ) {
        match &self.weight {
            Weight::F32(weight) => product_with(arch, x, weight, y, Start::Zero, epilogue, divide),
            Weight::Int8(instructions, weight) => {
                int8::product_with(*instructions, x, weight, y, Start::Zero, epilogue, divide);
            }
        }
    }
}
