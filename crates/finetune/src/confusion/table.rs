//! A few classes: a row and a column with the name of each.

use drawing::{Across, Canvas, INK, MUTED, PAPER, Style, fit, width};
use image::RgbImage;

use super::{Confusion, FOOT, MARGIN, SIZE, foot};

/// The most pixels of a name.
const NAME: f32 = 240.0;
/// Above and beside the names, for what the axes are.
const TITLE: f32 = 28.0;
/// Right of the cells, for how many images of a class are recognised.
const RECOGNISED: f32 = 130.0;

pub(super) fn draw(confusion: &Confusion) -> RgbImage {
    let classes = confusion.classes;
    let cell = match classes.len() {
        0..=12 => 48.0,
        13..=24 => 38.0,
        _ => 30.0,
    };
    let names: Vec<String> = classes.iter().map(|class| fit(class, SIZE, NAME)).collect();
    let margin = MARGIN + TITLE + names.iter().map(|name| width(name, SIZE)).fold(0.0, f32::max) + 10.0;
    let side = cell * classes.len() as f32;
    let (middle, end) = (margin + side / 2.0, margin + side);
    // Wide enough for what the colours mean.
    let mut canvas = Canvas::new([(end + RECOGNISED + MARGIN).max(540.0), end + FOOT]);
    let axis = Style { across: Across::Centre, ..Style::new(SIZE, MUTED) };
    canvas.text([MARGIN + 8.0, middle], "true class", &Style { upward: true, ..axis });
    canvas.text([middle, MARGIN + 8.0], "predicted class", &axis);
    canvas.text([end + 12.0, margin - 16.0], "recognised", &Style::new(SIZE, MUTED));
    for (index, name) in names.iter().enumerate() {
        let at = margin + cell * (index as f32 + 0.5);
        canvas.text([margin - 10.0, at], name, &Style { across: Across::Right, ..Style::new(SIZE, INK) });
        canvas.text([at, margin - 10.0], name, &Style { upward: true, ..Style::new(SIZE, INK) });
        let own = confusion.pair(index, index);
        let recognised = match confusion.images(index) {
            0 => "no image".to_owned(),
            images => format!("{:.0} % of {images}", 100.0 * own.share),
        };
        canvas.text([end + 12.0, at], &recognised, &Style::new(SIZE, MUTED));
    }
    for truth in 0..classes.len() {
        for predicted in 0..classes.len() {
            let corner = [predicted, truth].map(|index| margin + cell * index as f32);
            draw_cell(&mut canvas, confusion, [truth, predicted], corner, cell);
        }
    }
    foot(&mut canvas, confusion, end);
    canvas.into_picture()
}

/// A cell with its number, unless that is 0.
fn draw_cell(
    canvas: &mut Canvas,
    confusion: &Confusion,
    [truth, predicted]: [usize; 2],
    [x, y]: [f32; 2],
    cell: f32,
) {
    let pair = confusion.pair(truth, predicted);
    canvas.fill([x, y], [x + cell - 1.0, y + cell - 1.0], pair.colour());
    if pair.count == 0 {
        return;
    }
    let text = pair.count.to_string();
    let size = SIZE.min(SIZE * (cell - 4.0) / width(&text, SIZE));
    let colour = if pair.share > 0.3 { PAPER } else { INK };
    let style = Style { across: Across::Centre, ..Style::new(size, colour) };
    canvas.text([x + cell / 2.0, y + cell / 2.0], &text, &style);
}
