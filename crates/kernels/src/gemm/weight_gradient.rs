//! The gradient of a large weight, by all threads.

use rayon::prelude::*;

use super::outer::{ColumnScales, outer_scaled};
use crate::Arch;
use crate::buffer::Buffer;
use crate::results::Results;

/// Outputs whose gradient a thread computes at a time.
const OUTPUTS: usize = 96;

/// Some rows that a gradient is made of: dy `[rows, outputs]` and x `[rows, inputs]`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// Of a layer's output.
    pub dy: &'a [f32],
    /// The layer's input.
    pub x: &'a [f32],
    /// Factors of the columns of x.
    pub(crate) scales: Option<ColumnScales<'a>>,
}

impl<'a> Rows<'a> {
    /// Rows as they are.
    pub fn new(dy: &'a [f32], x: &'a [f32]) -> Self {
        Self { dy, x, scales: None }
    }
}

/// dW `[outputs, inputs]` = Σ dyᵀ·x over parts of the rows.
///
/// Threads divide the outputs. With small weights it is faster that each takes some rows, and that
/// their gradients are added up; with large ones that sum would take as long as the products.
pub fn weight_gradient(arch: Arch, parts: &[Rows], outputs: usize, inputs: usize) -> Vec<f32> {
    let mut dw = Results::new(outputs * inputs);
    dw.par_parts(OUTPUTS * inputs).enumerate().for_each(|(chunk, mut dw)| {
        let (first, count) = (chunk * OUTPUTS, dw.len() / inputs);
        let dw = dw.slice();
        for (index, Rows { dy, x, scales }) in parts.iter().filter(|part| !part.dy.is_empty()).enumerate() {
            let mut own = Buffer::take(dy.len() / outputs * count);
            for (to, from) in own.chunks_exact_mut(count).zip(dy.chunks_exact(outputs)) {
                to.copy_from_slice(&from[first..first + count]);
            }
            outer_scaled(arch, &own, x, *scales, dw, (count, inputs), index > 0);
        }
    });
    dw.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::outer;
    use crate::testing::{assert_close, numbers, wide};

    #[test]
    fn parts_of_the_rows_add_up() {
        let (outputs, inputs, rows) = (150, 7, [5, 0, 9]);
        let arch = Arch::new();
        let values: Vec<_> = (rows.iter().zip(1..))
            .map(|(rows, seed)| (numbers(rows * outputs, seed), numbers(rows * inputs, seed + 10)))
            .collect();
        let parts: Vec<_> = values.iter().map(|(dy, x)| Rows::new(dy, x)).collect();
        let found = weight_gradient(arch, &parts, outputs, inputs);
        let (dy, x): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        let mut expected = vec![0.0; outputs * inputs];
        outer(arch, &dy.concat(), &x.concat(), &mut expected, (outputs, inputs), false);
        assert_close(&found, &wide(&expected), 1e-6, "gradient");
        assert_eq!(weight_gradient(arch, &[Rows::new(&[], &[])], 2, 3), [0.0; 6]);
    }
}
