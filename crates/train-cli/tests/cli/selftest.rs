//! The comparisons of `selftest` hold on the devices of every machine.

use std::process::Output;

use crate::common::{Bench, json};

/// The words of every line but the last, which says how it came out.
fn lines(output: &Output) -> (Vec<Vec<String>>, String) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let verdict = lines.pop().unwrap();
    let words = |line: &String| {
        let (what, _) = line.split_once(':').unwrap();
        what.split(", ").map(|word| word.trim().to_owned()).collect()
    };
    (lines.iter().map(words).collect(), verdict)
}

/// Every comparison of a device holds; which kernels and numbers were compared.
fn holds(device: &str, ways: &[[&str; 2]]) {
    let bench = Bench::new();
    let output = bench.run(&["selftest", "--device", device]);
    let (found, verdict) = lines(&output);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(verdict, format!("{device} computes what the processor does: {} comparisons", found.len()));
    for way in ways {
        let of_way: Vec<_> = found.iter().filter(|line| line.ends_with(&way.map(str::to_owned))).collect();
        assert_eq!(of_way.len(), found.len() / ways.len(), "{way:?}");
        for (check, execution) in [("block", "plain"), ("block", "masked"), ("pretraining", "compact")] {
            let is = |line: &&&Vec<String>| line[0].ends_with(check) && line[1] == execution;
            assert!(of_way.iter().any(|line| is(&line)), "{way:?} {check} {execution}");
        }
    }
}

#[test]
fn the_kernels_of_the_processor_compute_what_the_reference_does() {
    holds("cpu", &[["fused", "f32"]]);
}

#[cfg(feature = "tch")]
#[test]
fn libtorch_computes_what_the_reference_does() {
    holds("libtorch", &[["reference", "f32"], ["fused", "f32"], ["aten", "f32"], ["aten", "bf16"]]);
}

#[test]
fn numbers_are_told_as_json() {
    let bench = Bench::new();
    let report = json(&bench.succeed(&["selftest", "--device", "cpu", "--json"]));
    assert_eq!(
        (&report["device"], &report["ok"], &report["failed"]),
        (&"cpu".into(), &true.into(), &0.into())
    );
    for row in report["checks"].as_array().unwrap() {
        let [rel, tolerance] = ["max_rel", "tolerance"].map(|key| row[key].as_f64().unwrap());
        assert!(rel <= tolerance && row["ok"] == true && row["error"].is_null(), "{row}");
        assert!(row["tensors"].as_u64().unwrap() > 0, "{row}");
    }
}
