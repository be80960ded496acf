//! A run directory for tests.

use std::fs;
use std::path::Path;

use checkpoint::{Position, RunDir, RunState, write_checkpoint};
use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::run::Run;

const CONFIG: &str = "seed = 3\n[model]\ndepths = [1, 1]\nhidden_sizes = [8, 16]\npatch_size = 2\n[fcmae]\n\
                      patch_size = 8\n[data]\npath = \"photos\"\nimage_size = 16\n[train]\nbatch_size = 4\nepochs = 5\n";

/// A run directory called `run`, with what a test puts into it.
pub(crate) struct Folder {
    dir: TempDir,
    run: RunDir,
}

impl Folder {
    /// With its folders and nothing in them.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        Self { dir, run }
    }

    pub(crate) fn path(&self) -> &Path {
        self.run.path()
    }

    pub(crate) fn read(&self) -> Run {
        Run::read(self.path(), "run".to_owned()).unwrap()
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, before + text).unwrap();
    }

    /// Every file that a finished run leaves, with one picture.
    pub(crate) fn full(&self) {
        let path = self.path();
        fs::write(path.join("config.toml"), CONFIG).unwrap();
        let line = |step: u64, loss: f64| json!({"step": step, "epoch": step as f64 / 2.0, "loss": loss, "lr": 1e-3});
        let verdict =
            json!({"verdict": "learning", "reason": "it falls", "distance": [0.4, 0.3], "knn": 0.5});
        let health = json!({"step": 4, "epoch": 2.0, "health": verdict});
        fs::write(path.join("log.jsonl"), format!("{}\n{}\n{health}\n", line(2, 1.5), line(4, 0.5))).unwrap();
        let results = json!({"outcome": "finished", "step": 4, "total_steps": 4, "epoch": 2.0, "epochs": 2,
            "best": null, "seconds": 3.5, "skipped_images": 0, "version": "0.1.0"});
        fs::write(path.join("results.json"), results.to_string()).unwrap();
        fs::write(
            path.join("machine.json"),
            json!({"cpu": "a processor", "cores": 2, "processes": 1}).to_string(),
        )
        .unwrap();
        let images = self.dir.path().join("photos");
        for (class, index) in [("cat", 0), ("cat", 1), ("dog", 2), ("dog", 3), ("dog", 4)] {
            fs::create_dir_all(images.join(class)).unwrap();
            RgbImage::new(8, 8).save(images.join(class).join(format!("{index}.png"))).unwrap();
        }
        let source = data::source::ImageFolder::open(&images, data::Labels::Required).unwrap();
        let list = data::ImageList::of(&images, &source, None);
        fs::write(path.join("images.csv.gz"), list.to_bytes().unwrap()).unwrap();
        let position = Position { step: 4, epoch: 2, batch: 0 };
        let state = RunState { position, ..RunState::default() };
        write_checkpoint(&self.run, &state, |_| Ok(())).unwrap();
        noise(60, 40, 1).save(self.run.samples().join("step-00000004.png")).unwrap();
    }

    /// So many pictures of one size, of steps from 1 on.
    pub(crate) fn pictures(&self, count: u64, width: u32, height: u32) {
        let folder = self.run.samples();
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        let first = folder.join("step-00000001.png");
        noise(width, height, 7).save(&first).unwrap();
        for step in 2..=count {
            fs::copy(&first, folder.join(format!("step-{step:08}.png"))).unwrap();
        }
    }
}

/// A picture that hardly compresses.
pub(crate) fn noise(width: u32, height: u32, seed: u32) -> RgbImage {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    RgbImage::from_fn(width, height, |_, _| Rgb([next(), next(), next()]))
}

/// The data of a page, as its script reads them.
pub(crate) fn data_of(html: &str) -> Value {
    let (_, rest) = html.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}
