//! JPEG, bit for bit as libjpeg-turbo decodes it, and so Pillow.

use image::RgbImage;
use image::metadata::Orientation;
use libjpeg_turbo_rs::{ColorSpace, Decoder, JpegError, PixelFormat, ScalingFactor};

use crate::crop_box::{CropBox, crop};
use crate::decode::cmyk;
use crate::decode::header::Header;

/// A JPEG whose markers have been read.
#[derive(Debug)]
pub(super) struct Jpeg<'a> {
    /// The file up to the end of the picture.
    bytes: &'a [u8],
    header: Header,
}

impl<'a> Jpeg<'a> {
    /// The picture, and how it has to be turned.
    pub(super) fn open(bytes: &'a [u8]) -> Result<(Self, Orientation), String> {
        let header = Header::read(bytes)?;
        let bytes = match header.end {
            Some(end) => &bytes[..end],
            None => without_padding(bytes, &header)
                .ok_or_else(|| "the JPEG data end before the image does".to_owned())?,
        };
        let orientation = header.orientation;
        Ok((Self { bytes, header }, orientation))
    }

    /// (width, height), as stored.
    pub(super) fn dimensions(&self) -> (u32, u32) {
        (self.header.width.into(), self.header.height.into())
    }

    /// All pixels, as stored.
    pub(super) fn whole(&self) -> Result<RgbImage, String> {
        let decoder = self.decoder()?;
        pixels(&decoder)
    }

    /// The pixels of a stored box, of a picture that is `reduction` (1, 2, 4 or 8) times smaller.
    pub(super) fn part(&self, area: CropBox, reduction: u32) -> Result<RgbImage, String> {
        if !self.header.is_plain() {
            return self.whole().map(|image| crop(&image, area));
        }
        let mut decoder = self.decoder()?;
        decoder.set_scale(ScalingFactor::try_new(1, reduction).map_err(text)?);
        let (width, height) = (decoder.output_width() as u32, decoder.output_height() as u32);
        let (unit_width, unit_height) = self.header.unit();
        let columns = Span::of(area.left, area.width, reduction, width);
        let rows = Span::of(area.top, area.height, reduction, height);
        let (wide, tall) =
            (columns.padded(unit_width / reduction, width), rows.padded(unit_height / reduction, height));
        decoder.set_crop_region(
            wide.first as usize,
            tall.first as usize,
            wide.count as usize,
            tall.count as usize,
        );
        let image = pixels(&decoder)?;
        let (left, top) = (columns.first - wide.first, rows.first - tall.first);
        Ok(crop(&image, CropBox { left, top, width: columns.count, height: rows.count }))
    }

    /// A decoder that gives RGB or inks, for a picture of a kind that it decodes as Pillow does.
    fn decoder(&self) -> Result<Decoder<'a>, String> {
        if self.header.precision != 8 {
            return Err(format!(
                "JPEG with {} bits a sample is not read; convert it to an 8-bit JPEG or a PNG",
                self.header.precision
            ));
        }
        // Baseline, extended and progressive, by Huffman's codes or arithmetic.
        if !matches!(self.header.frame, 0xc0..=0xc2 | 0xc9 | 0xca) {
            return Err(format!(
                "JPEG of the kind {:#x} (lossless or hierarchical) is not read; convert it to a PNG",
                self.header.frame
            ));
        }
        if !self.header.inks_are_usual() {
            return Err(
                "JPEG with inks of other sizes than usual is not read; convert it to a PNG".to_owned()
            );
        }
        let mut decoder = Decoder::new(self.bytes).map_err(text)?;
        let inks = matches!(decoder.jpeg_color_space(), ColorSpace::Cmyk | ColorSpace::Ycck);
        decoder.set_output_format(if inks { PixelFormat::Cmyk } else { PixelFormat::Rgb });
        decoder.set_block_smoothing(true);
        Ok(decoder)
    }
}

/// Consecutive columns or rows.
#[derive(Clone, Copy)]
struct Span {
    first: u32,
    count: u32,
}

impl Span {
    /// Pixels in a picture that is `reduction` times smaller and has `all` of them: the edges move
    /// to the nearest pixel.
    fn of(first: u32, count: u32, reduction: u32, all: u32) -> Self {
        let nearest = |edge: u32| (edge + reduction / 2) / reduction;
        let start = nearest(first).min(all - 1);
        let end = nearest(first + count).clamp(start + 1, all);
        Self { first: start, count: end - start }
    }

    /// Whole units, and one more on each side: chroma is smoothed over the borders of units.
    fn padded(self, unit: u32, all: u32) -> Self {
        let first = (self.first / unit).saturating_sub(1) * unit;
        let end = ((self.first + self.count).div_ceil(unit) + 1).saturating_mul(unit).min(all);
        Self { first, count: end - first }
    }
}

/// Decodes what the decoder has been set to.
fn pixels(decoder: &Decoder) -> Result<RgbImage, String> {
    let image = decoder.decode_image().map_err(text)?;
    let values = match image.pixel_format {
        PixelFormat::Cmyk => {
            image.data.as_chunks().0.iter().flat_map(|&inks| cmyk::inverted_to_rgb(inks)).collect()
        }
        _ => image.data,
    };
    RgbImage::from_raw(image.width as u32, image.height as u32, values)
        .ok_or_else(|| "the decoder gave too few pixels".to_owned())
}

fn text(error: JpegError) -> String {
    match error {
        JpegError::UnexpectedEof => "the JPEG data end before the image does".to_owned(),
        error => error.to_string(),
    }
}

/// A picture without an end marker is whole if zeros follow it and all of its pixels are there.
///
/// As in Pillow: a file that just ends is cut short, and so is one of several scans.
fn without_padding<'a>(bytes: &'a [u8], header: &Header) -> Option<&'a [u8]> {
    let sequential = matches!(header.frame, 0xc0 | 0xc1) && header.scans == [header.sampling.len()];
    let mut end = bytes.iter().rposition(|&byte| byte != 0)? + 1;
    // The zero after 0xff is no padding.
    end += usize::from(bytes[end - 1] == 0xff);
    (sequential && bytes.len() >= end + 2).then(|| &bytes[..end])
}
