//! The full-screen dashboard.

mod series;
mod view;

use std::io::{self, BufWriter, Stderr, stderr};
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::lock;
use super::report::{Progress, Screen, StepReport};
use crate::health::Look;
use crate::plan::Plan;
use view::View;

/// Time between two drawings.
const TICK: Duration = Duration::from_millis(100);

/// A run on the whole screen, drawn by a thread that reads the keys as well.
pub(super) struct Dashboard {
    shown: Arc<Shown>,
    thread: Option<JoinHandle<()>>,
}

/// What both threads know.
struct Shown {
    view: Mutex<View>,
    /// None once the screen is given back.
    terminal: Mutex<Option<Terminal<CrosstermBackend<BufWriter<Stderr>>>>>,
}

impl Dashboard {
    /// Takes the screen and the keys. Of them, Ctrl-C and `q` are what Ctrl-C is elsewhere:
    /// `on_interrupt` hears of them.
    ///
    /// # Errors
    /// No terminal to draw on or to read keys from.
    pub(super) fn open(on_interrupt: impl Fn(&Arc<dyn Screen>) + Send + 'static) -> io::Result<Self> {
        enable_raw_mode()?;
        let terminal = execute!(stderr(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(BufWriter::new(stderr()))));
        let terminal = terminal.inspect_err(|_| give_back())?;
        let shown = Arc::new(Shown { view: Mutex::default(), terminal: Mutex::new(Some(terminal)) });
        restore_before_panics(&shown);
        let thread = thread::spawn({
            let shown = Arc::clone(&shown);
            move || shown.keep_drawing(&on_interrupt)
        });
        Ok(Self { shown, thread: Some(thread) })
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.shown.restore();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Progress for Dashboard {
    fn start(&mut self, plan: &Plan, step: u64) {
        self.shown.view().start(*plan, step);
    }

    fn step(&mut self, step: u64) {
        self.shown.view().step = step;
    }

    fn report(&mut self, report: &StepReport) {
        self.shown.view().report(report);
    }

    fn evaluating(&mut self, done: u64, total: u64) {
        self.shown.view().evaluating = Some((done, total));
    }

    fn evaluation(&mut self, step: u64, metrics: &[(String, f64)]) {
        self.shown.view().evaluation(step, metrics);
    }

    fn health(&mut self, look: &Look, before: &[Look]) {
        let verdict = format!("health  {}", look.health.verdict);
        self.shown.view().health = [&[verdict], &look.parts(before)[..]].concat();
    }

    fn finish(&mut self) {
        self.shown.restore();
    }

    fn screen(&self) -> Arc<dyn Screen> {
        Arc::clone(&self.shown) as _
    }
}

impl Screen for Shown {
    fn say(&self, sentence: &str) {
        self.view().note = sentence.to_owned();
    }

    fn restore(&self) {
        if lock(&self.terminal).take().is_some() {
            give_back();
        }
    }
}

impl Shown {
    fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.view)
    }

    /// Draws until the screen is given back or gone.
    fn keep_drawing(self: Arc<Self>, on_interrupt: &dyn Fn(&Arc<dyn Screen>)) {
        let screen: Arc<dyn Screen> = Arc::clone(&self) as _;
        while self.draw() {
            match event::poll(TICK).and_then(|is_there| is_there.then(event::read).transpose()) {
                Ok(Some(event)) if interrupts(&event) => on_interrupt(&screen),
                Ok(_) => {}
                // Keys cannot be read; signals still stop the run.
                Err(_) => thread::sleep(TICK),
            }
        }
        // Where drawing has failed: without keys, Ctrl-C has to be a signal again.
        self.restore();
    }

    /// Draws once; whether to go on.
    fn draw(&self) -> bool {
        let mut terminal = lock(&self.terminal);
        let Some(open) = terminal.as_mut() else { return false };
        let view = self.view();
        open.draw(|frame| view.draw(frame)).is_ok()
    }
}

/// Whether an event is a key that asks a run to stop.
fn interrupts(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return false };
    match code {
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        KeyCode::Char('q') => true,
        _ => false,
    }
}

/// Makes the terminal what it was; one that has gone needs nothing. The mode last: in any other, a Ctrl-C
/// throws away what the terminal has not read yet.
fn give_back() {
    let _ = execute!(stderr(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// The message of a panic would be lost with the screen that it is written on.
fn restore_before_panics(shown: &Arc<Shown>) {
    let (shown, message) = (Arc::downgrade(shown), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        let is_open = shown.upgrade().is_some_and(|shown| match shown.terminal.try_lock() {
            Ok(mut terminal) => terminal.take().is_some(),
            // It happened while drawing.
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Poisoned(_)) => false,
        });
        if is_open {
            give_back();
        }
        message(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_c_and_q_stop_and_other_keys_do_not() {
        let key = |c, modifiers| interrupts(&Event::Key(KeyEvent::new(KeyCode::Char(c), modifiers)));
        assert!(key('c', KeyModifiers::CONTROL) && key('q', KeyModifiers::NONE));
        assert!(!key('c', KeyModifiers::NONE) && !key('k', KeyModifiers::NONE));
        assert!(!interrupts(&Event::Resize(80, 24)));
    }
}
