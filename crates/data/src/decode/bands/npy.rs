//! Arrays as `numpy.save` writes them.

use super::{Numbers, by_channel, each};
use crate::decode::{DecodeOptions, check_size};

/// The array of a file, as an image.
pub(super) fn read(bytes: &[u8], options: DecodeOptions) -> Result<Numbers, String> {
    let (header, data) = header(bytes).ok_or("the header of the array is cut short")?;
    let header = std::str::from_utf8(header).map_err(|_| "the header of the array is no text")?;
    let of = |key: &str| value(header, key).ok_or_else(|| format!("the header of the array has no {key}"));
    if of("fortran_order")? != "False" {
        return Err("the array is in Fortran order; save it by numpy.ascontiguousarray".to_owned());
    }
    let numbers = Type::named(of("descr")?)?;
    let layout = Layout::of(&shape(of("shape")?)?, options.channels)?;
    check_size(layout.size, options.max_pixels)?;
    let count = layout.size.0 as usize * layout.size.1 as usize * layout.channels;
    let wanted = count.checked_mul(numbers.bytes).ok_or("the array is too large")?;
    if data.len() != wanted {
        return Err(format!("the array takes {wanted} bytes and the file has {}", data.len()));
    }
    let values = (numbers.read)(data);
    let values = if layout.channels_last { by_channel(&values, layout.channels) } else { values };
    Ok(Numbers { size: layout.size, values, largest: numbers.largest })
}

/// The text that describes the array, and what follows it.
fn header(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, start) = match bytes.get(6)? {
        1 => (usize::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?)), 10),
        _ => (u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?) as usize, 12),
    };
    bytes.get(start..)?.split_at_checked(length)
}

/// What stands behind a key of a dictionary such as
/// `{'descr': '<u2', 'fortran_order': False, 'shape': (3, 64, 64), }`.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, behind) = header.split_once(&format!("'{key}':"))?;
    let behind = behind.trim_start();
    let end = if behind.starts_with('(') { behind.find(')')? + 1 } else { behind.find([',', '}'])? };
    Some(behind[..end].trim())
}

/// The numbers of `(3, 64, 64)`.
fn shape(text: &str) -> Result<Vec<usize>, String> {
    let sides = text.trim_start_matches('(').trim_end_matches(')').split(',').map(str::trim);
    let sides = sides.filter(|side| !side.is_empty()).map(str::parse);
    sides.collect::<Result<_, _>>().map_err(|_| format!("the array has the shape {text}"))
}

/// A type of numbers.
struct Type {
    bytes: usize,
    largest: f32,
    read: fn(&[u8]) -> Vec<f32>,
}

impl Type {
    fn named(name: &str) -> Result<Self, String> {
        let bytes = |bytes: &[u8]| bytes.iter().map(|byte| f32::from(*byte)).collect();
        let [whole, short] = [255.0, f32::from(u16::MAX)];
        Ok(match name.trim_matches('\'') {
            "|u1" | "<u1" | ">u1" => Self { bytes: 1, largest: whole, read: bytes },
            "<u2" => Self { bytes: 2, largest: short, read: |b| each(b, |v| u16::from_le_bytes(v).into()) },
            ">u2" => Self { bytes: 2, largest: short, read: |b| each(b, |v| u16::from_be_bytes(v).into()) },
            "<f4" => Self { bytes: 4, largest: 1.0, read: |b| each(b, f32::from_le_bytes) },
            ">f4" => Self { bytes: 4, largest: 1.0, read: |b| each(b, f32::from_be_bytes) },
            other => {
                return Err(format!(
                    "the array holds numbers of type {other}; uint8, uint16 and float32 are read, so save it \
                     by array.astype('float32')"
                ));
            }
        })
    }
}

/// Where the channels of an array are.
#[derive(Debug, PartialEq)]
struct Layout {
    /// (width, height).
    size: (u32, u32),
    channels: usize,
    channels_last: bool,
}

impl Layout {
    /// `[C, H, W]` or `[H, W, C]`, whichever has the channels that are wanted, or `[H, W]` for one channel.
    fn of(shape: &[usize], channels: usize) -> Result<Self, String> {
        let (height, width, channels_last) = match *shape {
            [height, width] if channels == 1 => (height, width, false),
            [first, _, last] if first == channels && last == channels => {
                return Err(format!(
                    "the array has the shape {shape:?}, in which the {channels} channels \
                     (model.num_channels) may come first or last"
                ));
            }
            [first, height, width] if first == channels => (height, width, false),
            [height, width, last] if last == channels => (height, width, true),
            _ => {
                return Err(format!(
                    "the array has the shape {shape:?}, and the network takes {channels} channels \
                     (model.num_channels): [{channels}, H, W] or [H, W, {channels}]"
                ));
            }
        };
        let side = |side| u32::try_from(side).map_err(|_| format!("the array has the shape {shape:?}"));
        Ok(Self { size: (side(width)?, side(height)?), channels, channels_last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What numpy 2 writes.
    fn array(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
        let header = format!("{text:<width$}\n", width = length - 1);
        [&b"\x93NUMPY\x01\0"[..], &(length as u16).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn of(bytes: &[u8], channels: usize) -> Result<Numbers, String> {
        read(bytes, DecodeOptions { channels, ..DecodeOptions::default() })
    }

    #[test]
    fn channels_come_first_or_last() {
        let first = of(&array("|u1", "(2, 1, 3)", &[1, 2, 3, 4, 5, 6]), 2).unwrap();
        assert_eq!((first.size, first.values), ((3, 1), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let last = of(&array("|u1", "(1, 3, 2)", &[1, 2, 3, 4, 5, 6]), 2).unwrap();
        assert_eq!((last.size, last.values), ((3, 1), vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0]));
        let grey = of(&array("|u1", "(2, 3)", &[1, 2, 3, 4, 5, 6]), 1).unwrap();
        assert_eq!((grey.size, grey.values.len()), ((3, 2), 6));
    }

    #[test]
    fn types_keep_all_their_bits() {
        let short = of(&array("<u2", "(1, 2)", &[1, 2, 255, 255]), 1).unwrap();
        assert_eq!((short.values, short.largest), (vec![513.0, 65535.0], 65535.0));
        let swapped = of(&array(">u2", "(1, 1)", &[1, 2]), 1).unwrap();
        assert_eq!(swapped.values, [258.0]);
        let float = of(&array("<f4", "(1, 1)", &(-0.75f32).to_le_bytes()), 1).unwrap();
        assert_eq!((float.values, float.largest), (vec![-0.75], 1.0));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let data = [0; 27];
        for (descr, shape, channels, said) in [
            ("|u1", "(3, 3, 3)", 3, "may come first or last"),
            ("|u1", "(5, 3, 4)", 3, "[5, 3, 4], and the network takes 3 channels"),
            ("|u1", "(27,)", 1, "[27], and the network takes 1"),
            ("|u1", "(3, 4, 3)", 4, "takes 4 channels"),
            ("<i8", "(3, 1, 9)", 3, "astype('float32')"),
            ("<u2", "(3, 1, 9)", 3, "takes 54 bytes and the file has 27"),
            ("|u1", "(3, 1, 5)", 3, "takes 15 bytes and the file has 27"),
            ("|u1", "(3, 0, 9)", 3, "no pixels"),
            ("|u1", "(3, 4000000, 4000000)", 3, "data.max_pixels"),
            ("|u1", "(3, -1, 9)", 3, "the shape (3, -1, 9)"),
        ] {
            let error = of(&array(descr, shape, &data), channels).err().unwrap();
            assert!(error.contains(said), "{error}");
        }
        let whole = array("|u1", "(3, 1, 9)", &data);
        for length in 6..whole.len() {
            assert!(of(&whole[..length], 3).is_err(), "{length}");
        }
        let fortran = String::from_utf8_lossy(&whole[10..]).replace("False", "True ");
        let fortran = [&whole[..10], fortran.as_bytes()].concat();
        assert!(of(&fortran, 3).err().unwrap().contains("Fortran order"));
    }
}
