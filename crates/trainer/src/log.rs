//! The records of a run: `log.jsonl` and TensorBoard events.

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use image::{ImageFormat, RgbImage};
use protobuf::Message;
use serde::Serialize;
use serde_json::{Value, json};
use tensorboard_proto::event::{Event, SessionLog, SessionLog_SessionStatus};
use tensorboard_proto::summary::{Summary, Summary_Image, Summary_Value};
use tensorboard_rs::record_writer::RecordWriter;

use crate::appended::Appended;
use crate::error::TrainError;
use crate::health::Look;
use crate::progress::{Screen, StepReport};
use checkpoint::{CheckpointError, RunDir};

/// Both records of a run, open for appending. What cannot be written to them does not stop the run.
pub struct RunLog {
    jsonl: Appended,
    tensorboard: TensorBoard,
}

impl RunLog {
    /// Opens the records of a run that goes on after `step`. Lines beyond it, left by a process
    /// that was killed after its last checkpoint, are removed; TensorBoard is told to forget such events.
    /// So is what an evaluation after `step` found, unless it is the one after which the run was `evaluated` last:
    /// it will be made again. `screen` is told when they cannot be written later.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn open(
        run: &RunDir,
        step: u64,
        evaluated: Option<u64>,
        screen: &Arc<dyn Screen>,
    ) -> Result<Self, TrainError> {
        let path = run.log();
        remove_lines_beyond(&path, step, evaluated == Some(step))?;
        Ok(Self {
            jsonl: Appended::open(&path, screen)?,
            tensorboard: TensorBoard::create(&run.tensorboard(), step, screen)?,
        })
    }

    /// Adds the report of one interval.
    pub fn write(&mut self, report: &StepReport) {
        self.line(report);
        let scalars = [
            ("loss/train_loss", report.loss),
            ("opt/lr", report.lr),
            ("opt/grad_norm", report.grad_norm),
            ("perf/img_per_s", report.img_per_s),
            ("perf/data_wait", report.data_wait),
        ];
        self.tensorboard.scalars(scalars.map(|(tag, value)| (tag.to_owned(), value)), report.step);
    }

    /// Adds what an evaluation found, as a line of its own.
    pub fn evaluation(&mut self, step: u64, epoch: f64, metrics: &[(String, f64)]) {
        let mut line = serde_json::Map::new();
        line.insert("step".to_owned(), step.into());
        line.insert("epoch".to_owned(), epoch.into());
        line.extend(metrics.iter().map(|(name, value)| (name.clone(), (*value).into())));
        self.line(&line);
        let scalars = metrics.iter().map(|(name, value)| (format!("eval/{name}"), *value));
        self.tensorboard.scalars(scalars, step);
    }

    /// Adds a warning, as a line of its own.
    pub fn warning(&mut self, step: u64, epoch: f64, warning: &str) {
        self.line(&json!({"step": step, "epoch": epoch, "warning": warning}));
    }

    /// Adds a look at the network, as a line of its own.
    pub fn health(&mut self, look: &Look) {
        self.line(look);
        self.tensorboard.scalars(look.scalars(), look.step);
    }

    /// Adds a picture.
    pub fn picture(&mut self, tag: &str, picture: &RgbImage, step: u64) {
        let mut png = Cursor::new(Vec::new());
        if picture.write_to(&mut png, ImageFormat::Png).is_err() {
            // In memory nothing but the lack of it can fail.
            return;
        }
        let mut image = Summary_Image::new();
        image.set_width(picture.width() as i32);
        image.set_height(picture.height() as i32);
        image.set_colorspace(3);
        image.set_encoded_image_string(png.into_inner());
        let mut entry = Summary_Value::new();
        entry.set_tag(tag.to_owned());
        entry.set_image(image);
        self.tensorboard.write(vec![entry], step);
    }

    /// What the records lack at the end of the run, in words.
    pub fn shortfalls(&self) -> impl Iterator<Item = String> {
        [&self.jsonl, &self.tensorboard.file].into_iter().filter_map(Appended::shortfall)
    }

    fn line(&mut self, entry: &impl Serialize) {
        // Numbers and texts: they always have a form in JSON.
        if let Ok(line) = serde_json::to_string(entry) {
            self.jsonl.add((line + "\n").as_bytes());
        }
    }
}

/// The lines of a log, and their numbers from 1. A last one that is being written, or was when its process was
/// killed, is none yet.
///
/// # Errors
/// It cannot be read; another line is no JSON.
pub(crate) fn lines_of(path: &Path) -> Result<Vec<(usize, Value)>, TrainError> {
    let log = fs::read(path).map_err(TrainError::io("read", path))?;
    let mut lines = Vec::new();
    for (line, number) in log.split_inclusive(|byte| *byte == b'\n').zip(1..) {
        match serde_json::from_slice(line) {
            Ok(value) => lines.push((number, value)),
            Err(_) if line.trim_ascii().is_empty() || !line.ends_with(b"\n") => {}
            Err(error) => return Err(TrainError::LogLine { path: path.to_owned(), line: number, error }),
        }
    }
    Ok(lines)
}

/// Removes what a process wrote after the checkpoint that the run goes on from.
fn remove_lines_beyond(path: &Path, step: u64, is_evaluated: bool) -> Result<(), TrainError> {
    if !path.exists() {
        return Ok(());
    }
    // Bytes: what a power failure leaves at the end need not be text.
    let log = fs::read(path).map_err(TrainError::io("read", path))?;
    let lines = log.split_inclusive(|byte| *byte == b'\n');
    let kept = lines.filter(|line| belongs(line, step, is_evaluated)).collect::<Vec<_>>().concat();
    if kept != log {
        // Not in place: on a full disk that would lose the lines to keep.
        whole::write(path, &kept).map_err(CheckpointError::from)?;
    }
    Ok(())
}

/// Whether a line is whole and not beyond `step`, whose evaluation counts if it `is_evaluated`.
fn belongs(line: &[u8], step: u64, is_evaluated: bool) -> bool {
    let parsed: Option<Value> = line.ends_with(b"\n").then(|| serde_json::from_slice(line).ok()).flatten();
    let Some(value) = parsed else { return false };
    match value["step"].as_u64() {
        Some(found) if found == step => is_evaluated || !is_evaluation(&value),
        found => found.is_some_and(|found| found < step),
    }
}

/// Whether a line of a log is what an evaluation found.
pub(crate) fn is_evaluation(line: &Value) -> bool {
    ["loss", "health", "warning"].into_iter().all(|key| line.get(key).is_none())
}

/// An event file. Only the record format is tensorboard-rs's: its own writer panics when the disk
/// is full.
struct TensorBoard {
    file: Appended,
}

impl TensorBoard {
    /// A new file of events after `step`.
    fn create(folder: &Path, step: u64, screen: &Arc<dyn Screen>) -> Result<Self, TrainError> {
        fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        // TensorBoard reads the files of a folder in the order of their names, and none before one that it
        // has read.
        let second = (now() as u64).max(last_second(folder).map_or(0, |last| last + 1));
        let path = folder.join(format!("{EVENTS}{second}.{}", std::process::id()));
        let mut this = Self { file: Appended::open(&path, screen)? };
        let mut event = Event::new();
        event.set_file_version("brain.Event:2".to_owned());
        this.event(event);
        // Events from this step on in the files before are superseded.
        let (mut event, mut session) = (Event::new(), SessionLog::new());
        session.set_status(SessionLog_SessionStatus::START);
        event.set_session_log(session);
        event.set_step(step as i64 + 1);
        this.event(event);
        Ok(this)
    }

    fn scalars(&mut self, scalars: impl IntoIterator<Item = (String, f64)>, step: u64) {
        let values = scalars.into_iter().map(|(tag, value)| {
            let mut entry = Summary_Value::new();
            entry.set_tag(tag);
            entry.set_simple_value(value as f32);
            entry
        });
        self.write(values.collect(), step);
    }

    fn write(&mut self, values: Vec<Summary_Value>, step: u64) {
        let mut summary = Summary::new();
        summary.set_value(values.into());
        let mut event = Event::new();
        event.set_summary(summary);
        event.set_step(step as i64);
        self.event(event);
    }

    fn event(&mut self, mut event: Event) {
        event.set_wall_time(now());
        let mut record = Vec::new();
        let bytes = event.write_to_bytes().map_err(std::io::Error::other);
        // In memory nothing but the lack of it can fail.
        if bytes.and_then(|bytes| RecordWriter::new(&mut record).write(&bytes)).is_ok() {
            self.file.add(&record);
        }
    }
}

/// How the names of event files begin; the second of their making follows.
const EVENTS: &str = "events.out.tfevents.";

/// The second in the name of the newest file of events.
fn last_second(folder: &Path) -> Option<u64> {
    let second = |name: &str| name.strip_prefix(EVENTS)?.split('.').next()?.parse().ok();
    let names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| second(&name.to_string_lossy())).max()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn open(run: &RunDir, step: u64) -> RunLog {
        let screen: Arc<dyn Screen> = Arc::new(Silent);
        RunLog::open(run, step, None, &screen).unwrap()
    }

    fn report(step: u64) -> StepReport {
        StepReport { step, loss: 0.5, ..StepReport::default() }
    }

    #[test]
    fn a_resumed_log_goes_on_after_its_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        let mut log = open(&run, 0);
        (1..=3).for_each(|step| log.write(&report(step)));
        drop(log);
        // A process killed while writing.
        let torn = [&fs::read(run.log()).unwrap()[..], b"{\"step\": 4, \"lo\xff\0"].concat();
        fs::write(run.log(), torn).unwrap();
        let mut log = open(&run, 2);
        log.write(&report(5));
        let text = fs::read_to_string(run.log()).unwrap();
        let steps: Vec<_> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].clone()).collect();
        assert_eq!(steps, [1, 2, 5]);
    }

    #[test]
    fn an_evaluation_that_will_be_made_again_has_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        let screen: Arc<dyn Screen> = Arc::new(Silent);
        for (evaluated, lines) in [(None, 2), (None, 2), (Some(3), 3)] {
            let mut log = RunLog::open(&run, 3, evaluated, &screen).unwrap();
            if fs::read(run.log()).unwrap().is_empty() {
                log.write(&report(3));
            }
            log.evaluation(3, 1.0, &[("val_top1".to_owned(), 0.5)]);
            assert_eq!(fs::read_to_string(run.log()).unwrap().lines().count(), lines, "{evaluated:?}");
        }
    }

    /// The events of all files, in the order in which TensorBoard reads them.
    fn events(run: &RunDir) -> Vec<Event> {
        let mut files: Vec<_> =
            fs::read_dir(run.tensorboard()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut events = Vec::new();
        for file in files {
            let bytes = fs::read(file).unwrap();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
                let mut event = Event::new();
                event.merge_from_bytes(&rest[12..12 + length]).unwrap();
                events.push(event);
                rest = &rest[16 + length..];
            }
        }
        events
    }

    #[test]
    fn events_are_records_with_checksums() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        let mut log = open(&run, 0);
        log.write(&report(7));
        log.picture("reconstruction", &RgbImage::new(5, 3), 7);
        let events = events(&run);
        assert_eq!(events.len(), 4);
        assert_eq!(events[0].get_file_version(), "brain.Event:2");
        let scalars = events[2].get_summary().get_value();
        assert_eq!((events[2].get_step(), scalars[0].get_tag()), (7, "loss/train_loss"));
        assert_eq!(scalars[0].get_simple_value(), 0.5);
        let image = events[3].get_summary().get_value()[0].get_image();
        assert_eq!((image.get_width(), image.get_height()), (5, 3));
        assert!(image::load_from_memory(image.get_encoded_image_string()).is_ok());
    }

    /// As TensorBoard does it: a session that starts at a step purges what was there from it on.
    #[test]
    fn events_beyond_the_checkpoint_are_superseded() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        for (start, steps) in [(0, 1..=5), (3, 4..=4), (3, 4..=6)] {
            let mut log = open(&run, start);
            steps.for_each(|step| log.write(&report(step)));
        }
        assert_eq!(
            fs::read_dir(run.tensorboard()).unwrap().count(),
            3,
            "a file for each, all within a second"
        );
        let mut steps = Vec::new();
        for event in events(&run) {
            if event.has_session_log() {
                assert_eq!(event.get_session_log().get_status(), SessionLog_SessionStatus::START);
                steps.retain(|step| *step < event.get_step());
            } else if event.has_summary() {
                steps.push(event.get_step());
            }
        }
        assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
    }

    /// A process before this one ran under a clock that was years ahead.
    #[test]
    fn a_clock_that_goes_back_does_not_change_the_order_of_events() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        open(&run, 0).write(&report(1));
        let first = fs::read_dir(run.tensorboard()).unwrap().next().unwrap().unwrap().path();
        fs::rename(first, run.tensorboard().join(format!("{EVENTS}8888888888.1"))).unwrap();
        open(&run, 1).write(&report(2));
        let steps: Vec<_> =
            events(&run).iter().filter(|event| event.has_summary()).map(Event::get_step).collect();
        assert_eq!(steps, [1, 2]);
    }
}
