//! The program on a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use crate::screen::Screen;

/// Lines of every terminal.
const ROWS: u16 = 30;

/// A terminal with a program on it.
pub(crate) struct Terminal {
    keyboard_and_output: File,
    child: Child,
    pub(crate) screen: Screen,
    /// Whether anything has been written.
    pub(crate) is_used: bool,
    since: Instant,
}

/// A pseudo-terminal of this width: the side of the terminal and that of the program.
#[allow(unsafe_code, reason = "C functions")]
fn open(columns: u16) -> (OwnedFd, OwnedFd) {
    // Some systems ask for a pointer that they could write through.
    let mut size = libc::winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut terminal, mut program) = (-1, -1);
    // SAFETY: all pointers are to values on this stack, or null where that is allowed; both descriptors are
    // new ones.
    let (terminal, program) = unsafe {
        assert_eq!(libc::openpty(&mut terminal, &mut program, null_mut(), null_mut(), &raw mut size), 0);
        (OwnedFd::from_raw_fd(terminal), OwnedFd::from_raw_fd(program))
    };
    // What has been written stays to be read, whenever Ctrl-C is pressed.
    let mut modes = modes(&program);
    modes.c_lflag |= libc::NOFLSH;
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::tcsetattr(program.as_raw_fd(), libc::TCSANOW, &modes) }, 0);
    (terminal, program)
}

#[allow(unsafe_code, reason = "a C function")]
fn modes(terminal: &impl AsRawFd) -> libc::termios {
    // SAFETY: the descriptor is open, and zeros are a value of the structure, which is filled in.
    unsafe {
        let mut modes = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &mut modes), 0);
        modes
    }
}

/// Makes standard input the terminal that Ctrl-C on it belongs to.
#[allow(unsafe_code, reason = "C functions")]
#[allow(clippy::useless_conversion, reason = "the number has another type on other systems")]
fn take_terminal() -> std::io::Result<()> {
    // SAFETY: both calls are allowed between fork and exec.
    match unsafe { libc::setsid() != -1 && libc::ioctl(0, libc::TIOCSCTTY.into(), 0) != -1 } {
        true => Ok(()),
        false => Err(std::io::Error::last_os_error()),
    }
}

impl Terminal {
    /// Starts a command with standard input and error on a terminal of this width, and standard output
    /// too unless it goes elsewhere.
    #[allow(unsafe_code, reason = "between fork and exec")]
    pub(crate) fn start(mut command: Command, columns: u16, output: Option<Stdio>) -> Self {
        let (terminal, program) = open(columns);
        let end = || Stdio::from(program.try_clone().unwrap());
        command.stdin(end()).stderr(end()).stdout(output.unwrap_or_else(end)).env("TERM", "xterm");
        // SAFETY: `take_terminal` makes no call but those allowed between fork and exec.
        unsafe { command.pre_exec(take_terminal) };
        let child = command.spawn().unwrap();
        let screen = Screen::new(columns, ROWS);
        Self { keyboard_and_output: terminal.into(), child, screen, is_used: false, since: Instant::now() }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &[u8]) {
        // The program may have ended in between.
        let _ = self.keyboard_and_output.write_all(keys);
    }

    /// Reads what there is, waiting for something; whether one of the drawings shows all the texts. None
    /// when the program has ended.
    pub(crate) fn read(&mut self, texts: &[&str]) -> Option<bool> {
        self.require_a_sign();
        let mut bytes = [0; 4096];
        // An error says that nobody has the other side open any more.
        let count = self.keyboard_and_output.read(&mut bytes).ok().filter(|count| *count > 0)?;
        self.is_used = true;
        let mut seen = false;
        let shows = |screen: &Screen| {
            let text = screen.text();
            texts.iter().all(|wanted| text.contains(wanted))
        };
        for byte in &bytes[..count] {
            let drawing_ends = self.screen.write(*byte);
            seen = seen || drawing_ends && shows(&self.screen);
        }
        Some(seen || shows(&self.screen))
    }

    /// Waits for something to read, or the end. A test that hangs says nothing, and so does one that looks on
    /// for ever while a bar is drawn: no program of these tests needs a fraction of this time.
    #[allow(unsafe_code, reason = "a C function")]
    fn require_a_sign(&self) {
        const PATIENCE: Duration = Duration::from_secs(600);
        let left = PATIENCE.saturating_sub(self.since.elapsed()).as_millis();
        let fd = self.keyboard_and_output.as_raw_fd();
        let mut polled = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure on this stack, of an open descriptor.
        let ready = unsafe { libc::poll(&mut polled, 1, left as libc::c_int) };
        assert!(ready != 0 && left > 0, "ten minutes have gone:\n{}", self.screen.text());
    }

    /// Waits until all the texts are on the screen at once.
    pub(crate) fn wait_for(&mut self, texts: &[&str]) {
        while !self.read(texts).unwrap_or_else(|| panic!("never saw {texts:?}:\n{}", self.screen.text())) {}
    }

    /// Reads to the end; the exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        while self.read(&[]).is_some() {}
        self.child.wait().unwrap().code()
    }

    /// Whether Ctrl-C is a signal, as when the program began.
    pub(crate) fn is_cooked(&self) -> bool {
        modes(&self.keyboard_and_output).c_lflag & libc::ISIG != 0
    }
}

impl Drop for Terminal {
    /// A program that nobody looks at any more would train on.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
