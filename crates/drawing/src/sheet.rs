//! Tiles with titles and captions.

use image::RgbImage;
use image::imageops::{FilterType, resize};

use crate::canvas::Canvas;
use crate::colour::{INK, MUTED};
use crate::text::{Across, Style, fit, wrap};

const MARGIN: f32 = 20.0;
/// Between tiles of a block, and between blocks.
const TILE_GAP: f32 = 6.0;
const BLOCK_GAP: f32 = 24.0;
/// Height of a title, of a line of a caption and of one of the notes.
const TITLE: f32 = 30.0;
const CAPTION: f32 = 22.0;
const NOTE: f32 = 22.0;
const SIZE: f32 = 16.0;
const SMALL: f32 = 14.0;

/// Blocks of tiles, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// Of the tiles of each block, above the first row.
    pub titles: Vec<String>,
    /// Blocks in a row.
    pub columns: usize,
    /// At least one; all of the same size.
    pub blocks: Vec<Block>,
    /// Below all; each begins a line.
    pub notes: Vec<String>,
}

/// Tiles that belong together, side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// At least one; all of the same size.
    pub tiles: Vec<RgbImage>,
    /// Lines below them, the first one in ink; as many as those of other blocks.
    pub caption: Vec<String>,
}

impl Sheet {
    /// The picture.
    pub fn draw(&self) -> RgbImage {
        let block = &self.blocks[0];
        let tile = [block.tiles[0].width() as f32, block.tiles[0].height() as f32];
        let count = block.tiles.len() as f32;
        let width = count * (tile[0] + TILE_GAP) - TILE_GAP;
        let height = tile[1] + 4.0 + CAPTION * block.caption.len() as f32;
        let columns = self.columns.clamp(1, self.blocks.len());
        let rows = self.blocks.len().div_ceil(columns) as f32;
        let across = columns as f32 * (width + BLOCK_GAP) - BLOCK_GAP;
        let notes: Vec<String> = self.notes.iter().flat_map(|note| wrap(note, SMALL, across)).collect();
        let titles = if self.titles.is_empty() { 0.0 } else { TITLE };
        let top = MARGIN / 2.0 + titles;
        let end = top + rows * (height + BLOCK_GAP / 2.0);
        let mut canvas = Canvas::new([2.0 * MARGIN + across, end + NOTE * notes.len() as f32 + MARGIN / 2.0]);
        for (index, block) in self.blocks.iter().enumerate() {
            let left = MARGIN + (index % columns) as f32 * (width + BLOCK_GAP);
            let above = top + (index / columns) as f32 * (height + BLOCK_GAP / 2.0);
            if index < columns {
                self.title(&mut canvas, left, tile[0]);
            }
            block.draw(&mut canvas, [left, above], tile, width);
        }
        for (index, note) in notes.iter().enumerate() {
            canvas.text([MARGIN, end + NOTE * (index as f32 + 0.5)], note, &Style::new(SMALL, MUTED));
        }
        canvas.into_picture()
    }

    /// The titles of the tiles of one block.
    fn title(&self, canvas: &mut Canvas, left: f32, tile: f32) {
        let style = Style { across: Across::Centre, ..Style::new(SIZE, INK) };
        for (index, title) in self.titles.iter().enumerate() {
            let middle = left + index as f32 * (tile + TILE_GAP) + tile / 2.0;
            canvas.text([middle, MARGIN / 2.0 + TITLE / 2.0], &fit(title, SIZE, tile), &style);
        }
    }
}

impl Block {
    fn draw(&self, canvas: &mut Canvas, [left, top]: [f32; 2], tile: [f32; 2], width: f32) {
        for (index, picture) in self.tiles.iter().enumerate() {
            canvas.picture([left + index as f32 * (tile[0] + TILE_GAP), top], picture);
        }
        for (index, line) in self.caption.iter().enumerate() {
            let (size, colour) = if index == 0 { (SIZE, INK) } else { (SMALL, MUTED) };
            let y = top + tile[1] + 4.0 + CAPTION * (index as f32 + 0.5);
            canvas.text([left, y], &fit(line, size, width), &Style::new(size, colour));
        }
    }
}

/// How many times pictures of these sides are to be enlarged, so that the shorter one has `least` pixels.
pub fn enlargement([width, height]: [u32; 2], least: u32) -> u32 {
    least.div_ceil(width.min(height).max(1)).max(1)
}

/// A picture so many times as large, smoothly.
pub fn enlarge(picture: &RgbImage, times: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    resize(picture, width * times, height * times, FilterType::CatmullRom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn sheet(columns: usize, blocks: usize) -> Sheet {
        let tile = |value| RgbImage::from_pixel(60, 40, Rgb([value, 0, 0]));
        let block = |index| Block {
            tiles: vec![tile(100 + index as u8), tile(200 + index as u8)],
            caption: vec!["a caption that is much too long for its tiles".to_owned(), "file".to_owned()],
        };
        let titles = vec!["one".to_owned(), "two".to_owned()];
        let notes = vec!["a note".to_owned()];
        Sheet { titles, columns, blocks: (0..blocks).map(block).collect(), notes }
    }

    #[test]
    fn tiles_stand_in_rows_and_text_beside_them_only() {
        let picture = sheet(2, 3).draw();
        assert_eq!(picture.width(), 20 + 126 + 24 + 126 + 20);
        let count = |red: u8| picture.pixels().filter(|pixel| pixel.0 == [red, 0, 0]).count();
        for red in [100, 101, 102, 200, 201, 202] {
            assert_eq!(count(red), 60 * 40, "{red}");
        }
        assert_eq!(picture.get_pixel(20, 40).0, [100, 0, 0]);
        assert_eq!(picture.get_pixel(20 + 126 + 24, 40).0, [101, 0, 0]);
        // Nothing in the gaps between the columns, though the captions are long.
        assert!((0..picture.height()).all(|y| picture.get_pixel(20 + 126 + 12, y).0 == [255; 3]));
        // One block for which two columns were asked for.
        assert_eq!(sheet(2, 1).draw().width(), 20 + 126 + 20);
    }

    #[test]
    fn small_pictures_grow_smoothly_by_whole_numbers() {
        assert_eq!(
            [[32, 32], [100, 60], [224, 300], [160, 500]].map(|side| enlargement(side, 160)),
            [5, 3, 1, 1]
        );
        let picture = RgbImage::from_fn(4, 2, |x, _| Rgb([80 * x as u8, 0, 0]));
        let large = enlarge(&picture, 8);
        assert_eq!(large.dimensions(), (32, 16));
        let reds: Vec<u8> = (0..32).map(|x| large.get_pixel(x, 5).0[0]).collect();
        assert!(reds.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] - pair[0] < 20), "{reds:?}");
    }
}
