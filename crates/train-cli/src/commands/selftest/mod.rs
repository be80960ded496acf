//! `train-cli selftest`: whether a device computes what the processor does.

mod compare;
mod networks;
mod numbers;
mod operations;
mod optimizer;
mod ways;

use std::process::ExitCode;

use anyhow::Result;
use host::DeviceName;
use model::Kernels;
use serde::Serialize;

use self::compare::{Difference, compare};
use self::operations::Found;
use self::ways::{Numbers, Run, Way};
use crate::args::SelftestArgs;
use crate::output::{self, out};
use crate::world::computing;

/// Something that is computed on a device and on the processor.
struct Check {
    what: &'static str,
    runs: &'static [Run],
    compute: fn(&Way, Run) -> Result<Found>,
}

const PLAIN: &[Run] = &[Run::Plain];

/// All that is compared.
const CHECKS: &[Check] = &[
    Check { what: "LayerNorm", runs: PLAIN, compute: operations::layer_norm },
    Check { what: "linear layer", runs: PLAIN, compute: operations::linear },
    Check { what: "GELU", runs: PLAIN, compute: operations::gelu },
    Check { what: "GRN", runs: Run::ALL, compute: operations::grn },
    Check { what: "strided convolution", runs: Run::ALL, compute: operations::strided_convolution },
    Check { what: "block", runs: Run::ALL, compute: operations::block },
    Check { what: "patch loss", runs: PLAIN, compute: networks::patch_loss },
    Check { what: "cross-entropy", runs: PLAIN, compute: operations::cross_entropy },
    Check { what: "norm and clipping", runs: PLAIN, compute: operations::clipping },
    Check { what: "moving average", runs: PLAIN, compute: operations::moving_average },
    Check { what: "AdamW", runs: PLAIN, compute: operations::adamw },
    Check { what: "pretraining", runs: Run::MASKED, compute: networks::pretraining },
    Check { what: "pretraining, 3 steps", runs: Run::MASKED, compute: networks::pretraining_steps },
    Check { what: "classifier", runs: PLAIN, compute: networks::classifier },
    Check { what: "classifier, 3 steps", runs: PLAIN, compute: networks::classifier_steps },
];

/// A comparison.
#[derive(Debug, Serialize)]
struct Row {
    check: &'static str,
    execution: Run,
    kernels: Kernels,
    precision: Numbers,
    /// How many outputs, gradients, losses and weights were compared.
    tensors: usize,
    #[serde(flatten)]
    difference: Difference,
    tolerance: f64,
    /// Why nothing was computed.
    error: Option<String>,
    ok: bool,
}

/// What `--json` prints, in one line.
#[derive(Serialize)]
struct Report {
    device: String,
    checks: Vec<Row>,
    failed: usize,
    ok: bool,
}

pub(crate) fn run(args: &SelftestArgs) -> Result<ExitCode> {
    let device = args.device.name.device()?;
    let name = DeviceName::of(&device);
    let ways = Way::all_of(&device);
    let mut checks = Vec::new();
    for check in CHECKS {
        for run in check.runs {
            let expected = (check.compute)(&Way::reference(), *run)?;
            for way in &ways {
                let row = row(check, *run, way, &expected, name);
                if !args.json {
                    out!("{}", line(&row));
                }
                checks.push(row);
            }
        }
    }
    let failed = checks.iter().filter(|row| !row.ok).count();
    let report = Report { device: name.to_string(), failed, ok: failed == 0, checks };
    match (args.json, failed) {
        (true, _) => output::json(&report)?,
        (false, 0) => out!("{name} computes what the processor does: {} comparisons", report.checks.len()),
        (false, _) => out!("{name} FAILED {failed} of {} comparisons", report.checks.len()),
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn row(check: &Check, run: Run, way: &Way, expected: &Found, device: DeviceName) -> Row {
    let found = computing(device, || {
        way.prepare()?;
        host::compute_on(&way.device, || (check.compute)(way, run))
    });
    let (difference, error) = match found {
        Ok(found) => (compare(&found, expected), None),
        Err(error) => (Difference::default(), Some(format!("{error:#}"))),
    };
    let tolerance = tolerance(way.numbers);
    Row {
        check: check.what,
        execution: run,
        kernels: way.compute.kernels,
        precision: way.numbers,
        tensors: expected.len(),
        ok: error.is_none() && difference.max_rel <= tolerance,
        difference,
        tolerance,
        error,
    }
}

/// The difference that is allowed, as a share of a tensor's largest value. f32 has 24 bits, and sums in
/// another order lose a few of them; TF32 multiplies by 11 bits and bf16 by 8, which add up over layers.
fn tolerance(numbers: Numbers) -> f64 {
    match numbers {
        Numbers::F32 => 1e-4,
        Numbers::Tf32 => 1e-2,
        Numbers::Bf16 => 1e-1,
    }
}

/// `ok      block, compact, fused, f32: 3.1e-7 absolute, 2.0e-7 of the largest value (at most 1e-4)`.
fn line(row: &Row) -> String {
    let words =
        [row.check.to_owned(), in_word(&row.execution), in_word(&row.kernels), in_word(&row.precision)];
    let (verdict, what) = (if row.ok { "ok    " } else { "FAILED" }, words.join(", "));
    let Difference { max_abs, max_rel, worst } = &row.difference;
    match &row.error {
        Some(error) => format!("{verdict}  {what}: {error}"),
        None => format!(
            "{verdict}  {what}: {max_abs:.1e} absolute, {max_rel:.1e} relative (at most {:.0e}), {}",
            row.tolerance,
            worst.as_deref().unwrap_or_default()
        ),
    }
}

/// A value of a configuration as it is written there.
fn in_word(value: &impl Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_was_compared_and_how_it_came_out() {
        let difference = Difference { max_abs: 2e-3, max_rel: 1e-3, worst: Some("output".to_owned()) };
        let row = Row {
            check: "block",
            execution: Run::Compact,
            kernels: Kernels::Fused,
            precision: Numbers::F32,
            tensors: 3,
            difference,
            tolerance: 1e-4,
            error: None,
            ok: false,
        };
        let expected =
            "FAILED  block, compact, fused, f32: 2.0e-3 absolute, 1.0e-3 relative (at most 1e-4), output";
        assert_eq!(line(&row), expected);
        let broken = Row { error: Some("cuda:0 has failed".to_owned()), ..row };
        assert_eq!(line(&broken), "FAILED  block, compact, fused, f32: cuda:0 has failed");
    }

    /// A device that computes something else is found out.
    #[test]
    fn what_differs_fails() {
        let check = Check { what: "x", runs: PLAIN, compute: |_, _| Ok(vec![("a".to_owned(), vec![1.0])]) };
        let row = |expected: f32| {
            let expected = vec![("a".to_owned(), vec![expected])];
            row(&check, Run::Plain, &Way::reference(), &expected, DeviceName::Cpu).ok
        };
        assert_eq!([row(1.0), row(1.001), row(f32::NAN)], [true, false, false]);
        let check = Check { what: "x", runs: PLAIN, compute: |_, _| anyhow::bail!("no such operation") };
        let failed = super::row(&check, Run::Plain, &Way::reference(), &Vec::new(), DeviceName::Cpu);
        assert_eq!((failed.ok, failed.error.as_deref()), (false, Some("no such operation")));
    }
}
