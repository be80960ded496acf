//! What the markers of a JPEG say, which decides who decodes it.

use image::metadata::Orientation;

/// What the markers of a JPEG say.
#[derive(Debug)]
pub(super) struct Header {
    /// Columns.
    pub(super) width: u16,
    /// Rows.
    pub(super) height: u16,
    /// Bits of a sample.
    pub(super) precision: u8,
    /// Kind of compression: the marker of the frame.
    pub(super) frame: u8,
    /// Samples of a component in a unit, (horizontal, vertical).
    pub(super) sampling: Vec<(u8, u8)>,
    /// Components of each scan.
    pub(super) scans: Vec<usize>,
    /// Bytes up to and with the end marker, where there is one.
    pub(super) end: Option<usize>,
    /// How the picture has to be turned.
    pub(super) orientation: Orientation,
    /// Whether the orientation has been looked for.
    has_exif: bool,
}

const START_OF_SCAN: u8 = 0xda;
const END: u8 = 0xd9;
const APP1: u8 = 0xe1;

impl Header {
    /// Reads all markers up to the end marker; thumbnails and pictures behind it do not count.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut header = Self {
            width: 0,
            height: 0,
            precision: 0,
            frame: 0,
            sampling: Vec::new(),
            scans: Vec::new(),
            end: None,
            orientation: Orientation::NoTransforms,
            has_exif: false,
        };
        let mut position = 2;
        while let Some((marker, after)) = next_marker(bytes, position) {
            if marker == END {
                header.end = Some(after);
                break;
            }
            position = after;
            if !stands_alone(marker) {
                let Some(segment) = segment(bytes, after) else { break };
                position += 2 + segment.len();
                header.take(marker, segment);
            }
        }
        if header.sampling.is_empty() { Err("the JPEG has no picture".to_owned()) } else { Ok(header) }
    }

    /// Whether the samples lie as in almost every JPEG: grey, or three components with chroma of
    /// full or half size.
    pub(super) fn is_plain(&self) -> bool {
        let usual = |&(across, down): &(u8, u8)| (1..=2).contains(&across) && (1..=2).contains(&down);
        match self.sampling[..] {
            [one] => one == (1, 1),
            [luma, (1, 1), (1, 1)] => usual(&luma),
            _ => false,
        }
    }

    /// Whether the second and the third of four components have one size, into which that of the first and the
    /// fourth can be divided: the decoder takes that for granted.
    pub(super) fn inks_are_usual(&self) -> bool {
        let divides = |part: u8, whole: u8| part > 0 && whole.is_multiple_of(part);
        match self.sampling[..] {
            [first, second, third, fourth] => {
                first == fourth && second == third && divides(second.0, first.0) && divides(second.1, first.1)
            }
            _ => true,
        }
    }

    /// Columns and rows of a unit of compressed data, in which all components have whole blocks.
    pub(super) fn unit(&self) -> (u32, u32) {
        let most = |of: fn(&(u8, u8)) -> u8| 8 * u32::from(self.sampling.iter().map(of).max().unwrap_or(1));
        (most(|s| s.0), most(|s| s.1))
    }

    fn take(&mut self, marker: u8, segment: &[u8]) {
        match (marker, segment) {
            (0xc0..=0xcf, [precision, h1, h0, w1, w0, _, components @ ..])
                if !matches!(marker, 0xc4 | 0xc8 | 0xcc) && self.sampling.is_empty() =>
            {
                (self.frame, self.precision) = (marker, *precision);
                self.height = u16::from_be_bytes([*h1, *h0]);
                self.width = u16::from_be_bytes([*w1, *w0]);
                self.sampling = components.chunks_exact(3).map(|c| (c[1] >> 4, c[1] & 15)).collect();
            }
            (START_OF_SCAN, [components, ..]) => self.scans.push(usize::from(*components)),
            (APP1, [b'E', b'x', b'i', b'f', 0, 0, exif @ ..]) => {
                // Of several the first one counts, as in Pillow.
                if !self.has_exif {
                    self.orientation = Orientation::from_exif_chunk(exif).unwrap_or(self.orientation);
                }
                self.has_exif = true;
            }
            _ => {}
        }
    }
}

/// The next marker at or behind a position, and the position behind it. Compressed data and junk
/// before it are passed over.
fn next_marker(bytes: &[u8], mut position: usize) -> Option<(u8, usize)> {
    loop {
        position += bytes.get(position..)?.iter().position(|&byte| byte == 0xff)?;
        // Any number of 0xff may stand before a marker.
        position += bytes[position..].iter().position(|&byte| byte != 0xff)?;
        if bytes[position] != 0 {
            return Some((bytes[position], position + 1));
        }
    }
}

/// Whether a marker has no segment: a restart, a start or filling.
fn stands_alone(marker: u8) -> bool {
    matches!(marker, 0x01 | 0xd0..=0xd8)
}

/// The segment that starts with its length.
fn segment(bytes: &[u8], position: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(position)?, *bytes.get(position + 1)?]));
    bytes.get(position + 2..position.checked_add(length)?)
}
