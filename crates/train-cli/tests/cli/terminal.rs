//! The program on terminals of several widths.

use std::fs::{self, File};
#[cfg(feature = "hub")]
use std::io::{BufRead, BufReader, Write};
#[cfg(feature = "hub")]
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::common::{Bench, checkpoints, json, pretrain_args};
use crate::pty::Terminal;

/// Columns of the terminals.
const WIDTHS: [u16; 3] = [60, 80, 120];
const CTRL_C: &[u8] = b"\x03";
/// The exit code of a run that was asked to stop.
const STOPPED: Option<i32> = Some(75);
const ENDLESS: [&str; 2] = ["--set", "train.epochs=100000"];

/// Fine-tuning that is evaluated, weights and average.
fn bench() -> Bench {
    let bench = Bench::new();
    let tiny = fs::read_to_string(bench.path("tiny.toml")).unwrap();
    let start = tiny.find("[fcmae]").unwrap();
    let end = tiny.find("[data]").unwrap();
    let finetune = tiny[..start].to_owned()
        + "[finetune]\nema_decay = 0.9\neval_every_epochs = 5\n"
        + &tiny[end..].replace("[data]", "[data]\nval_fraction = 0.3");
    fs::write(bench.path("classes.toml"), finetune).unwrap();
    bench
}

fn finetune<'a>(run: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["finetune", "--config", "classes.toml", "--run-dir", run], more].concat()
}

/// A command in a shell that keeps the terminal when the command has ended, which resets it otherwise, and
/// writes down its modes. Keys are shown as the bytes that they are: `^C` would move the bar, and stay for
/// ever on a line that ends in between.
fn in_a_shell(command: Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        r#"stty -echoctl; trap : INT; "$0" "$@"; code=$?; trap "" INT; stty -a > modes; exit $code"#,
    ]);
    shell.arg(command.get_program()).args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    shell
}

/// Lines are edited, keys shown, and Ctrl-C is a signal, as when the command began.
fn assert_cooked(bench: &Bench) {
    let modes = fs::read_to_string(bench.path("modes")).unwrap();
    for mode in ["icanon", "isig", "echo", "opost"] {
        assert!(modes.split_whitespace().any(|found| found == mode), "{mode}: {modes}");
    }
}

/// What a bar consists of.
fn has_bar(text: &str) -> bool {
    text.contains(['█', '░'])
}

#[test]
fn a_bar_fits_shows_evaluations_and_leaves_nothing_but_their_results() {
    let bench = bench();
    for (width, run) in WIDTHS.iter().zip(["a", "b", "c"]) {
        let command = bench.command(&finetune(run, &[]));
        let mut terminal = Terminal::start(command, *width, Some(Stdio::null()));
        terminal.wait_for(&["timing a few steps"]);
        terminal.wait_for(&["evaluating 0/", "░"]);
        assert_eq!(terminal.end(), Some(0));
        let screen = &terminal.screen;
        assert_eq!(screen.wrapped, Vec::<String>::new(), "{width}");
        let left = screen.text();
        // A line for each of three evaluations; lines that continue it are set in.
        assert_eq!(left.lines().filter(|line| line.starts_with("step ")).count(), 3, "{left}");
        let known =
            |line: &str| ["step ", "health  learning", "  "].iter().any(|begin| line.starts_with(begin));
        assert!(left.lines().all(known), "{left}");
        assert_eq!(left.matches("ema_val_top1 ").count(), 3, "{left}");
        assert!(!has_bar(&left), "{left}");
    }
}

#[test]
fn ctrl_c_ends_a_bar_with_a_checkpoint_and_a_code_of_its_own() {
    let bench = bench();
    for (width, run) in WIDTHS.iter().zip(["a", "b", "c"]) {
        let command = bench.command(&pretrain_args(run, &ENDLESS));
        let mut terminal = Terminal::start(command, *width, None);
        terminal.wait_for(&["░", "loss ", "img/s"]);
        terminal.press(CTRL_C);
        assert_eq!(terminal.end(), STOPPED);
        let left = terminal.screen.text();
        assert!(left.contains("stopping; once more ends at once"), "{left}");
        assert!(left.contains("stopped at step "), "{left}");
        assert!(left.ends_with("continue with the same command and --resume auto"), "{left}");
        assert!(!has_bar(&left) && !left.contains("^C") && !left.contains("img/s"), "{left}");
        let wrapped = &terminal.screen.wrapped;
        assert!(wrapped.iter().all(|line| !has_bar(line) && !line.starts_with("epoch ")), "{wrapped:?}");
        assert_eq!(checkpoints(&bench.path(run)).len().min(1), 1);
    }
}

#[test]
fn ctrl_c_ends_the_dashboard_with_a_checkpoint_and_gives_the_terminal_back() {
    let bench = bench();
    let endless = [&ENDLESS[..], &["--tui", "--set", "finetune.eval_every_epochs=1"]].concat();
    for ((width, run), key) in WIDTHS.iter().zip(["a", "b", "c"]).zip([CTRL_C, b"q", CTRL_C]) {
        let command = in_a_shell(bench.command(&finetune(run, &endless)));
        let mut terminal = Terminal::start(command, *width, None);
        terminal.wait_for(&[
            " training loss  val_loss ",
            " val_top1  ema_val_top1 ",
            "this epoch",
            "whole run",
            "epoch ",
            " of 100000",
            "eta ",
            "lr ",
            "ema_val_loss ",
            "Ctrl-C or q stops with a checkpoint",
        ]);
        assert!(terminal.screen.is_alternate() && !terminal.is_cooked());
        // A key that means nothing.
        terminal.press(b"k");
        terminal.press(key);
        assert_eq!(terminal.end(), STOPPED);
        assert!(!terminal.screen.is_alternate());
        assert_cooked(&bench);
        let left = terminal.screen.text();
        assert!(left.contains("stopped at step ") && !left.contains("this epoch"), "{left}");
        assert!(left.ends_with("continue with the same command and --resume auto"), "{left}");
        assert!(!checkpoints(&bench.path(run)).is_empty());
    }
}

/// As on a file system that hangs: the first Ctrl-C waits for a batch that never comes.
#[test]
fn a_second_ctrl_c_gives_the_terminal_back_and_ends_at_once() {
    for tui in [true, false] {
        let bench = bench();
        let args = pretrain_args("run", &ENDLESS);
        let args = [&args[..], if tui { &["--tui"] } else { &[] }].concat();
        let mut terminal = Terminal::start(in_a_shell(bench.command(&args)), 80, None);
        terminal.wait_for(&["img/s"]);
        let (image, pipe) = (bench.path("data/class0/04.png"), bench.path("pipe"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        fs::rename(&pipe, &image).unwrap();
        // Opens when the run reads from it, and gives it nothing.
        let writer = std::thread::spawn(move || File::options().write(true).open(&image).unwrap());
        while !writer.is_finished() {
            terminal.read(&[]).unwrap();
        }
        loop {
            terminal.press(CTRL_C);
            if terminal.read(&[]).is_none() {
                break;
            }
        }
        assert_eq!(terminal.end(), Some(130));
        assert!(!terminal.screen.is_alternate(), "{tui}");
        assert_cooked(&bench);
        let left = terminal.screen.text();
        assert!(!has_bar(&left) && !left.contains("whole run"), "{left}");
        drop(writer.join().unwrap());
    }
}

/// Commands that take a while, and what they show.
const BUSY: [(&[&str], &str); 6] = [
    (&["eval", "--checkpoint", "run"], "judging ░"),
    (&["predict", "--checkpoint", "run", "data"], "predicting ░"),
    (&["embed", "--checkpoint", "run", "--data", "data", "--out", "features.npy"], "embedding ░"),
    (&["probe", "knn", "--checkpoint", "run", "--data", "divided"], "embedding judged images ░"),
    (&["export", "--checkpoint", "run", "--format", "official", "--out", "pth"], "writing pth"),
    (&["export", "--checkpoint", "run", "--format", "onnx", "--out", "onnx"], "writing onnx"),
];

/// A network, and its images divided into parts.
fn trained() -> Bench {
    let bench = bench();
    bench.succeed(&finetune("run", &[]));
    for index in 0..26 {
        let name = format!("class{}/{index:02}.png", index % 2);
        let part = bench.path("divided").join(if index < 18 { "train" } else { "val" }).join(&name);
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        fs::copy(bench.path("data").join(&name), part).unwrap();
    }
    bench
}

#[test]
fn commands_that_take_a_while_say_how_far_they_are() {
    let bench = trained();
    for (args, shown) in BUSY {
        for (width, out) in WIDTHS.iter().zip(["60", "80", "120"]) {
            let mut terminal =
                Terminal::start(bench.command(&elsewhere(args, out)), *width, Some(Stdio::null()));
            terminal.wait_for(&[shown]);
            assert_eq!(terminal.end(), Some(0), "{args:?}: {}", terminal.screen.text());
            // Sentences may.
            assert!(!terminal.screen.wrapped.iter().any(|line| !line.starts_with("note: ")), "{args:?}");
            assert!(!has_bar(&terminal.screen.text()), "{}", terminal.screen.text());
        }
    }
}

/// Answers as the Hub does to who asks for a repository of one file.
#[cfg(feature = "hub")]
fn hub() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request: Vec<_> = BufReader::new(&stream)
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let answer = match request.first().map(String::as_str).unwrap_or_default() {
                line if line.contains("/tree/") => {
                    r#"[{"type": "file", "path": "model.bin", "size": 7, "oid": "00ff"}]"#.to_owned()
                }
                line if line.contains("/revision/") => format!(r#"{{"sha": "{}"}}"#, "0".repeat(40)),
                _ => "weights".to_owned(),
            };
            let length = answer.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all((head + &answer).as_bytes()).unwrap();
        }
    });
    address
}

#[cfg(feature = "hub")]
#[test]
fn a_download_shows_its_bytes() {
    let bench = Bench::new();
    let address = hub();
    for (width, out) in WIDTHS.iter().zip(["a", "b", "c"]) {
        let mut command = bench.command(&["pull", "user/name", "--out", out]);
        command.env("HF_ENDPOINT", &address).env("HF_HOME", bench.dir.path()).env("NO_PROXY", "*");
        command.env_remove("HF_HUB_OFFLINE");
        let mut terminal = Terminal::start(command, *width, None);
        terminal.wait_for(&["model.bin ░", "0.0/0.0 MB"]);
        assert_eq!(terminal.end(), Some(0));
        assert_eq!(terminal.screen.text(), format!("wrote {out}"));
        assert_eq!(fs::read(bench.path(out).join("model.bin")).unwrap(), b"weights");
    }
}

#[test]
fn pipes_and_the_quiet_see_no_progress() {
    let bench = trained();
    // Enough updates an epoch not to be warned of.
    let train = finetune("quiet", &["--set", "train.accumulate=1"]);
    for (args, shown) in BUSY.iter().chain([&(&train[..], "timing a few steps")]) {
        let piped = bench.run(&elsewhere(args, "piped"));
        assert!(piped.status.success());
        let stderr = String::from_utf8(piped.stderr).unwrap();
        assert!(
            !has_bar(&stderr)
                && !stderr.contains(['\r', '\u{1b}'])
                && !stderr.contains(shown.trim_end_matches(" ░")),
            "{args:?}: {stderr}"
        );
        let quiet = elsewhere(args, "quiet");
        let results = [&quiet[..], &["-q"]].concat();
        let mut terminal = Terminal::start(bench.command(&results), 80, Some(Stdio::null()));
        assert_eq!(terminal.end(), Some(0), "{}", terminal.screen.text());
        assert!(!terminal.is_used, "{args:?}: {}", terminal.screen.text());
    }
}

/// The arguments with another name for what is written.
fn elsewhere<'a>(args: &[&'a str], name: &'a str) -> Vec<&'a str> {
    let mut args = args.to_vec();
    let named = args.iter().position(|arg| *arg == "--out" || *arg == "--run-dir");
    match named.map(|at| (at + 1, args[at + 1])) {
        Some((at, file)) if file.contains('.') => args[at] = Box::leak(format!("{name}-{file}").into()),
        Some((at, folder)) => args[at] = Box::leak(format!("{folder}-{name}").into()),
        None => {}
    }
    args
}

#[test]
fn quiet_runs_print_results_and_verbose_ones_what_was_chosen() {
    let bench = bench();
    let quiet = bench.run(&finetune("quiet", &["--quiet", "--set", "train.accumulate=1"]));
    assert!(quiet.status.success() && quiet.stderr.is_empty());
    let told = String::from_utf8(quiet.stdout).unwrap();
    assert!(told.starts_with("finished at step ") && told.contains("\ncheckpoint   quiet/"), "{told}");
    assert!(!told.contains("parameters"), "a plan: {told}");
    let warned = bench.run(&finetune("warned", &["-q", "--set", "finetune.layer_decay=0.8"]));
    let told = String::from_utf8(warned.stderr).unwrap();
    assert!(told.starts_with("warning: no --init is given"), "{told}");
    // What was asked for is a result.
    assert!(bench.succeed(&finetune("none", &["-q", "--dry-run"])).contains("parameters"));
    let plan = bench.succeed(&finetune("planned", &["-q", "--json", "--set", "train.max_steps=1"]));
    assert_eq!(json(plan.lines().next().unwrap())["total_steps"], 1);

    let verbose = bench.run(&["-v", "eval", "--checkpoint", "quiet", "--json"]);
    assert!(verbose.status.success());
    json(&String::from_utf8(verbose.stdout).unwrap());
    let told = String::from_utf8(verbose.stderr).unwrap();
    for chosen in
        ["device       ", "checkpoint   quiet/checkpoints/best", "evaluation   16×24 pixels", "took  "]
    {
        assert!(told.contains(chosen), "{chosen}: {told}");
    }
    let told = bench.run(&finetune("none", &["-v", "--dry-run"])).stderr;
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("weight decay 0.05: ") && told.contains("stages.0.0.dwconv.weight"), "{told}");
    assert_eq!(bench.run(&finetune("none", &["-v", "-q"])).status.code(), Some(2));
}

#[test]
fn every_file_that_is_written_is_named() {
    let bench = trained();
    let named = |args: &[&str], files: &[&str]| {
        let output = bench.run(args);
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        for file in files {
            assert!(told.contains(file) && bench.path(file).exists(), "{args:?}: {file} in {told}");
        }
    };
    named(&["eval", "--checkpoint", "run", "--confusion", "c.png"], &["c.png", "c.json"]);
    named(&["eval", "--checkpoint", "run", "--confusion", "d.png", "--json"], &["d.png", "d.json"]);
    named(&["predict", "--checkpoint", "run", "data/class0/00.png", "--heatmap", "why.png"], &["why.png"]);
    let onnx = ["export", "--checkpoint", "run", "--format", "onnx", "--out", "onnx"];
    named(&onnx, &["onnx/model.onnx"]);
    let log = ["again/log.jsonl", "again/tensorboard", "again/curves.png", "again/checkpoints/best"];
    named(&finetune("again", &[]), &log);
}

#[test]
fn numbers_of_a_run_that_diverges_stay_short() {
    let bench = bench();
    // Finite, but far from anything.
    let diverging =
        ["--set", "optim.lr=30.0", "--set", "optim.warmup_epochs=0", "--set", "train.max_steps=6"];
    let output = bench.pretrain("run", &diverging);
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let lines: Vec<_> = told.lines().filter(|line| line.contains("loss ")).collect();
    let is_huge = |line: &&str| {
        let losses = line.split("loss ").nth(1).unwrap_or_default().split_whitespace();
        losses.take(3).any(|loss| loss.parse::<f64>().is_ok_and(|loss| loss > 1e6) && loss.contains('e'))
    };
    assert!(lines.iter().any(is_huge), "{told}");
    for line in lines {
        let digits = line.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
        assert!(digits <= Some(6), "{line}");
    }
}
