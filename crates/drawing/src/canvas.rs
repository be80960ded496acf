//! What pictures are drawn on.

use image::{Rgb, RgbImage};

use crate::colour::{PAPER, mix};
use crate::text::{Style, glyphs, width};

/// Pixels of a dash, and between two of them.
const DASH: f32 = 9.0;
const BETWEEN_DASHES: f32 = 6.0;

/// A picture under way, white at first. Places are `[x, y]` in pixels from the upper left corner;
/// what lies outside is left out.
#[derive(Debug, Clone)]
pub struct Canvas {
    picture: RgbImage,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    /// Its colour.
    pub colour: Rgb<u8>,
    /// Pixels across.
    pub width: f32,
    /// Whether it is broken into dashes.
    pub dashed: bool,
}

impl Canvas {
    /// An empty one of `[width, height]` pixels, at least one.
    pub fn new([width, height]: [f32; 2]) -> Self {
        let side = |length: f32| (length.ceil() as u32).max(1);
        Self { picture: RgbImage::from_pixel(side(width), side(height), PAPER) }
    }

    /// What was drawn.
    pub fn into_picture(self) -> RgbImage {
        self.picture
    }

    fn blend(&mut self, x: i32, y: i32, colour: Rgb<u8>, share: f32) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if let Some(pixel) = self.picture.get_pixel_mut_checked(x, y) {
            *pixel = mix(*pixel, colour, share);
        }
    }

    /// Fills a rectangle, from corner to corner.
    pub fn fill(&mut self, [left, top]: [f32; 2], [right, bottom]: [f32; 2], colour: Rgb<u8>) {
        for y in top.round() as i32..bottom.round() as i32 {
            for x in left.round() as i32..right.round() as i32 {
                self.blend(x, y, colour, 1.0);
            }
        }
    }

    /// Draws lines from each point to the next.
    pub fn polyline(&mut self, points: &[[f32; 2]], stroke: &Stroke) {
        let mut walked = 0.0;
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let length = (to[0] - from[0]).hypot(to[1] - from[1]);
            let at = |distance: f32| {
                let share = if length > 0.0 { distance / length } else { 0.0 };
                [0, 1].map(|i| from[i] + share * (to[i] - from[i]))
            };
            if !stroke.dashed {
                self.line(from, to, stroke);
                continue;
            }
            // The pattern goes on where the line before has left it.
            let period = DASH + BETWEEN_DASHES;
            let mut start = -(walked % period);
            while start < length {
                let (begin, end) = (start.max(0.0), (start + DASH).min(length));
                if begin < end {
                    self.line(at(begin), at(end), stroke);
                }
                start += period;
            }
            walked += length;
        }
    }

    /// One line; a pixel takes as much of its colour as the line covers of it, about.
    fn line(&mut self, from: [f32; 2], to: [f32; 2], stroke: &Stroke) {
        let reach = stroke.width / 2.0 + 0.5;
        let (width, height) = self.picture.dimensions();
        let range = |i: usize, size: u32| {
            let (low, high) = (from[i].min(to[i]) - reach, from[i].max(to[i]) + reach);
            (low.floor().max(0.0) as i32)..(high.ceil().min(size as f32) as i32)
        };
        for y in range(1, height) {
            for x in range(0, width) {
                let distance = distance([x as f32 + 0.5, y as f32 + 0.5], from, to);
                self.blend(x, y, stroke.colour, reach - distance);
            }
        }
    }

    /// A filled circle.
    pub fn disc(&mut self, centre: [f32; 2], radius: f32, colour: Rgb<u8>) {
        self.line(centre, centre, &Stroke { colour, width: 2.0 * radius, dashed: false });
    }

    /// Another picture, by its upper left corner.
    pub fn picture(&mut self, [left, top]: [f32; 2], picture: &RgbImage) {
        image::imageops::replace(&mut self.picture, picture, left.round() as i64, top.round() as i64);
    }

    /// A line of text. `place` is in the middle of its height, and at its beginning, middle or end.
    pub fn text(&mut self, place: [f32; 2], text: &str, style: &Style) {
        let along = -style.across.share() * width(text, style.size);
        let [x, y] = place.map(|value| value.round() as i32);
        glyphs(text, style.size, along, |dx, dy, share| match style.upward {
            false => self.blend(x + dx, y + dy, style.colour, share),
            true => self.blend(x + dy, y - dx, style.colour, share),
        });
    }
}

/// From a point to the nearest one of a line.
fn distance(point: [f32; 2], from: [f32; 2], to: [f32; 2]) -> f32 {
    let line = [to[0] - from[0], to[1] - from[1]];
    let offset = [point[0] - from[0], point[1] - from[1]];
    let square = line[0] * line[0] + line[1] * line[1];
    let along = if square > 0.0 { (offset[0] * line[0] + offset[1] * line[1]) / square } else { 0.0 };
    let along = along.clamp(0.0, 1.0);
    (offset[0] - along * line[0]).hypot(offset[1] - along * line[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colour::INK;
    use crate::text::Across;

    fn ink(picture: &RgbImage) -> Vec<(u32, u32)> {
        picture.enumerate_pixels().filter(|(.., p)| p.0[0] < 128).map(|(x, y, _)| (x, y)).collect()
    }

    #[test]
    fn lines_cover_their_width_and_dashes_leave_gaps() {
        let row = |dashed| {
            let mut canvas = Canvas::new([60.0, 9.0]);
            canvas.polyline(
                &[[0.0, 4.5], [30.0, 4.5], [60.0, 4.5]],
                &Stroke { colour: INK, width: 1.0, dashed },
            );
            ink(&canvas.into_picture())
        };
        assert_eq!(row(false), (0..60).map(|x| (x, 4)).collect::<Vec<_>>());
        // Nine of fifteen pixels, across the point in the middle too.
        let (dashes, gap) = (row(true), |x: u32| (9..15).contains(&(x % 15)));
        assert!(dashes.iter().all(|(x, _)| !gap(*x) || gap(*x + 1) != gap(*x - 1)), "{dashes:?}");
        assert!((30..44).contains(&dashes.len()), "{}", dashes.len());
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let mut canvas = Canvas::new([8.0, 8.0]);
        let style = Style { across: Across::Centre, ..Style::new(20.0, INK) };
        for place in [[-50.0, 4.0], [400.0, 4.0], [4.0, -90.0], [0.0, 0.0]] {
            canvas.text(place, "text", &style);
            canvas.disc(place, 3.0, INK);
            canvas.fill(place, [place[0] + 2.0, place[1] + 2.0], INK);
        }
        assert!(!ink(&canvas.into_picture()).is_empty());
    }

    #[test]
    fn text_stands_where_it_is_told_to() {
        let bounds = |across, upward| {
            let mut canvas = Canvas::new([120.0, 120.0]);
            canvas.text([60.0, 60.0], "HHHH", &Style { across, upward, ..Style::new(16.0, INK) });
            let ink = ink(&canvas.into_picture());
            let range = |of: fn(&(u32, u32)) -> u32| {
                (ink.iter().map(of).min().unwrap(), ink.iter().map(of).max().unwrap())
            };
            (range(|p| p.0), range(|p| p.1))
        };
        let (across, down) = bounds(Across::Left, false);
        assert!((60..64).contains(&across.0) && across.1 > 100, "{across:?}");
        assert!(down.0 >= 53 && down.1 <= 67 && (58..62).contains(&((down.0 + down.1) / 2)), "{down:?}");
        let (across, _) = bounds(Across::Right, false);
        assert!((56..61).contains(&across.1), "{across:?}");
        // Upward it begins below and ends above.
        let (across, down) = bounds(Across::Left, true);
        assert!(across.0 >= 53 && across.1 <= 67 && down.0 < 20 && (56..61).contains(&down.1), "{down:?}");
    }
}
