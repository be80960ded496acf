//! Several processes that train together over Gloo do what one does, also when one of them dies.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::common::{Bench, checkpoints, failure, json};
use crate::resume::assert_same;

/// A fine-tuning experiment without mixup, whose partners depend on who shares a batch.
const FINETUNE: &str = r#"
seed = 2
[model]
depths = [1, 1]
hidden_sizes = [8, 16]
patch_size = 2
drop_path_rate = 0.1
[finetune]
ema_decay = 0.9
[data]
path = "data"
val_fraction = 0.1
image_size = [16, 24]
[augment]
mixup = 0.0
cutmix = 0.0
[optim]
lr = 1e-2
warmup_epochs = 1
[train]
epochs = 14
checkpoint_every_steps = 4
[log]
every_steps = 1
"#;

/// With enough images for batches of 32, twice accumulated.
fn bench() -> Bench {
    let bench = Bench::new();
    fs::write(bench.path("finetune.toml"), FINETUNE).unwrap();
    for index in 26..150u8 {
        let path = bench.path(&format!("data/class{}/{index:03}.png", index % 2));
        let pixel = |x, y| Rgb([index, (x * 10) as u8, (y * 12) as u8]);
        RgbImage::from_fn(20, 18, pixel).save(path).unwrap();
    }
    bench
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

fn rank(bench: &Bench, rank: usize, port: &str, args: &[&str]) -> Command {
    let mut command = bench.command(args);
    command
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", "2")
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port)
        .env("RAYON_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Both ranks of a job, which must succeed; the output of rank 0, and rank 1's, which is silent.
fn together(bench: &Bench, args: &[&str]) -> String {
    let port = free_port();
    let other = rank(bench, 1, &port, args).spawn().unwrap();
    let leader = rank(bench, 0, &port, args).output().unwrap();
    let other = other.wait_with_output().unwrap();
    for output in [&leader, &other] {
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(other.stdout.is_empty(), "{}", String::from_utf8_lossy(&other.stdout));
    String::from_utf8(leader.stdout).unwrap()
}

fn train<'a>(command: &'a str, run: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let config = if command == "pretrain" { "tiny.toml" } else { "finetune.toml" };
    [&[command, "--config", config, "--run-dir", run, "--set", "train.max_steps=20"], more].concat()
}

fn log(bench: &Bench, run: &str) -> Vec<Value> {
    fs::read_to_string(bench.path(run).join("log.jsonl")).unwrap().lines().map(json).collect()
}

/// Losses, norms, rates and evaluations agree, up to the order of sums.
fn assert_alike(one: &[Value], two: &[Value]) {
    assert_eq!(one.len(), two.len());
    for (one, two) in one.iter().zip(two) {
        for name in ["step", "epoch", "lr", "loss", "grad_norm", "val_loss", "val_top1", "ema_val_loss"] {
            let value = |line: &Value| line.get(name).map(|value| value.as_f64().unwrap());
            if let (Some(a), Some(b)) = (value(one), value(two)) {
                assert!((a - b).abs() <= 2e-4 * a.abs().max(1e-3), "{name}: {one} {two}");
            }
            assert_eq!(value(one).is_some(), value(two).is_some());
        }
    }
}

#[test]
fn two_processes_with_half_the_batch_train_as_one() {
    let bench = bench();
    for (command, device, kernels, accumulate) in [
        ("pretrain", "cpu", "fused", "train.accumulate=1"),
        ("pretrain", "cpu", "fused", "train.accumulate=2"),
        ("pretrain", "libtorch", "fused", "train.accumulate=1"),
        ("pretrain", "libtorch", "aten", "train.accumulate=2"),
        ("finetune", "cpu", "fused", "train.accumulate=1"),
        ("finetune", "libtorch", "fused", "train.accumulate=2"),
        ("finetune", "libtorch", "aten", "train.accumulate=1"),
    ] {
        let kernels = format!("model.kernels={kernels}");
        let args = |run, batch| {
            let more = ["--device", device, "--set", &kernels, "--set", accumulate, "--set", batch];
            train(command, run, &more).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let names = [1, 2].map(|count| format!("{command}-{device}-{kernels}-{accumulate}-{count}"));
        let one = args(&names[0], "train.batch_size=32");
        bench.succeed(&one.iter().map(String::as_str).collect::<Vec<_>>());
        let two = args(&names[1], "train.batch_size=16");
        together(&bench, &two.iter().map(String::as_str).collect::<Vec<_>>());
        let [one, two] = [0, 1].map(|i| log(&bench, &names[i]));
        assert!(one.len() >= 20);
        assert_alike(&one, &two);
    }
}

#[test]
fn evaluation_and_features_are_those_of_one_process() {
    let bench = bench();
    bench.succeed(&train("finetune", "run", &["--set", "train.batch_size=16"]));
    // 150 images make batches that do not come out even.
    let eval = ["eval", "--checkpoint", "run", "--data", "data", "--batch", "7", "--json"];
    let report = |text: &str| {
        let mut report = json(text);
        report.as_object_mut().unwrap().remove("img_per_s").unwrap();
        report
    };
    let int8 = [&eval[..], &["--precision", "int8"]].concat();
    for eval in [&eval[..], &int8] {
        assert_eq!(report(&together(&bench, eval)), report(&bench.succeed(eval)));
    }
    let embed = |out| ["embed", "--checkpoint", "run", "--data", "data", "--batch", "7", "--out", out];
    bench.succeed(&embed("one.safetensors"));
    together(&bench, &embed("two.safetensors"));
    let read = |name| fs::read(bench.path(name)).unwrap();
    assert!(read("one.safetensors") == read("two.safetensors"));
}

fn last(bench: &Bench, run: &str) -> PathBuf {
    let checkpoints = checkpoints(&bench.path(run));
    checkpoints.into_iter().find(|path| path.ends_with("step-00000020")).expect("a checkpoint of step 20")
}

/// Reads until the line of a step, then gives the rest to be read.
fn until_step(child: &mut Child, step: u64) -> impl Iterator<Item = String> + use<> {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let wanted = format!("{step}/20");
    assert!(lines.by_ref().any(|line| line.contains(&wanted)), "never reached step {step}");
    lines
}

#[test]
fn a_rank_that_dies_ends_the_others_and_the_job_goes_on_from_its_checkpoint() {
    let bench = bench();
    let small = ["--set", "train.batch_size=8"];
    together(&bench, &train("pretrain", "straight", &small));
    let resume = [&small[..], &["--resume", "auto"]].concat();
    for (dies, run) in [(1, "one"), (0, "zero")] {
        let args = train("pretrain", run, &resume);
        let port = free_port();
        let mut leader = rank(&bench, 0, &port, &args).spawn().unwrap();
        let mut other = rank(&bench, 1, &port, &args).spawn().unwrap();
        let rest = until_step(&mut leader, 9);
        let (stays, message) = if dies == 1 {
            other.kill().unwrap();
            other.wait().unwrap();
            (leader.wait_with_output().unwrap(), rest.collect::<Vec<_>>().join("\n"))
        } else {
            leader.kill().unwrap();
            rest.for_each(drop);
            let stays = other.wait_with_output().unwrap();
            let message = String::from_utf8_lossy(&stays.stderr).into_owned();
            (stays, message)
        };
        assert_eq!(stays.status.code(), Some(1), "{message}");
        assert!(message.contains(&format!("error: rank {dies} did not answer")), "{message}");
        assert!(!message.contains("panicked"), "{message}");
        together(&bench, &args);
        assert_same(&last(&bench, "straight"), &last(&bench, run));
    }
}

/// The process of a rank among the children of `launch`.
fn child_of(launch: &Child, rank: usize) -> String {
    let id = launch.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let is_rank = |child: &&str| {
        let environment = fs::read(format!("/proc/{child}/environ")).unwrap();
        environment.split(|byte| *byte == 0).any(|variable| variable == format!("RANK={rank}").as_bytes())
    };
    children.split_whitespace().find(is_rank).unwrap().to_owned()
}

fn send(signal: &str, process: &str) {
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
}

#[test]
fn launch_starts_again_by_itself_and_stops_in_good_order() {
    let bench = bench();
    let small = ["--set", "train.batch_size=8"];
    together(&bench, &train("pretrain", "straight", &small));
    let start = |run, more: &[&str]| -> Child {
        let args = [&["launch", "--nproc", "2"], more, &["--"], &train("pretrain", run, &small)[..]].concat();
        bench.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut launch = start("restarted", &["--max-restarts", "1"]);
    let rest = until_step(&mut launch, 9);
    send("-KILL", &child_of(&launch, 1));
    let rest: Vec<_> = rest.collect();
    assert_eq!(launch.wait().unwrap().code(), Some(0), "{rest:#?}");
    assert!(rest.iter().any(|line| line.contains("rank 1 ended: signal: 9")), "{rest:#?}");
    assert!(rest.iter().any(|line| line.contains("[0] error: rank 1 did not answer")), "{rest:#?}");
    assert_same(&last(&bench, "straight"), &last(&bench, "restarted"));

    let mut launch = start("stopped", &[]);
    let rest = until_step(&mut launch, 5);
    send("-TERM", &launch.id().to_string());
    rest.for_each(drop);
    assert_eq!(launch.wait().unwrap().code(), Some(75));
    together(&bench, &train("pretrain", "stopped", &[&small[..], &["--resume", "auto"]].concat()));
    assert_same(&last(&bench, "straight"), &last(&bench, "stopped"));
}

#[test]
fn an_error_of_one_rank_is_told_by_the_others() {
    let bench = bench();
    let args = train("pretrain", "run", &["--set", "train.batch_size=8"]);
    bench.succeed(&train("pretrain", "run", &["--set", "train.batch_size=8", "--set", "train.max_steps=1"]));
    let port = free_port();
    let other = rank(&bench, 1, &port, &args).spawn().unwrap();
    let leader = rank(&bench, 0, &port, &args).output().unwrap();
    assert!(failure(&leader, &args).contains("exists already"));
    let other = failure(&other.wait_with_output().unwrap(), &args);
    assert!(other.contains("rank 0 ended: run exists already"), "{other}");
}

/// One process with batches of 32, two with 16, one again with 8, four times; for pretraining and
/// fine-tuning, also where the settings stay and the number of processes alone changes.
#[test]
fn a_run_goes_on_with_other_processes_and_the_same_updates() {
    let bench = bench();
    for command in ["pretrain", "finetune"] {
        let args = |run, batch, accumulate, more: &[&'static str]| {
            let split = ["--set", batch, "--set", accumulate, "--resume", "auto"];
            let all = [&split[..], more].concat();
            train(command, run, &all).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        // The end of each part is evaluated and looked at, that of an epoch that goes on is not.
        let losses = |run: &str| -> Vec<_> {
            log(&bench, run).into_iter().filter(|line| line.get("loss").is_some()).collect()
        };
        let [straight, run, followed] = ["straight", "run", "followed"].map(|run| format!("{command}-{run}"));
        let at = |steps: &'static str| ["--set", steps];
        let one = |args: Vec<String>| bench.succeed(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let two = |args: Vec<String>| together(&bench, &args.iter().map(String::as_str).collect::<Vec<_>>());
        one(args(&straight, "train.batch_size=32", "train.accumulate=1", &[]));
        one(args(&run, "train.batch_size=32", "train.accumulate=1", &at("train.max_steps=6")));
        let told = two(args(&run, "train.batch_size=16", "train.accumulate=1", &at("train.max_steps=13")));
        assert!(told.contains("an update keeps its 32 images"), "{told}");
        one(args(&run, "train.batch_size=8", "train.accumulate=4", &[]));
        assert_alike(&losses(&straight), &losses(&run));
        // Begun by two, and gone on with by one that was told nothing else.
        two(args(&followed, "train.batch_size=16", "train.accumulate=1", &at("train.max_steps=7")));
        let told = one(args(&followed, "train.batch_size=16", "train.accumulate=1", &[]));
        assert!(told.contains("train.batch_size=16 and train.accumulate=2 of one process"), "{told}");
        assert_alike(&losses(&straight), &losses(&followed));
    }
}

/// What tries NCCL on a machine with one GPU, here with Gloo: sums of one are what went in.
#[test]
fn a_group_of_one_trains_as_a_process_without_a_group() {
    let bench = bench();
    let small = ["--set", "train.batch_size=8"];
    bench.succeed(&train("pretrain", "alone", &small));
    let args = [&["launch", "--nproc", "1", "--"][..], &train("pretrain", "group", &small)].concat();
    let group = bench.command(&args).env("DISTRIBUTED_GROUP_OF_ONE", "1").output().unwrap();
    assert!(group.status.success(), "{}", String::from_utf8_lossy(&group.stderr));
    assert_same(&last(&bench, "alone"), &last(&bench, "group"));
}

#[test]
fn a_gpu_that_is_not_there_is_the_only_complaint_of_all_ranks() {
    let bench = bench();
    let args = train("pretrain", "run", &["--device", "cuda:99"]);
    let port = free_port();
    let other = rank(&bench, 1, &port, &args).spawn().unwrap();
    let leader = failure(&rank(&bench, 0, &port, &args).output().unwrap(), &args);
    let other = failure(&other.wait_with_output().unwrap(), &args);
    for message in [leader, other] {
        assert!(message.contains("--device cuda:99: "), "{message}");
        assert!(!message.contains("NCCL"), "{message}");
    }
}

#[test]
fn ranks_that_do_not_meet_say_where() {
    let bench = bench();
    let args = train("pretrain", "run", &[]);
    let alone = |number, port: &str| -> Output {
        rank(&bench, number, port, &args).env("DISTRIBUTED_TIMEOUT_S", "1").output().unwrap()
    };
    let port = free_port();
    let unreachable = failure(&alone(1, &port), &args);
    assert!(unreachable.contains(&format!("rank 0 cannot be reached at 127.0.0.1:{port} within 1 s")));
    let missing = failure(&alone(0, &port), &args);
    assert!(missing.contains(&format!("rank 1 did not come to 127.0.0.1:{port} within 1 s")), "{missing}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = failure(&alone(0, &port), &args);
    assert!(refused.contains(&format!("cannot listen at 127.0.0.1:{port}")), "{refused}");
    assert!(refused.contains("MASTER_PORT"), "{refused}");
    assert!(!Path::new(&bench.path("run")).exists(), "a run directory was left behind");
}
