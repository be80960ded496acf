//! `--precision`: 8-bit products where they can be had, and whether they pay here.

use anyhow::{Result, anyhow};
use kernels::gemm::{int8, peak_gflops};
use model::{Format, Unprepared};

use crate::args::PrecisionName;
use crate::output::{Verbosity, detail, note, verbosity};

impl PrecisionName {
    /// What networks multiply.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::Int8 => Format::Int8,
        }
    }
}

/// A network that `prepare` makes in the precision asked for. In 8 bits, the process that speaks for all measures
/// whether they are faster here.
pub(crate) fn prepared<T>(
    precision: PrecisionName,
    speaks: bool,
    prepare: impl FnOnce(Format) -> Result<T, Unprepared>,
) -> Result<T> {
    let prepared = prepare(precision.format()).map_err(refusal)?;
    if precision == PrecisionName::Int8 && speaks && verbosity() > Verbosity::Quiet {
        let (int8, f32) = (int8::peak_gops(), peak_gflops());
        detail!("products     {}", figures(int8, f32));
        warning(int8, f32).iter().for_each(|warning| note!("{warning}"));
    }
    Ok(prepared)
}

fn figures(int8: f64, f32: f64) -> String {
    format!("{int8:.0} billion operations a second in 8 bits, {f32:.0} in f32")
}

/// What is said where 8 bits do not pay, by billions of operations a second.
fn warning(int8: f64, f32: f64) -> Option<String> {
    (int8 < f32).then(|| {
        let figures = figures(int8, f32);
        format!("note: --precision int8 is not faster on this processor, whose products do {figures}; outputs are the same")
    })
}

/// What a user can do about it.
pub(crate) fn refusal(reason: Unprepared) -> anyhow::Error {
    let instead = match reason {
        Unprepared::Kernels => {
            "set model.kernels = \"fused\" in the checkpoint's config.toml, or leave --precision out"
        }
        Unprepared::Activation => "leave --precision out to compute it in f32",
        Unprepared::Device => "give --device cpu, or leave --precision out",
    };
    anyhow!(
        "--precision int8 takes a network that our kernels compute on the processor, but {reason}; {instead}"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn slower_products_are_said_with_both_figures() {
        let told = warning(40.2, 160.0).unwrap();
        assert!(told.contains("40 billion operations a second in 8 bits, 160 in f32"), "{told}");
        assert_eq!(warning(600.0, 160.0), None);
    }

    #[test]
    fn every_refusal_says_why_and_what_to_do() {
        for reason in [Unprepared::Kernels, Unprepared::Activation, Unprepared::Device] {
            let told = refusal(reason).to_string();
            assert!(told.contains(&reason.to_string()) && told.contains("leave --precision out"), "{told}");
        }
    }
}
