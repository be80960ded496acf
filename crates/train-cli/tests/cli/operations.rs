//! How much a step asks of libtorch: a GPU would wait for the processor if it were more.

use crate::common::{Bench, json};

/// Operations, copies and synchronising operations of a step of `bench`.
fn of_a_step(args: &[&str]) -> [u64; 3] {
    let always = ["--device", "libtorch", "--set", "model.kernels=aten", "--steps", "1", "--ops", "--json"];
    let found = json(&Bench::new().succeed(&[&["bench"], args, &always].concat()));
    ["ops", "copies", "synchronising"].map(|key| found[key].as_u64().unwrap())
}

#[test]
fn a_step_dispatches_few_operations_and_waits_for_none() {
    for (args, most) in [
        (&["pretrain"][..], 750),
        (&["pretrain", "--set", "train.precision=bf16"], 850),
        (&["finetune"], 750),
        (&["finetune", "--set", "train.precision=bf16"], 850),
    ] {
        let [ops, copies, synchronising] = of_a_step(&[args, &["--batch-size", "2"]].concat());
        assert!(ops > 100 && ops <= most, "{args:?}: {ops} operations, at most {most}");
        assert_eq!(synchronising, 0, "{args:?}");
        assert!(copies <= 2, "{args:?}: {copies} copies");
    }
}

#[test]
fn gradients_of_a_processor_do_not_travel_in_bf16() {
    let bench = Bench::new();
    let args =
        ["pretrain", "--config", "tiny.toml", "--run-dir", "run", "--set", "train.reduce_precision=bf16"];
    let message = bench.fail(&args);
    assert!(message.contains("train.reduce_precision") && !bench.path("run").exists(), "{message}");
    let aten = ["--device", "libtorch", "--set", "model.kernels=aten", "--set", "train.max_steps=1"];
    bench.succeed(&[&args[..], &aten].concat());
}

#[test]
fn the_table_has_every_part() {
    let args = ["bench", "pretrain", "--batch-size", "2", "--steps", "1", "--ops", "--device", "libtorch"];
    let message = Bench::new().fail(&args);
    assert!(message.contains("model.kernels=aten"), "{message}");
    let table = Bench::new().succeed(&[&args[..], &["--set", "model.kernels=aten"]].concat());
    let row = |name: &str| {
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(name)).expect(name);
        row.split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect::<Vec<u64>>()
    };
    let [forward, backward, optimizer, all] = row("all")[..] else { panic!("{table}") };
    assert_eq!(forward + backward + optimizer, all);
    // Once for the parameters that decay, and once for the others.
    assert_eq!(row("aten::_fused_adamw_"), [0, 0, 2, 2]);
    assert_eq!(row("synchronising"), [0, 0, 0, 0]);
}
