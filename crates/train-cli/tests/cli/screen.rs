//! What is on the screen of a terminal after a program has written to it.

/// As much of a terminal as the program uses: text, line ends, moves of the cursor, erasing, and the
/// alternate screen.
pub(crate) struct Screen {
    columns: usize,
    lines: Vec<Vec<char>>,
    /// Lines that have left at the top.
    history: Vec<String>,
    row: usize,
    column: usize,
    /// Whether the last column has been written, so that the next character goes to the next line.
    is_full: bool,
    /// The ordinary screen, while the alternate one is shown.
    ordinary: Option<Box<Saved>>,
    /// Lines that went on beyond the last column.
    pub(crate) wrapped: Vec<String>,
    /// What has come of an escape sequence or of a character.
    pending: Vec<u8>,
}

/// Lines, row and column of a screen that is not shown.
type Saved = (Vec<Vec<char>>, usize, usize);

impl Screen {
    pub(crate) fn new(columns: u16, rows: u16) -> Self {
        let columns = usize::from(columns);
        Self {
            columns,
            lines: vec![vec![' '; columns]; rows.into()],
            history: Vec::new(),
            row: 0,
            column: 0,
            is_full: false,
            ordinary: None,
            wrapped: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// What stands there, with what has left at the top.
    pub(crate) fn text(&self) -> String {
        let shown = self.lines.iter().map(|line| text_of(line));
        let lines: Vec<_> = self.history.iter().cloned().chain(shown).collect();
        lines.join("\n").trim_end().to_owned()
    }

    pub(crate) fn is_alternate(&self) -> bool {
        self.ordinary.is_some()
    }

    /// Takes a byte; whether a sequence begins with it, before which a drawing may have ended.
    pub(crate) fn write(&mut self, byte: u8) -> bool {
        self.pending.push(byte);
        match self.pending[..] {
            [0x1b] => return true,
            [0x1b, b'['] => return false,
            [0x1b, b'[', .., b'@'..=b'~'] => self.control(),
            [0x1b, ..] if self.pending.len() < 32 => return false,
            [0x1b, ..] => panic!("an unknown sequence: {:?}", self.pending),
            _ => match std::str::from_utf8(&self.pending) {
                Ok(text) => text.chars().collect::<Vec<_>>().into_iter().for_each(|c| self.character(c)),
                Err(_) => return false,
            },
        }
        self.pending.clear();
        false
    }

    fn character(&mut self, c: char) {
        match c {
            '\r' => (self.column, self.is_full) = (0, false),
            '\n' => self.line_feed(),
            '\u{8}' => self.column = self.column.saturating_sub(1),
            // A bell, and a Ctrl-C that is shown as it is.
            '\u{7}' | '\u{3}' => {}
            c => {
                if self.is_full {
                    self.wrapped.push(text_of(&self.lines[self.row]));
                    self.line_feed();
                    self.column = 0;
                }
                self.lines[self.row][self.column] = c;
                self.is_full = self.column + 1 == self.columns;
                self.column = (self.column + 1).min(self.columns - 1);
            }
        }
    }

    fn line_feed(&mut self) {
        self.is_full = false;
        if self.row + 1 < self.lines.len() {
            self.row += 1;
            return;
        }
        let gone = self.lines.remove(0);
        if self.ordinary.is_none() {
            self.history.push(text_of(&gone));
        }
        self.lines.push(vec![' '; self.columns]);
    }

    /// A sequence that begins with `ESC [`.
    fn control(&mut self) {
        let (last, first) = self.pending[2..].split_last().unwrap();
        let (last, parameters) = (*last, String::from_utf8(first.to_vec()).unwrap());
        let numbers: Vec<usize> = parameters.split(';').map(|number| number.parse().unwrap_or(0)).collect();
        let (first, count) = (numbers[0], numbers[0].max(1));
        let (bottom, right) = (self.lines.len() - 1, self.columns - 1);
        if !matches!(last, b'm' | b'h' | b'l') {
            self.is_full = false;
        }
        match last {
            b'A' => self.row = self.row.saturating_sub(count),
            b'B' => self.row = (self.row + count).min(bottom),
            b'C' => self.column = (self.column + count).min(right),
            b'D' => self.column = self.column.saturating_sub(count),
            b'H' => {
                let second = numbers.get(1).map_or(1, |number| (*number).max(1));
                (self.row, self.column) = ((count - 1).min(bottom), (second - 1).min(right));
            }
            b'K' if first == 0 => self.lines[self.row][self.column..].fill(' '),
            b'K' => self.lines[self.row].fill(' '),
            b'J' if first == 0 => {
                self.lines[self.row][self.column..].fill(' ');
                self.lines[self.row + 1..].iter_mut().for_each(|line| line.fill(' '));
            }
            b'J' => self.lines.iter_mut().for_each(|line| line.fill(' ')),
            b'h' if parameters == "?1049" => {
                let blank = vec![vec![' '; self.columns]; self.lines.len()];
                let lines = std::mem::replace(&mut self.lines, blank);
                self.ordinary = Some(Box::new((lines, self.row, self.column)));
            }
            b'l' if parameters == "?1049" => {
                if let Some(ordinary) = self.ordinary.take() {
                    (self.lines, self.row, self.column) = *ordinary;
                }
            }
            b'm' | b'h' | b'l' => {}
            other => panic!("an unknown sequence: ESC [ {parameters} {}", char::from(other)),
        }
    }
}

fn text_of(line: &[char]) -> String {
    line.iter().collect::<String>().trim_end().to_owned()
}

#[test]
fn a_screen_shows_what_a_terminal_would() {
    let mut screen = Screen::new(6, 3);
    let mut show = |text: &str| {
        for byte in text.bytes() {
            screen.write(byte);
        }
        (screen.text(), screen.wrapped.len())
    };
    assert_eq!(show("abc\r\x1b[Kxy"), ("xy".to_owned(), 0));
    assert_eq!(show("\r\n123456"), ("xy\n123456".to_owned(), 0), "a full line is not too long");
    assert_eq!(show("7"), ("xy\n123456\n7".to_owned(), 1));
    assert_eq!(show("\r\n█\r\x1b[1A\x1b[J"), ("xy\n123456".to_owned(), 1));
    assert_eq!(show("\x1b[?1049h\x1b[2;2Hdash"), ("xy\n\n dash".to_owned(), 1));
    assert_eq!(show("\x1b[?1049lz"), ("xy\n123456\nz".to_owned(), 1));
}
