//! The gradient of a large weight, by all threads.

use rayon::prelude::*;

use super::outer;
use crate::Arch;
use crate::buffer::{Buffer, unwritten};

/// Outputs whose gradient a thread computes at a time.
const OUTPUTS: usize = 96;

/// dW `[outputs, inputs]` = Σ dyᵀ·x over parts of the rows (dy `[rows, outputs]`, x `[rows, inputs]`).
///
/// Threads divide the outputs. With small weights it is faster that each takes some rows, and that
/// their gradients are added up; with large ones that sum would take as long as the products.
pub fn weight_gradient(arch: Arch, parts: &[(&[f32], &[f32])], outputs: usize, inputs: usize) -> Vec<f32> {
    let mut dw = match parts.iter().all(|(dy, _)| dy.is_empty()) {
        true => vec![0.0; outputs * inputs],
        false => unwritten(outputs * inputs),
    };
    dw.par_chunks_mut(OUTPUTS * inputs).enumerate().for_each(|(chunk, dw)| {
        let (first, count) = (chunk * OUTPUTS, dw.len() / inputs);
        for (index, (dy, x)) in parts.iter().filter(|(dy, _)| !dy.is_empty()).enumerate() {
            let mut own = Buffer::take(dy.len() / outputs * count);
            for (to, from) in own.chunks_exact_mut(count).zip(dy.chunks_exact(outputs)) {
                to.copy_from_slice(&from[first..first + count]);
            }
            outer(arch, &own, x, dw, (count, inputs), index > 0);
        }
    });
    dw
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, numbers, wide};

    #[test]
    fn parts_of_the_rows_add_up() {
        let (outputs, inputs, rows) = (150, 7, [5, 0, 9]);
        let arch = Arch::new();
        let values: Vec<_> = (rows.iter().zip(1..))
            .map(|(rows, seed)| (numbers(rows * outputs, seed), numbers(rows * inputs, seed + 10)))
            .collect();
        let parts: Vec<_> = values.iter().map(|(dy, x)| (&dy[..], &x[..])).collect();
        let found = weight_gradient(arch, &parts, outputs, inputs);
        let (dy, x): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        let mut expected = vec![0.0; outputs * inputs];
        outer(arch, &dy.concat(), &x.concat(), &mut expected, (outputs, inputs), false);
        assert_close(&found, &wide(&expected), 1e-6, "gradient");
        assert_eq!(weight_gradient(arch, &[(&[], &[])], 2, 3), [0.0; 6]);
    }
}
