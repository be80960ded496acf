//! One tensor as it stands in a file.

use safetensors::Dtype;

/// One tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Dimensions of the tensor.
    pub shape: Vec<usize>,
    /// The elements; their number is the product of the dimensions.
    pub values: Vec<f32>,
}

impl Entry {
    /// From little-endian elements; half, double and integers become single precision. None for
    /// other types of element, and where there are more or fewer elements than the shape says.
    pub fn from_le_bytes(shape: Vec<usize>, dtype: Dtype, bytes: &[u8]) -> Option<Self> {
        let elements = shape.iter().try_fold(1usize, |product, side| product.checked_mul(*side))?;
        let values = to_f32(dtype, bytes).filter(|values| values.len() == elements)?;
        Some(Self { shape, values })
    }
}

/// Little-endian floats of any width as single precision.
fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    use burn::tensor::{bf16, f16};
    Some(match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        // Counters, in files of other programs.
        Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_becomes_single() {
        assert_eq!(to_f32(Dtype::BF16, &[0x80, 0x3f]), Some(vec![1.0]));
        assert_eq!(to_f32(Dtype::F16, &[0x00, 0xc0]), Some(vec![-2.0]));
        assert_eq!(to_f32(Dtype::F64, &0.5f64.to_le_bytes()), Some(vec![0.5]));
        assert_eq!(to_f32(Dtype::U8, &[0; 8]), None);
    }
}
