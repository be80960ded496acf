//! A bar at the bottom of a terminal.

use std::io::{Write, stderr};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::terminal;

use super::lock;
use super::report::Screen;
use super::words::{clock, cut, fold};

/// Time between two drawings.
const TICK: Duration = Duration::from_millis(100);
/// Columns left free behind the cursor: a terminal writes `^C` there when that is pressed.
const SPARE: usize = 3;
/// Columns of the widest bar.
const WIDEST: usize = 40;

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Images, updates and the like.
    Items,
    /// Bytes, shown as megabytes.
    Bytes,
}

/// A bar on the last lines of standard error. It fits the width of the terminal, goes on while nothing
/// moves, and takes itself away when it is dropped.
pub struct Bar(Arc<Mutex<State>>);

/// A bar as other threads reach it, which outlives it.
pub(super) struct BarScreen(Arc<Mutex<State>>);

struct State {
    out: Box<dyn Write + Send>,
    /// Columns of the terminal.
    width: fn() -> usize,
    task: Option<Task>,
    /// What stands below the bar; only the parts that fit.
    note: Vec<String>,
    /// Lines on the screen.
    lines: usize,
    /// Whether it is not drawn any more.
    is_gone: bool,
}

/// What is counted.
struct Task {
    what: String,
    unit: Unit,
    /// Where it began.
    from: u64,
    position: u64,
    /// Where it ends; 0 where nobody knows.
    total: u64,
    since: Instant,
}

impl Bar {
    /// A bar for a terminal on standard error; it appears with its first [`start`](Self::start).
    pub fn on_stderr() -> Self {
        let width = || terminal::size().map_or(80, |(columns, _)| usize::from(columns));
        let bar = Self(State::new(Box::new(stderr()), width, false));
        let state = Arc::downgrade(&bar.0);
        thread::spawn(move || {
            while let Some(state) = state.upgrade() {
                let mut state = lock(&state);
                if state.is_gone {
                    break;
                }
                state.draw();
                drop(state);
                thread::sleep(TICK);
            }
        });
        bar
    }

    /// A bar that nobody sees.
    pub fn hidden() -> Self {
        Self(State::new(Box::new(stderr()), || 0, true))
    }

    pub(super) fn screen(&self) -> BarScreen {
        BarScreen(Arc::clone(&self.0))
    }

    /// Begins to count: from the start of the range to its end, which is 0 where nobody knows it.
    pub fn start(&self, what: &str, unit: Unit, Range { start: from, end: total }: Range<u64>) {
        let mut state = lock(&self.0);
        let (what, since) = (what.to_owned(), Instant::now());
        state.task = Some(Task { what, unit, from, position: from, total, since });
        state.draw();
    }

    /// Counts so many more.
    pub fn advance(&self, by: u64) {
        if let Some(task) = &mut lock(&self.0).task {
            task.position += by;
        }
    }

    /// Counts up to here.
    pub fn reach(&self, position: u64) {
        if let Some(task) = &mut lock(&self.0).task {
            task.position = position;
        }
    }

    /// What stands below the bar.
    pub(super) fn note(&self, parts: Vec<String>) {
        lock(&self.0).note = parts;
    }

    /// Shows at once what has been counted.
    pub(super) fn draw(&self) {
        lock(&self.0).draw();
    }

    /// Prints parts above the bar, on as many lines as they need.
    pub(super) fn print(&self, parts: &[String]) {
        lock(&self.0).print(parts);
    }

    /// Takes the bar away for good.
    pub(super) fn end(&self) {
        lock(&self.0).end();
    }

    /// Does something that writes to the terminal, while the bar is not there.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        let mut state = lock(&self.0);
        state.erase();
        let result = write();
        state.draw();
        result
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        lock(&self.0).end();
    }
}

impl Screen for BarScreen {
    fn say(&self, sentence: &str) {
        lock(&self.0).print(&[sentence.to_owned()]);
    }

    fn restore(&self) {
        lock(&self.0).end();
    }
}

impl State {
    fn new(out: Box<dyn Write + Send>, width: fn() -> usize, is_gone: bool) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { out, width, task: None, note: Vec::new(), lines: 0, is_gone }))
    }

    /// Columns that may be written to.
    fn columns(&self) -> usize {
        (self.width)().saturating_sub(SPARE)
    }

    /// Draws over what stands there, in one piece. A terminal that has gone is no reason to stop.
    fn draw(&mut self) {
        if self.is_gone {
            return;
        }
        let Some(task) = &self.task else { return };
        let columns = self.columns();
        let mut lines = vec![cut(&task.line(columns), columns)];
        lines.extend(fold(&self.note, columns).first().map(|note| cut(note, columns)));
        let text = format!("{}{}", self.erasure(), lines.join("\n"));
        self.lines = lines.len();
        self.write(&text);
    }

    fn print(&mut self, parts: &[String]) {
        let width = if self.is_gone { usize::MAX } else { self.columns() };
        let text = format!("{}{}\n", self.erasure(), fold(parts, width).join("\n"));
        self.lines = 0;
        self.write(&text);
        self.draw();
    }

    fn erase(&mut self) {
        let text = self.erasure();
        self.lines = 0;
        self.write(&text);
    }

    fn end(&mut self) {
        self.erase();
        self.is_gone = true;
    }

    /// What takes the lines away that stand there, and leaves the cursor where they began.
    fn erasure(&self) -> String {
        match self.lines {
            0 => String::new(),
            1 => "\r\x1b[J".to_owned(),
            lines => format!("\r\x1b[{}A\x1b[J", lines - 1),
        }
    }

    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl Task {
    fn line(&self, columns: usize) -> String {
        let elapsed = self.since.elapsed().as_secs_f64();
        if self.total == 0 {
            return format!("{} … {}", self.what, clock(elapsed));
        }
        let done = self.position.saturating_sub(self.from) as f64;
        let left = self.total.saturating_sub(self.position) as f64;
        let eta = if done > 0.0 { clock(elapsed * left / done) } else { "?".to_owned() };
        let counted = match self.unit {
            Unit::Items => format!("{}/{}", self.position, self.total),
            Unit::Bytes => {
                let [position, total] = [self.position, self.total].map(|bytes| bytes as f64 / 1e6);
                format!("{position:.1}/{total:.1} MB")
            }
        };
        let tail = format!("{counted}  {}  eta {eta}", clock(elapsed));
        gauge(&self.what, self.position as f64 / self.total as f64, &tail, columns)
    }
}

/// Words, a bar and what is counted, within so many columns: the bar takes what the rest leaves, and goes
/// before anything else does.
pub(super) fn gauge(what: &str, share: f64, tail: &str, columns: usize) -> String {
    let head = if what.is_empty() { String::new() } else { format!("{what} ") };
    let cells = columns.saturating_sub(head.chars().count() + tail.chars().count() + 1).min(WIDEST);
    if cells < 4 {
        return format!("{head}{tail}");
    }
    let filled = ((share * cells as f64) as usize).min(cells);
    format!("{head}{}{} {tail}", "█".repeat(filled), "░".repeat(cells - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has been written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn bar() -> (Bar, impl Fn() -> String) {
        let written = Written::default();
        let bar = Bar(State::new(Box::new(written.clone()), || 50, false));
        (bar, move || String::from_utf8(std::mem::take(&mut *written.0.lock().unwrap())).unwrap())
    }

    #[test]
    fn lines_fit_and_are_taken_away() {
        let (bar, written) = bar();
        bar.start("judging", Unit::Items, 0..40);
        assert_eq!(written(), "judging ░░░░░░░░░░░░░░░░░░ 0/40  0:00:00  eta ?");
        bar.reach(20);
        bar.note(
            ["loss 0.8123", "lr 1.20e-4", "a part that does not fit any more"].map(str::to_owned).into(),
        );
        bar.draw();
        let text = "\r\x1b[Jjudging █████░░░░░░ 20/40  0:00:00  eta 0:00:00\nloss 0.8123  lr 1.20e-4";
        assert_eq!(written(), text);
        bar.print(&["above".to_owned()]);
        assert!(written().starts_with("\r\x1b[1A\x1b[Jabove\njudging █████"));
        drop(bar);
        assert_eq!(written(), "\r\x1b[1A\x1b[J");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let (bar, written) = bar();
        bar.start("model-00001-of-00002.safetensors of a long name", Unit::Bytes, 0..3_000_000);
        assert_eq!(written().chars().count(), 50 - SPARE);
        assert_eq!(gauge("a", 0.5, "1/2", 9), "a 1/2");
        assert_eq!(gauge("a", 0.5, "1/2", 10), "a ██░░ 1/2");
    }

    #[test]
    fn a_hidden_bar_writes_what_it_is_told_to_print_and_nothing_else() {
        let written = Written::default();
        let bar = Bar(State::new(Box::new(written.clone()), || 0, true));
        bar.start("judging", Unit::Items, 0..40);
        bar.draw();
        bar.screen().say("a sentence");
        assert_eq!(*written.0.lock().unwrap(), b"a sentence\n");
    }
}
