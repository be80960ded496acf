//! Pictures of what a run has measured.

mod curves;
mod matrix;

use std::path::Path;
use std::sync::Once;

use image::RgbImage;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use crate::error::TrainError;

pub use curves::draw_curves;
pub use matrix::draw_matrix;

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type PlotError = DrawingAreaErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>;

/// A white picture of `[width, height]` pixels with something drawn on it.
fn canvas(
    [width, height]: [u32; 2],
    draw: impl FnOnce(&Area) -> Result<(), PlotError>,
) -> Result<RgbImage, PlotError> {
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        // Latin, Greek and Cyrillic letters. Fails for fonts that are none, which this one is not.
        let font = include_bytes!("../../assets/DejaVuSans-subset.ttf");
        let _ = register_font("sans-serif", FontStyle::Normal, font);
    });
    let mut picture = RgbImage::new(width, height);
    {
        let area = BitMapBackend::with_buffer(&mut picture, (width, height)).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    Ok(picture)
}

fn save(picture: Result<RgbImage, PlotError>, path: &Path) -> Result<(), TrainError> {
    let error = |error| TrainError::Picture { path: path.to_owned(), error };
    let picture = picture
        .map_err(|reason| error(image::ImageError::IoError(std::io::Error::other(reason.to_string()))))?;
    picture.save(path).map_err(error)
}
