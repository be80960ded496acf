//! Many classes: all of them small, and the pairs that are confused most by name.

use drawing::{Across, Canvas, INK, MUTED, Style, fit};
use image::RgbImage;

use super::{Confusion, FOOT, MARGIN, Pair, SIZE, WRONG, foot};

/// About the side of the thumbnail.
const SIDE: usize = 600;
/// Beside and above it, for what the axes are.
const TITLE: f32 = 28.0;
/// Pairs in the list, and the height of one.
const PAIRS: usize = 23;
const LINE: f32 = 26.0;
/// The most pixels of a name.
const NAME: f32 = 250.0;
/// Of the bar that shows a share of 1.
const BAR: f32 = 60.0;

pub(super) fn draw(confusion: &Confusion) -> RgbImage {
    let classes = confusion.classes.len();
    // Pixels a class, or classes a pixel.
    let (cell, together) = ((SIDE / classes).max(1), classes.div_ceil(SIDE));
    let cells = classes.div_ceil(together);
    let (corner, side) = (MARGIN + TITLE, (cell * cells) as f32);
    let list = corner + side + 40.0;
    let bottom = corner + side.max(LINE * (PAIRS + 1) as f32);
    let mut canvas = Canvas::new([list + 2.0 * NAME + 220.0 + MARGIN, bottom + FOOT]);
    let axis = Style { across: Across::Centre, ..Style::new(SIZE, MUTED) };
    let middle = corner + side / 2.0;
    canvas.text([MARGIN + 8.0, middle], "true class", &Style { upward: true, ..axis });
    canvas.text(
        [middle, MARGIN + 8.0],
        &format!("predicted class ({classes} classes, in their order)"),
        &axis,
    );
    for truth in 0..cells {
        for predicted in 0..cells {
            let [x, y] = [predicted, truth].map(|index| corner + (cell * index) as f32);
            let pair = largest(confusion, [truth, predicted], together);
            canvas.fill([x, y], [x + cell as f32, y + cell as f32], pair.colour());
        }
    }
    draw_list(&mut canvas, confusion, [list, MARGIN + 8.0]);
    foot(&mut canvas, confusion, bottom);
    canvas.into_picture()
}

/// The largest share among classes that have a pixel together: one that stands alone is not lost.
fn largest(confusion: &Confusion, [truth, predicted]: [usize; 2], together: usize) -> Pair {
    let classes = |cell: usize| cell * together..((cell + 1) * together).min(confusion.classes.len());
    let pairs = classes(truth)
        .flat_map(|truth| classes(predicted).map(move |predicted| confusion.pair(truth, predicted)));
    let nothing = Pair { truth: 0, predicted: 0, count: 0, share: 0.0 };
    pairs.fold(nothing, |largest, pair| if pair.share > largest.share { pair } else { largest })
}

fn draw_list(canvas: &mut Canvas, confusion: &Confusion, [left, top]: [f32; 2]) {
    let columns = [left, left + NAME + 16.0, left + 2.0 * NAME + 76.0, left + 2.0 * NAME + 150.0];
    let right = Style { across: Across::Right, ..Style::new(SIZE, MUTED) };
    canvas.text([columns[0], top], "most confused: images of", &Style::new(SIZE, MUTED));
    canvas.text([columns[1], top], "taken for", &Style::new(SIZE, MUTED));
    canvas.text([columns[2], top], "images", &right);
    canvas.text([columns[3], top], "share", &right);
    let pairs = confusion.most_confused(PAIRS);
    for (index, pair) in pairs.iter().enumerate() {
        let y = top + LINE * (index as f32 + 1.0) + 4.0;
        for (x, class) in [(columns[0], pair.truth), (columns[1], pair.predicted)] {
            canvas.text([x, y], &fit(&confusion.classes[class], SIZE, NAME), &Style::new(SIZE, INK));
        }
        canvas.text([columns[2], y], &pair.count.to_string(), &Style { colour: INK, ..right });
        canvas.text(
            [columns[3], y],
            &format!("{:.0} %", 100.0 * pair.share),
            &Style { colour: INK, ..right },
        );
        let bar = columns[3] + 10.0;
        canvas.fill([bar, y - 6.0], [bar + BAR * pair.share as f32, y + 6.0], WRONG);
    }
    if pairs.is_empty() {
        canvas.text([left, top + LINE + 4.0], "no image is taken for another class", &Style::new(SIZE, INK));
    }
}
