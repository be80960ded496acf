//! Rows become columns.

use rayon::prelude::*;

use crate::{Arch, dispatch};

/// Rows that are read together: so many runs are followed by the prefetcher, and what they write
/// to a row of the transpose lies together.
const ROWS: usize = 8;

/// A matrix whose transpose is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) from: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Distance between rows of `from`.
    pub(crate) from_stride: usize,
    /// Distance between rows of the transpose.
    pub(crate) to_stride: usize,
}

/// Writes the transpose of a matrix.
#[inline(always)]
pub(crate) fn turn(t: Turn, to: &mut [f32]) {
    let row = |r: usize| &t.from[r * t.from_stride..][..t.columns];
    let whole = t.rows - t.rows % ROWS;
    for top in (0..whole).step_by(ROWS) {
        let rows: [&[f32]; ROWS] = std::array::from_fn(|r| row(top + r));
        for c in 0..t.columns {
            let column: [f32; ROWS] = std::array::from_fn(|r| rows[r][c]);
            to[c * t.to_stride + top..][..ROWS].copy_from_slice(&column);
        }
    }
    for r in whole..t.rows {
        row(r).iter().enumerate().for_each(|(c, value)| to[c * t.to_stride + r] = *value);
    }
}

/// Columns that a thread turns at a time.
const COLUMNS: usize = 32;

/// The transpose of a row-major `rows` × `columns` matrix, over all threads.
pub(crate) fn transpose(arch: Arch, matrix: &[f32], rows: usize, columns: usize, turned: &mut [f32]) {
    assert_eq!((matrix.len(), turned.len()), (rows * columns, rows * columns));
    turned.par_chunks_mut(COLUMNS * rows).enumerate().for_each(|(index, turned)| {
        let from = &matrix[COLUMNS * index..];
        let columns_here = turned.len() / rows;
        let part = Turn { from, rows, columns: columns_here, from_stride: columns, to_stride: rows };
        dispatch!(arch, turn(part, turned));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arches, numbers};

    #[test]
    fn rows_become_columns() {
        for (arch, (rows, columns)) in arches()
            .into_iter()
            .flat_map(|arch| [(1, 1), (3, 50), (33, 16), (16, 24), (17, 40)].map(|shape| (arch, shape)))
        {
            let matrix = numbers(rows * columns, 1);
            let mut turned = vec![f32::NAN; matrix.len()];
            transpose(arch, &matrix, rows, columns, &mut turned);
            for r in 0..rows {
                for c in 0..columns {
                    assert_eq!(turned[c * rows + r], matrix[r * columns + c]);
                }
            }
        }
    }
}
