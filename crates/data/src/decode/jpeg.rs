//! JPEG, bit for bit as libjpeg-turbo decodes it, and so Pillow.

use image::RgbImage;
use image::metadata::Orientation;
use libjpeg_turbo_rs::{ColorSpace, Decoder, JpegError, PixelFormat};

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
        self.check()?;
        let mut decoder = Decoder::new(self.bytes).map_err(text)?;
        let inks = matches!(decoder.jpeg_color_space(), ColorSpace::Cmyk | ColorSpace::Ycck);
        decoder.set_output_format(if inks { PixelFormat::Cmyk } else { PixelFormat::Rgb });
        decoder.set_block_smoothing(true);
        let image = decoder.decode_image().map_err(text)?;
        let pixels = if inks {
            image.data.as_chunks().0.iter().flat_map(|&pixel| cmyk::inverted_to_rgb(pixel)).collect()
        } else {
            image.data
        };
        RgbImage::from_raw(image.width as u32, image.height as u32, pixels)
            .ok_or_else(|| "the decoder gave too few pixels".to_owned())
    }

    /// Refuses what the decoder would not decode as Pillow does.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
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
