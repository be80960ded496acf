//! Text in a font of our own: Latin, Greek and Cyrillic letters; a box stands for others.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use image::Rgb;

use crate::colour::INK;

/// The height of capitals, as a share of the size.
const CAPITALS: f32 = 0.729;
/// The height of the font from its lowest to its highest letter, as a share of the size.
static HEIGHT: LazyLock<f32> =
    LazyLock::new(|| FONT.height_unscaled() / FONT.units_per_em().unwrap_or(2048.0));
#[allow(clippy::expect_used, reason = "the file is part of the program")]
static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("../assets/DejaVuSans-subset.ttf")).expect("this is a font")
});

/// How text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Style {
    /// Pixels of an em.
    pub size: f32,
    /// Its colour.
    pub colour: Rgb<u8>,
    /// Which part of it stands at the place where it is drawn.
    pub across: Across,
    /// Whether it runs from below to above.
    pub upward: bool,
}

/// Which part of a text stands at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Across {
    /// Its beginning.
    Left,
    /// Its middle.
    Centre,
    /// Its end.
    Right,
}

impl Across {
    pub(crate) fn share(self) -> f32 {
        match self {
            Self::Left => 0.0,
            Self::Centre => 0.5,
            Self::Right => 1.0,
        }
    }
}

impl Style {
    /// Text that begins at its place and runs to the right.
    pub fn new(size: f32, colour: Rgb<u8>) -> Self {
        Self { size, colour, across: Across::Left, upward: false }
    }
}

impl Default for Style {
    fn default() -> Self {
        Self::new(16.0, INK)
    }
}

/// Pixels that a text takes in a size.
pub fn width(text: &str, size: f32) -> f32 {
    place(text, size, 0.0).1
}

/// The text, or its beginning and an ellipsis, within so many pixels.
pub fn fit(text: &str, size: f32, pixels: f32) -> String {
    if width(text, size) <= pixels {
        return text.to_owned();
    }
    let shortened = |count: usize| text.chars().take(count).collect::<String>().trim_end().to_owned() + "…";
    let fits = |count: &usize| width(&shortened(*count), size) <= pixels;
    (1..text.chars().count()).rev().find(fits).map_or("…".to_owned(), shortened)
}

/// The text in lines of at most so many pixels, broken at spaces.
pub fn wrap(text: &str, size: f32, pixels: f32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size) <= pixels => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Calls `pixel` with the place of every pixel that the text touches, and how much of it, as seen from
/// the middle of the height of its capitals; the text begins at `along`.
pub(crate) fn glyphs(text: &str, size: f32, along: f32, mut pixel: impl FnMut(i32, i32, f32)) {
    for glyph in place(text, size, along).0 {
        let Some(outline) = FONT.outline_glyph(glyph) else { continue };
        let corner = outline.px_bounds().min;
        let down = corner.y + CAPITALS * size / 2.0;
        outline.draw(|x, y, share| {
            pixel(corner.x as i32 + x as i32, down.round() as i32 + y as i32, share);
        });
    }
}

/// The letters of a text on its base line, and where it ends.
fn place(text: &str, size: f32, along: f32) -> (Vec<Glyph>, f32) {
    let font = FONT.as_scaled(PxScale::from(size * *HEIGHT));
    let mut x = along;
    let mut glyphs: Vec<Glyph> = Vec::new();
    for letter in text.chars() {
        let mut glyph = font.scaled_glyph(letter);
        x += glyphs.last().map_or(0.0, |last| font.kern(last.id, glyph.id));
        glyph.position = point(x, 0.0);
        x += font.h_advance(glyph.id);
        glyphs.push(glyph);
    }
    (glyphs, x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shortened_and_broken_to_a_width() {
        let long = "Cardigan Welsh corgi, a dog of many names";
        let short = fit(long, 14.0, 100.0);
        assert!(short.starts_with("Cardigan") && short.ends_with('…'), "{short}");
        assert!(width(&short, 14.0) <= 100.0 && width(&short, 14.0) > 80.0);
        assert_eq!((fit("cat", 14.0, 100.0), fit("cat", 14.0, 1.0)), ("cat".to_owned(), "…".to_owned()));
        let lines = wrap(long, 14.0, 120.0);
        assert_eq!(lines.join(" "), long);
        assert!(lines.len() > 2 && lines.iter().all(|line| width(line, 14.0) <= 120.0), "{lines:?}");
        // A word that fits nowhere has a line of its own.
        assert_eq!(wrap("a Donaudampfschiffahrt b", 14.0, 40.0).len(), 3);
    }

    #[test]
    fn twice_the_size_is_twice_as_wide() {
        let ratio = width("Wave", 30.0) / width("Wave", 15.0);
        assert!((ratio - 2.0).abs() < 1e-4, "{ratio}");
        // An em of ten pixels: the digits of this font take 0.636 of it.
        assert!((width("0000", 10.0) - 25.4).abs() < 0.1);
    }
}
