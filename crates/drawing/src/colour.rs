//! Colours.

use image::Rgb;

/// What everything is drawn on.
pub const PAPER: Rgb<u8> = Rgb([255; 3]);
/// Titles and names.
pub const INK: Rgb<u8> = Rgb([32; 3]);
/// Numbers at axes and notes.
pub const MUTED: Rgb<u8> = Rgb([104; 3]);
/// Lines that help the eye.
pub const GRID: Rgb<u8> = Rgb([226; 3]);

/// Colours of lines: those of Okabe and Ito, which the colour-blind can tell apart, but for the yellow,
/// which nobody sees on white.
pub const LINES: [Rgb<u8>; 7] = [
    Rgb([0, 114, 178]),
    Rgb([213, 94, 0]),
    Rgb([0, 158, 115]),
    Rgb([204, 121, 167]),
    Rgb([86, 180, 233]),
    Rgb([230, 159, 0]),
    Rgb([0, 0, 0]),
];

/// `share` (0 to 1) of one colour laid over another.
pub fn mix(below: Rgb<u8>, above: Rgb<u8>, share: f32) -> Rgb<u8> {
    let channel = |i: usize| {
        let (below, above) = (f32::from(below.0[i]), f32::from(above.0[i]));
        (below + share.clamp(0.0, 1.0) * (above - below)).round() as u8
    };
    Rgb([0, 1, 2].map(channel))
}
