//! TIFFs of more than a picture: other channels than grey or colours, more than 8 bits, floats.

use std::borrow::Cow;
use std::io::Cursor;

use tiff::decoder::ifd::Value;
use tiff::decoder::{Decoder, DecodingSampleType, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::{Numbers, by_channel, each};
use crate::decode::{DecodeOptions, check_size};
use crate::transform::other_channels;

/// Numbers from bytes.
type Read = fn(&[u8]) -> Vec<f32>;

/// The bands of a file: those of its first image, or of as many images of one band. None where it is a
/// picture of 8 bits, and such is wanted.
pub(super) fn read(bytes: &[u8], options: DecodeOptions) -> Result<Option<Numbers>, String> {
    let mut decoder = decoder(bytes)?;
    if matches!(options.channels, 1 | 3) && is_picture(&mut decoder) {
        return Ok(None);
    }
    // Alpha is no colour.
    let alpha = usize::from(options.channels == 3 && matches!(decoder.colortype(), Ok(ColorType::RGBA(_))));
    let bytes = with_bands(bytes, &mut decoder)?;
    let mut decoder = self::decoder(&bytes)?;
    let mut numbers = image(&mut decoder, options.channels + alpha, options.max_pixels)?;
    let plane = numbers.size.0 as usize * numbers.size.1 as usize;
    if numbers.values.len() == plane {
        let found = add_images(&mut numbers, &mut decoder, options)?;
        if found == 1 && options.channels == 3 {
            // Grey, as of pictures.
            numbers.values = numbers.values.repeat(3);
        } else if found != options.channels {
            return Err(other_channels(found, options.channels));
        }
    }
    numbers.values.truncate(options.channels * plane);
    Ok(Some(numbers))
}

/// Adds the images of one band that follow one of the same size, as far as the network has channels for
/// them; how many there are, or one more than the network has channels.
fn add_images(
    numbers: &mut Numbers,
    decoder: &mut Decoder<Cursor<&[u8]>>,
    options: DecodeOptions,
) -> Result<usize, String> {
    let mut found = 1;
    while found <= options.channels && decoder.more_images() {
        decoder.next_image().map_err(text)?;
        if decoder.dimensions().map_err(text)? != numbers.size {
            break;
        }
        found += 1;
        if found <= options.channels {
            let next = image(decoder, 1, options.max_pixels)?;
            if next.largest != numbers.largest {
                return Err("the images of the TIFF are of different types".to_owned());
            }
            numbers.values.extend(next.values);
        }
    }
    Ok(found)
}

fn decoder(bytes: &[u8]) -> Result<Decoder<Cursor<&[u8]>>, String> {
    // Of what a directory lists there is no more than the file has bytes, whatever it claims. Images are
    // decoded into memory of our own.
    let mut limits = Limits::default();
    limits.decoding_buffer_size = bytes.len().saturating_mul(size_of::<Value>());
    limits.intermediate_buffer_size = bytes.len();
    Ok(Decoder::new(Cursor::new(bytes)).map_err(text)?.with_limits(limits))
}

fn text(error: TiffError) -> String {
    error.to_string()
}

/// Whether everyone would see the same in it: 8 bits, in grey or colours, with or without alpha.
fn is_picture(decoder: &mut Decoder<Cursor<&[u8]>>) -> bool {
    match decoder.colortype() {
        Ok(ColorType::Multiband { .. }) => false,
        Ok(colours) => colours.bit_depth() <= 8,
        // The decoder of pictures says what is wrong with it.
        Err(_) => true,
    }
}

/// The file with no colours: of an image in RGB the decoder would leave out further bands.
fn with_bands<'a>(bytes: &'a [u8], decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<Cow<'a, [u8]>, String> {
    const BLACK_IS_ZERO: u16 = 1;
    const RGB: u32 = 2;
    let kind = decoder.get_tag_u32(Tag::PhotometricInterpretation).map_err(text)?;
    match kind {
        0 | 1 => return Ok(Cow::Borrowed(bytes)),
        RGB => {}
        _ => return Err("of TIFFs with bands, those in grey or RGB are read".to_owned()),
    }
    let directory = decoder.ifd_pointer().map_or(0, |pointer| pointer.0) as usize;
    let at = place_of_colours(bytes, directory).ok_or("the TIFF data end in the directory")?;
    let mut bytes = bytes.to_vec();
    let kind = if bytes[0] == b'I' { BLACK_IS_ZERO.to_le_bytes() } else { BLACK_IS_ZERO.to_be_bytes() };
    bytes[at..at + 2].copy_from_slice(&kind);
    Ok(Cow::Owned(bytes))
}

/// Position of the value of the tag `PhotometricInterpretation` in a directory of a TIFF or BigTIFF.
fn place_of_colours(bytes: &[u8], directory: usize) -> Option<usize> {
    let is_little = bytes.first() == Some(&b'I');
    let number = |at: usize, length: usize| {
        let mut digits = bytes.get(at..at.checked_add(length)?)?.to_vec();
        if !is_little {
            digits.reverse();
        }
        Some(digits.iter().rev().fold(0usize, |number, digit| (number << 8) | usize::from(*digit)))
    };
    let is_big = number(2, 2)? == 43;
    // Length of the count of entries, of an entry, and of what stands in it before its value.
    let (count, entry, before) = if is_big { (8, 20, 12) } else { (2, 12, 8) };
    let entries = number(directory, count)?.min(bytes.len() / entry);
    let at = |index: usize| directory + count + index * entry;
    let found = (0..entries)
        .map(at)
        .find(|at| number(*at, 2) == Some(usize::from(Tag::PhotometricInterpretation.to_u16())))?;
    bytes.get(found + before..found + before + 2).map(|_| found + before)
}

/// The image that the decoder is at, `[C, H, W]`, of so many bands or one.
fn image(decoder: &mut Decoder<Cursor<&[u8]>>, wanted: usize, max_pixels: u64) -> Result<Numbers, String> {
    let size = decoder.dimensions().map_err(text)?;
    check_size(size, max_pixels)?;
    if decoder.find_tag_unsigned::<u16>(Tag::Orientation).map_err(text)?.is_some_and(|turn| turn > 1) {
        return Err("of TIFFs with bands, those that are stored upright are read".to_owned());
    }
    let samples = usize::from(decoder.colortype().map_err(text)?.num_samples());
    if samples != 1 && samples != wanted {
        return Err(other_channels(samples, wanted));
    }
    let layout = decoder.image_buffer_layout().map_err(text)?;
    let (bytes_of_one, largest, read): (_, _, Read) = match layout.sample_type {
        Some(DecodingSampleType::U8) => (1, 255.0, |bytes| bytes.iter().map(|v| f32::from(*v)).collect()),
        Some(DecodingSampleType::U16) => {
            (2, f32::from(u16::MAX), |bytes| each(bytes, |v| u16::from_ne_bytes(v).into()))
        }
        Some(DecodingSampleType::F32) => (4, 1.0, |bytes| each(bytes, f32::from_ne_bytes)),
        _ => return Err("of TIFFs with bands, those of uint8, uint16 and float32 are read".to_owned()),
    };
    let wanted = size.0 as usize * size.1 as usize * samples * bytes_of_one;
    if layout.complete_len != wanted {
        return Err(format!(
            "the TIFF's image takes {} bytes, and {wanted} were expected",
            layout.complete_len
        ));
    }
    let mut bytes = vec![0; wanted];
    decoder.read_image_bytes(&mut bytes).map_err(text)?;
    let values = read(&bytes);
    if let Some(none) = no_data(decoder).filter(|none| values.contains(none)) {
        return Err(format!(
            "holds {none}, its mark of no data; fill that with a number and remove the mark"
        ));
    }
    let values = if layout.planes > 1 || samples == 1 { values } else { by_channel(&values, samples) };
    Ok(Numbers { size, values, largest })
}

/// The number that stands where there are no data, as GDAL writes it.
fn no_data(decoder: &mut Decoder<Cursor<&[u8]>>) -> Option<f32> {
    decoder.get_tag_ascii_string(Tag::GdalNodata).ok()?.trim().parse().ok()
}
