//! Products in 8 bits against a naive implementation, bit for bit, and against what they stand for.

use super::*;
use crate::gemm::Divide;
use crate::gemm::Start;
use crate::gemm::epilogue::Plain;
use crate::gemm::tests::SHAPES;
use crate::testing::numbers;

/// Quantised values, scale and zero point of a row.
fn naive_row(row: &[f32]) -> (Vec<i64>, f32, i64) {
    let (low, high) = row.iter().fold((0.0f32, 0.0f32), |(low, high), v| (low.min(*v), high.max(*v)));
    let scale = high * (1.0 / 255.0) - low * (1.0 / 255.0);
    let steps = |v: f32| (v * (1.0 / scale)).round_ties_even() as i64;
    let zero = steps(-low);
    (row.iter().map(|v| (steps(*v) + zero).clamp(0, 255)).collect(), scale, zero)
}

/// Quantised values and scale of a column.
fn naive_column(column: &[f32]) -> (Vec<i64>, f32) {
    let scale = column.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
    (column.iter().map(|v| (v * (1.0 / scale)).round_ties_even() as i64).collect(), scale)
}

/// start + A·Bᵀ of quantised values.
fn naive_product(a: &[f32], b: &[f32], depth: usize, start: &[f32]) -> Vec<f32> {
    let columns: Vec<_> = b.chunks(depth).map(naive_column).collect();
    let mut c = start.iter();
    let mut values = Vec::new();
    for (row, scale, zero) in a.chunks(depth).map(naive_row) {
        for (column, column_scale) in &columns {
            let sum: i64 = row.iter().zip(column).map(|(a, b)| (a - zero) * b).sum();
            values.push(sum as f32 * column_scale * scale + c.next().expect("as many as products"));
        }
    }
    values
}

/// A·Bᵀ.
fn multiply(instructions: Instructions, a: &[f32], b: &[f32], depth: usize) -> Vec<f32> {
    let packed = PackedInt8::transposed(instructions, b, depth, b.len() / depth);
    let mut c = vec![f32::NAN; a.len() / depth * packed.columns()];
    product(instructions, a, &packed, &mut c, Start::Zero);
    c
}

/// Like what GELU leaves: the negative values are small.
fn activations(count: usize) -> Vec<f32> {
    numbers(count, 1).into_iter().map(|v| if v < 0.0 { 0.17 * v } else { 3.0 * v }).collect()
}

#[test]
fn numbers_are_rounded_to_the_nearest_and_even() {
    for value in [0.0, 0.5, 1.5, -0.5, -1.5, -2.5, 254.5, 255.49, -127.5, 0.499_999_97] {
        assert_eq!(round(value), value.round_ties_even() as i32, "{value}");
    }
}

#[test]
fn all_instructions_give_the_same_bits_as_the_definition() {
    for instructions in Instructions::available() {
        for (m, n, k) in SHAPES {
            let (a, b, start) = (activations(m * k), numbers(n * k, 2), numbers(m * n, 3));
            let packed = PackedInt8::transposed(instructions, &b, k, n);
            let check = |c: &[f32], start: &[f32], what: &str| {
                assert_eq!(c, naive_product(&a, &b, k, start), "{what}, {instructions}, {m}×{n}×{k}");
            };
            let mut c = vec![f32::NAN; m * n];
            product(instructions, &a, &packed, &mut c, Start::Zero);
            check(&c, &vec![0.0; m * n], "product");
            for divide in [Divide::Never, Divide::ByColumns, Divide::ByTiles] {
                c.copy_from_slice(&start);
                product_with(instructions, &a, &packed, &mut c, Start::Sum, &Plain, divide);
                check(&c, &start, "sum with product");
            }
        }
    }
}

/// |âb̂ − ab| ≤ |a|·|b̂ − b| + |b|·|â − a| + |â − a|·|b̂ − b|, summed over the depth, where what is
/// quantised is off by half a step at most.
#[test]
fn products_are_as_close_as_half_steps_allow() {
    for (m, n, k) in SHAPES {
        let (a, b) = (activations(m * k), numbers(n * k, 2));
        let c = multiply(Instructions::new(), &a, &b, k);
        for (i, a) in a.chunks(k).enumerate() {
            for (j, b) in b.chunks(k).enumerate() {
                let (da, db) = (f64::from(naive_row(a).1) / 2.0, f64::from(naive_column(b).1) / 2.0);
                let (mut exact, mut bound) = (0.0, 1e-6);
                for (a, b) in a.iter().zip(b) {
                    let (a, b) = (f64::from(*a), f64::from(*b));
                    exact += a * b;
                    bound += a.abs() * db + b.abs() * da + da * db;
                }
                let error = (f64::from(c[i * n + j]) - exact).abs();
                assert!(error <= 1.001 * bound, "{m}×{n}×{k}, {i}, {j}: off by {error}, bound {bound}");
            }
        }
    }
}

#[test]
fn zero_is_exact_and_the_rest_within_half_a_step() {
    let mut row = activations(77);
    row[5] = 0.0;
    for row in [row.clone(), row.iter().map(|v| v.abs()).collect(), row.iter().map(|v| -v.abs()).collect()] {
        let quantized = Quantized::new(Instructions::new(), &row, row.len());
        let found = quantized.row(0);
        let values = found.groups.iter().flat_map(|group| group.to_ne_bytes());
        for (value, x) in values.zip(&row) {
            let off = found.scale * (i32::from(value) - found.zero) as f32 - x;
            assert!(off.abs() <= 0.5001 * found.scale && (*x != 0.0 || off == 0.0), "{x} is off by {off}");
        }
    }
}

#[test]
fn rows_and_columns_of_zeros_leave_the_start_as_it_is() {
    let (m, n, k) = (5, 19, 33);
    let (mut a, mut b, start) = (activations(m * k), numbers(n * k, 2), numbers(m * n, 3));
    a[2 * k..3 * k].fill(0.0);
    // No scale of these would be a normal number.
    a[3 * k..4 * k].fill(f32::from_bits(100));
    b[7 * k..8 * k].fill(0.0);
    for instructions in Instructions::available() {
        let mut c = start.clone();
        let packed = PackedInt8::transposed(instructions, &b, k, n);
        product(instructions, &a, &packed, &mut c, Start::Sum);
        assert_eq!(c[2 * n..4 * n], start[2 * n..4 * n]);
        assert!((0..m).all(|row| c[row * n + 7] == start[row * n + 7]));
        assert_ne!(c[..n], start[..n]);
    }
}

#[test]
fn what_is_not_finite_stays_visible_in_its_row_or_column_only() {
    let (m, n, k) = (9, 19, 70);
    let (a, b) = (activations(m * k), numbers(n * k, 2));
    for instructions in Instructions::available() {
        let clean = multiply(instructions, &a, &b, k);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (mut a, mut b) = (a.clone(), b.clone());
            // Within what is read at once, and at the end.
            for at in [k, 3 * k + 65, 5 * k - 1, 8 * k + 17] {
                a[at] = bad;
            }
            b[11 * k + 3] = bad;
            let found = multiply(instructions, &a, &b, k);
            for (at, (found, clean)) in found.iter().zip(&clean).enumerate() {
                let is_bad = [1, 3, 4, 8].contains(&(at / n)) || at % n == 11;
                assert!(
                    if is_bad { found.is_nan() } else { found == clean },
                    "{instructions}, {bad}: {found} at {at}, {clean} without it"
                );
            }
        }
    }
}

#[test]
fn the_largest_values_and_sums_fit() {
    let row = [f32::MAX, -f32::MAX, 1.0, 0.0];
    let deep = vec![1.0; 66_311];
    for instructions in Instructions::available() {
        assert!(multiply(instructions, &row, &[1e-3, 0.0, 0.0, 0.0], 4)[0] > 1e35);
        let sum = multiply(instructions, &deep, &deep, deep.len());
        assert!((sum[0] / 66_311.0 - 1.0).abs() < 1e-6, "{instructions}: {sum:?}");
    }
}

#[test]
#[should_panic(expected = "may not fit 32 bits")]
fn sums_that_may_not_fit_are_refused() {
    PackedInt8::transposed(Instructions::new(), &vec![1.0; 66_312], 66_312, 1);
}

#[test]
fn rows_do_not_depend_on_their_neighbours() {
    // More rows than are quantised at a time.
    let (m, n, k) = (300, 50, 90);
    let (a, b) = (activations(m * k), PackedInt8::transposed(Instructions::new(), &numbers(n * k, 2), k, n));
    let (mut whole, mut single) = (vec![0.0; m * n], vec![0.0; m * n]);
    product(Instructions::new(), &a, &b, &mut whole, Start::Zero);
    for (a, c) in a.chunks(k).zip(single.chunks_mut(n)) {
        product(Instructions::new(), a, &b, c, Start::Zero);
    }
    assert_eq!(whole, single);
}
