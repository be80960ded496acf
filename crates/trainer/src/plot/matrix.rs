//! Which class is taken for which.

use std::path::Path;

use image::RgbImage;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::TrainError;
use crate::plot::{Area, PlotError, canvas, save};

/// Classes beyond which cells get neither names nor numbers.
const READABLE: usize = 40;

/// Draws a confusion matrix (true class × predicted class) as a picture: a row a true class, the
/// darker the larger a share of its images.
///
/// # Errors
/// The picture cannot be written.
pub fn draw_matrix(classes: &[String], counts: &[u64], path: &Path) -> Result<(), TrainError> {
    save(draw(classes, counts), path)
}

fn draw(classes: &[String], counts: &[u64]) -> Result<RgbImage, PlotError> {
    let named = classes.len() <= READABLE;
    let longest = classes.iter().map(|class| class.chars().count()).max().unwrap_or(0).min(24) as u32;
    let (cell, margin) =
        if named { (36, 20 + 8 * longest) } else { (1000 / classes.len().max(1) as u32 + 1, 30) };
    let side = cell * classes.len() as u32;
    canvas([margin + side + 10, margin + side + 10], |area| {
        for (row, counts) in counts.chunks_exact(classes.len()).enumerate() {
            let images = counts.iter().sum::<u64>().max(1) as f64;
            for (column, count) in counts.iter().enumerate() {
                let corner = [column, row].map(|index| (margin + cell * index as u32) as i32);
                draw_cell(area, corner, cell as i32, *count, *count as f64 / images, named)?;
            }
        }
        if named { names(area, classes, cell as i32, margin as i32) } else { Ok(()) }
    })
}

fn draw_cell(
    area: &Area,
    [x, y]: [i32; 2],
    cell: i32,
    count: u64,
    share: f64,
    named: bool,
) -> Result<(), PlotError> {
    // From white to a dark blue.
    let mix = |dark: f64| (255.0 + (dark - 255.0) * share) as u8;
    let colour = RGBColor(mix(8.0), mix(48.0), mix(107.0));
    area.draw(&Rectangle::new([(x, y), (x + cell - 1, y + cell - 1)], colour.filled()))?;
    if named && count > 0 {
        let ink = if share > 0.5 { WHITE } else { BLACK };
        let style = ("sans-serif", 12).into_font().color(&ink).pos(Pos::new(HPos::Center, VPos::Center));
        area.draw(&Text::new(count.to_string(), (x + cell / 2, y + cell / 2), style))?;
    }
    Ok(())
}

/// True classes on the left, predicted ones above.
fn names(area: &Area, classes: &[String], cell: i32, margin: i32) -> Result<(), PlotError> {
    let font = ("sans-serif", 13).into_font();
    let left = font.color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
    let above =
        font.transform(FontTransform::Rotate270).color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    for (index, class) in classes.iter().enumerate() {
        let class: String = class.chars().take(24).collect();
        let middle = margin + cell * index as i32 + cell / 2;
        area.draw(&Text::new(class.clone(), (margin - 6, middle), left.clone()))?;
        area.draw(&Text::new(class, (middle, margin - 6), above.clone()))?;
    }
    let note = ("sans-serif", 11).into_font().color(&BLACK.mix(0.6));
    area.draw(&Text::new("true / predicted", (4, 4), note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_darken_their_cells() {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        let picture = draw(&classes, &[4, 0, 1, 3]).unwrap();
        // A corner of each cell, away from its number.
        let margin = 20 + 8 * 3;
        let cell =
            |row: u32, column: u32| picture.get_pixel(margin + 36 * column + 2, margin + 36 * row + 2).0;
        assert_eq!((cell(0, 0), cell(0, 1)), ([8, 48, 107], [255; 3]));
        assert!(cell(1, 1)[0] < cell(1, 0)[0] && cell(1, 0)[0] < 255);
        // Names stand in the margin; a thousand classes have none.
        let ink = |picture: &RgbImage, width: u32| {
            (0..width).any(|x| (margin..picture.height()).any(|y| picture.get_pixel(x, y).0[0] < 128))
        };
        assert!(ink(&picture, margin - 2));
        let many = vec!["x".to_owned(); 1000];
        let picture = draw(&many, &vec![1; 1_000_000]).unwrap();
        assert!(picture.width() > 1000 && !ink(&picture, 28));
    }
}
