//! Tiny data, a tiny experiment, and the program to run on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

/// A network that trains 40 steps in a second.
const CONFIG: &str = r#"
seed = 3

[model]
depths = [1, 1]
hidden_sizes = [8, 16]
patch_size = 2

[fcmae]
patch_size = 8
decoder_dim = 16

[data]
path = "data"
image_size = [16, 24]
workers = 2

[optim]
lr = 1e-2
warmup_epochs = 1

[train]
batch_size = 4
accumulate = 2
epochs = 14
checkpoint_every_steps = 4
keep_last = 2

[log]
every_steps = 1
pictures_every_steps = 0
"#;

/// A folder with `tiny.toml` and `data/`, in which the program runs.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tiny.toml"), CONFIG).unwrap();
        for index in 0..26u8 {
            let path = dir.path().join(format!("data/class{}/{index:02}.png", index % 2));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let pixel = |x, y| Rgb([index * 9, (x * 10) as u8, (y * 12) as u8]);
            RgbImage::from_fn(20, 18, pixel).save(path).unwrap();
        }
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train-cli"));
        command.current_dir(self.dir.path()).args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a run that must succeed.
    pub(crate) fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The message of a run that must fail, which is one `error: …` and no panic.
    pub(crate) fn fail(&self, args: &[&str]) -> String {
        failure(&self.run(args), args)
    }

    pub(crate) fn pretrain(&self, run_dir: &str, more: &[&str]) -> Output {
        self.run(&pretrain_args(run_dir, more))
    }
}

/// The message of a failed run.
pub(crate) fn failure(output: &Output, args: &[&str]) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let messages = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(messages, 1, "{stderr}");
    stderr
}

pub(crate) fn pretrain_args<'a>(run_dir: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["pretrain", "--config", "tiny.toml", "--run-dir", run_dir];
    args.extend(more);
    args
}

/// Complete checkpoints of a run, oldest first.
pub(crate) fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
