//! Numbers of a step that may still be on their way from the device.

use burn::tensor::Tensor;
use host::Lists;

/// A loss or a norm: known at once on the processor, and left on any other device until somebody
/// wants to know it, so that no step waits for the one before it.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "two of them a step")]
pub enum Deferred {
    /// A number that has been read.
    Known(f64),
    /// A tensor `[1]` that is still on the device.
    Pending(Tensor<1>),
}

impl Deferred {
    /// The number of a tensor `[1]`, read where the work of `lists` is numbers at once.
    pub fn of(value: Tensor<1>, lists: Lists) -> Self {
        let value = value.without_autodiff();
        match lists {
            Lists::Slices => Self::Known(f64::from(value.into_scalar::<f32>())),
            Lists::Aten => Self::Pending(value),
        }
    }

    /// The sum of two.
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Known(a), Self::Known(b)) => Self::Known(a + b),
            (Self::Pending(a), Self::Pending(b)) => Self::Pending(a + b),
            (Self::Known(number), Self::Pending(tensor)) | (Self::Pending(tensor), Self::Known(number)) => {
                Self::Pending(tensor + number)
            }
        }
    }

    /// The number, which waits for the device.
    pub fn read(&self) -> f64 {
        match self {
            Self::Known(number) => *number,
            Self::Pending(tensor) => f64::from(tensor.clone().into_scalar::<f32>()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn sums_do_not_depend_on_what_is_read_already() {
        let pending = |value| Deferred::Pending(Tensor::full([1], value, &Device::flex()));
        let known = Deferred::of(Tensor::full([1], 1.5, &Device::flex().autodiff()), Lists::Slices);
        assert!(matches!(known, Deferred::Known(1.5)));
        let sum = known.clone().plus(pending(2.0)).plus(pending(0.25)).plus(known);
        assert!(matches!(sum, Deferred::Pending(_)));
        assert_eq!(sum.read(), 5.25);
    }
}
