//! What a run directory holds.

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use checkpoint::{CONFIG_FILE, CheckpointError, Recipe, RunDir, RunState, STATE_FILE, read_state};
use data::{IMAGES_FILE, ImageList};
use serde::Serialize;
use serde_json::Value;
use trainer::{History, MACHINE_FILE, RESULTS_FILE, RunMachine, TrainError};

use crate::curve::{Curve, curves};
use crate::error::ReportError;
use crate::health::Health;
use crate::images::Images;
use crate::judgement::Judgement;
use crate::plan::{Plan, Stored};
use crate::samples::{self, Sample};
use crate::status::{Status, score_name};

/// Bytes of a configuration that are shown.
const SHOWN: usize = 60_000;

/// What a run is trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Hidden patches of images.
    #[serde(rename = "pretraining")]
    Pretraining,
    /// Classes, labels or numbers.
    #[serde(rename = "fine-tuning")]
    FineTuning,
}

/// What a run directory holds, as far as it is there.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// What the run is called.
    name: String,
    path: String,
    /// What it is trained for, where its configuration says it.
    kind: Option<Kind>,
    status: Status,
    pub(crate) curves: Vec<Curve>,
    pub(crate) health: Option<Health>,
    plan: Option<Plan>,
    images: Option<Images>,
    config: Option<String>,
    machine: Option<RunMachine>,
    judgement: Option<Judgement>,
    /// Pictures that there are, of which the page may show fewer.
    sample_count: usize,
    #[serde(skip)]
    pub(crate) samples: Vec<Sample>,
    /// Whether the network tells one class an image.
    #[serde(skip)]
    tells_classes: bool,
    /// What is not there, a sentence each.
    missing: Vec<String>,
}

impl Run {
    /// Reads a run directory, whatever state the run is in; what is not there or damaged is named in
    /// [`missing`](Self::missing).
    ///
    /// # Errors
    /// It is not the directory of a run.
    pub fn read(path: &Path, name: String) -> Result<Self, ReportError> {
        if path.join(STATE_FILE).is_file() {
            return Err(ReportError::Checkpoint(path.to_owned()));
        }
        let run = RunDir::of_leader(path);
        let config = path.join(CONFIG_FILE);
        if RunDir::open(path).is_err() && !config.is_file() && !run.log().is_file() {
            return Err(CheckpointError::NoRun(path.to_owned()).into());
        }
        let mut reader = Reader::default();
        let lines = reader.log(path);
        let results: Option<Value> = reader.json(&path.join(RESULTS_FILE));
        let machine: Option<RunMachine> = reader.json(&path.join(MACHINE_FILE));
        let state = reader.state(&run);
        let (text, kind, stored) = reader.configuration(&config);
        let list = reader.images(path);
        let samples = samples::list(&run.samples());
        if samples.is_empty() && kind != Some(Kind::FineTuning) {
            reader.missing.push("reconstructions: the run has drawn no pictures yet".to_owned());
        }
        let curves = curves(&lines);
        let images = list.map(|list| Images::of(&list, stored.as_ref()));
        let processes =
            state.as_ref().map(|state| state.processes).or(machine.as_ref().map(|machine| machine.processes));
        let plan =
            stored.as_ref().map(|stored| stored.plan(images.as_ref().map(|images| images.train), processes));
        let problem = stored.as_ref().and_then(Stored::problem);
        let mut status = Status::of(&run, results.as_ref(), state.as_ref(), &curves);
        status.score_name = score_name(problem);
        Ok(Self {
            name,
            path: data::shown(path),
            kind,
            status,
            curves,
            health: Health::of(&lines),
            plan,
            images,
            config: text,
            machine,
            judgement: None,
            sample_count: samples.len(),
            samples,
            tells_classes: problem == Some(finetune::ProblemType::SingleLabelClassification),
            missing: reader.missing,
        })
    }

    /// What the run is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is trained for, where its configuration says it.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Whether its network tells one class an image, and so can be [judged](Self::judged) here.
    pub fn tells_classes(&self) -> bool {
        self.tells_classes
    }

    /// Adds how well its network does, or why that is not known.
    pub fn judged(&mut self, judgement: Result<Judgement, String>) {
        match judgement {
            Ok(judgement) => self.judgement = Some(judgement),
            Err(reason) => self.missing.push(format!("confusion and wrong images: {reason}")),
        }
    }

    /// What is not there, a sentence each.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    pub(crate) fn lacks(&mut self, what: String) {
        self.missing.push(what);
    }
}

/// Reads files of a run and notes those that are not there.
#[derive(Default)]
struct Reader {
    missing: Vec<String>,
}

impl Reader {
    fn lacks(&mut self, what: &str, reason: impl Display) {
        self.missing.push(format!("{what}: {reason}"));
    }

    fn log(&mut self, path: &Path) -> Vec<Value> {
        match History::read(path) {
            Ok(history) => return history.into_lines(),
            Err(TrainError::NoLog(_)) => self.lacks("curves", "there is no log.jsonl"),
            Err(TrainError::EmptyLog(_)) => self.lacks("curves", "log.jsonl has nothing to draw yet"),
            Err(error) => self.lacks("curves", error),
        }
        Vec::new()
    }

    /// A file of JSON.
    fn json<T: serde::de::DeserializeOwned>(&mut self, path: &Path) -> Option<T> {
        let name = path.file_name().map_or_else(String::new, data::shown);
        match fs::read(path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => return Some(value),
                Err(error) => self.lacks(&name, format_args!("it is damaged: {error}")),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => self.lacks(&name, absent(&name)),
            Err(error) => self.lacks(&name, format_args!("it cannot be read: {error}")),
        }
        None
    }

    /// What the newest checkpoint says of the run.
    fn state(&mut self, run: &RunDir) -> Option<RunState> {
        let Some(newest) = run.latest_checkpoint() else {
            self.lacks("checkpoints", "the run has none yet");
            return None;
        };
        read_state(&newest).map_err(|error| self.lacks("checkpoints", error)).ok()
    }

    /// The text of the configuration, what it is for, and the configuration itself.
    fn configuration(&mut self, path: &Path) -> (Option<String>, Option<Kind>, Option<Stored>) {
        let recipe = match Recipe::load(path) {
            Ok(recipe) => recipe,
            Err(error) => {
                match path.exists() {
                    true => self.lacks("configuration and plan", error),
                    false => self.lacks("configuration and plan", "there is no config.toml"),
                }
                return (None, None, None);
            }
        };
        let text = Some(shortened(recipe.to_toml()));
        let kind = match (recipe.has("finetune"), recipe.has("fcmae")) {
            (true, _) => Kind::FineTuning,
            (false, true) => Kind::Pretraining,
            (false, false) => {
                self.lacks("plan", "config.toml is of another experiment than pretraining and fine-tuning");
                return (text, None, None);
            }
        };
        let stored = Stored::read(path, kind == Kind::FineTuning);
        (text, Some(kind), stored.map_err(|error| self.lacks("plan", error)).ok())
    }

    fn images(&mut self, path: &Path) -> Option<ImageList> {
        match ImageList::read(&path.join(IMAGES_FILE)) {
            Ok(Some(list)) => return Some(list),
            Ok(None) => self.lacks("images", format_args!("there is no {IMAGES_FILE}")),
            Err(error) => self.lacks("images", error),
        }
        None
    }
}

/// Why a run may have no such file.
fn absent(name: &str) -> &'static str {
    match name {
        RESULTS_FILE => "there is none; a run writes it at its end, unless it fails or is killed",
        _ => "there is none; runs that an earlier program began have not got it",
    }
}

/// A text that may be of any length, as far as it is shown.
fn shortened(mut text: String) -> String {
    if text.len() > SHOWN {
        let (all, end) = (text.len(), text.floor_char_boundary(SHOWN));
        text.truncate(end);
        text.push_str(&format!("\n# … and {} more bytes, which config.toml has", all - end));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{LIMIT, page};
    use crate::testing::{Folder, data_of};
    use serde_json::json;

    #[test]
    fn a_finished_run_is_there_with_everything() {
        let folder = Folder::new();
        folder.full();
        let page = page(vec![folder.read()], LIMIT).unwrap();
        assert_eq!(page.missing, Vec::<String>::new());
        let run = &data_of(&page.html)["runs"][0];
        assert_eq!((&run["name"], &run["kind"]), (&json!("run"), &json!("pretraining")));
        let status = &run["status"];
        assert_eq!(
            (&status["outcome"], &status["total_steps"], &status["seconds"]),
            (&json!("finished"), &json!(4), &json!(3.5))
        );
        assert_eq!(run["curves"][0], json!({"of": "loss", "points": [[2, 1.0, 1.5], [4, 2.0, 0.5]]}));
        assert_eq!(
            (&run["health"]["verdict"], &run["health"]["reason"]),
            (&json!("learning"), &json!("it falls"))
        );
        assert_eq!(run["images"]["classes"], json!([["cat", 2, 0], ["dog", 3, 0]]));
        // One batch of four of the five images an epoch.
        assert_eq!((&run["plan"]["total_steps"], &run["plan"]["effective_batch"]), (&json!(5), &json!(4)));
        assert_eq!(
            (&run["machine"]["cpu"], &run["samples"][0]["epoch"]),
            (&json!("a processor"), &json!(2.0))
        );
        assert!(run["config"].as_str().unwrap().contains("image_size = 16"));
    }

    /// Whichever file is gone: the page is made, and names what is missing.
    #[test]
    fn each_file_may_be_missing_and_is_named() {
        for (file, named) in [
            ("config.toml", "configuration and plan: there is no config.toml"),
            ("log.jsonl", "curves: there is no log.jsonl"),
            ("results.json", "results.json: there is none; a run writes it at its end"),
            ("machine.json", "machine.json: there is none; runs that an earlier program began"),
            ("images.csv.gz", "images: there is no images.csv.gz"),
            ("checkpoints", "checkpoints: the run has none yet"),
            ("samples", "reconstructions: the run has drawn no pictures yet"),
        ] {
            let folder = Folder::new();
            folder.full();
            let path = folder.path().join(file);
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.unwrap();
            let page = page(vec![folder.read()], LIMIT).unwrap();
            assert!(
                page.missing.len() == 1 && page.missing[0].starts_with(named),
                "{file}: {:?}",
                page.missing
            );
        }
    }

    #[test]
    fn damaged_files_are_named_with_the_reason() {
        for (file, bytes, named) in [
            ("config.toml", &b"[model"[..], "configuration and plan: "),
            ("config.toml", b"[fcmae]\nmask_ratio = \"x\"\n", "plan: "),
            ("config.toml", b"[own]\nkey = 1\n", "plan: config.toml is of another experiment"),
            ("log.jsonl", b"{]\n{}\n", "curves: "),
            ("log.jsonl", b"", "curves: log.jsonl has nothing to draw yet"),
            ("results.json", b"{\"outcome\"", "results.json: it is damaged: "),
            ("machine.json", b"{\"cores\": \"two\"}", "machine.json: it is damaged: "),
            ("images.csv.gz", b"no gzip", "images: "),
            ("checkpoints/step-00000004/state.json", b"{", "checkpoints: "),
            (
                "samples/step-00000004.png",
                b"no picture",
                "reconstructions: a picture cannot be read: step-00000004.png: ",
            ),
        ] {
            let folder = Folder::new();
            folder.full();
            fs::write(folder.path().join(file), bytes).unwrap();
            let page = page(vec![folder.read()], LIMIT).unwrap();
            assert!(page.missing.iter().any(|what| what.starts_with(named)), "{file}: {:?}", page.missing);
        }
    }

    #[test]
    fn a_run_under_way_says_how_far_it_is() {
        let folder = Folder::new();
        folder.full();
        fs::remove_file(folder.path().join("results.json")).unwrap();
        folder.append("log.jsonl", "{\"step\": 6, \"epoch\": 3.0, \"loss\": 0.4}\n{\"step\": 8, \"lo");
        let run = &data_of(&page(vec![folder.read()], LIMIT).unwrap().html)["runs"][0];
        let status = &run["status"];
        assert_eq!(
            (&status["outcome"], &status["step"], &status["epoch"]),
            (&json!("open"), &json!(6), &json!(3.0))
        );
        assert!(status["last_line"].as_u64().unwrap() > 1_700_000_000);
    }

    #[test]
    fn a_directory_that_has_just_been_made_is_a_run_and_another_is_none() {
        let folder = Folder::new();
        let found = page(vec![folder.read()], LIMIT).unwrap();
        assert_eq!(found.missing.len(), 7, "{:?}", found.missing);
        let dir = tempfile::tempdir().unwrap();
        let error = Run::read(dir.path(), "x".to_owned()).unwrap_err().to_string();
        assert!(error.contains("is not the directory of a run"), "{error}");
    }

    #[test]
    fn long_configurations_are_cut_and_say_so() {
        let cut = shortened("ü".repeat(40_000));
        assert!(
            cut.len() < 60_100 && cut.ends_with("\n# … and 20000 more bytes, which config.toml has"),
            "{}",
            cut.len()
        );
        assert_eq!(shortened("a".to_owned()), "a");
    }
}
