//! Inks → RGB, as Pillow computes it.

/// The colour of inverted inks (255 is no ink), the only kind that JPEGs hold.
pub(super) fn inverted_to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    [cyan, magenta, yellow].map(|ink| black.saturating_sub(share(255 - ink, black)))
}

/// a·b/255, rounded.
fn share(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}
