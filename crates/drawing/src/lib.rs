//! Pictures: what they are drawn on, and the two layouts that several commands share.
//!
//! A [`Canvas`] takes text, lines, rectangles and other pictures; a [`Chart`] is panels of curves over
//! one axis, a [`Sheet`] is tiles with titles and captions. Nothing of the system is used, no font
//! either, so that a picture is the same everywhere. Knows nothing of networks and runs.

mod axis;
mod canvas;
mod chart;
mod colour;
mod png;
mod sheet;
pub mod stored;
mod text;

pub use canvas::{Canvas, Stroke};
pub use chart::{Chart, Key, Line, Panel};
pub use colour::{GRID, INK, LINES, MUTED, PAPER, mix};
pub use png::{png, save};
pub use sheet::{Block, Sheet, enlarge, enlargement};
pub use text::{Across, Style, fit, width, wrap};
