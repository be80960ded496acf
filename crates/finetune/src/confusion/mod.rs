//! Which class is taken for which, as a picture.

mod table;
mod thumbnail;

use drawing::{Canvas, INK, MUTED, Style, mix};
use image::{Rgb, RgbImage};

/// Classes up to which each has a row with its name.
const READABLE: usize = 40;
/// Of a class that is never taken for another.
const NOTHING: Rgb<u8> = Rgb([245; 3]);
/// Of images that are recognised, and of others.
const RIGHT: Rgb<u8> = Rgb([0, 84, 148]);
const WRONG: Rgb<u8> = Rgb([194, 74, 0]);
/// Size of names and numbers.
const SIZE: f32 = 15.0;
const MARGIN: f32 = 24.0;

/// How often images of one class are taken for another.
#[derive(Debug, Clone, Copy)]
pub struct Confusion<'a> {
    /// Names of the classes.
    pub classes: &'a [String],
    /// True class × predicted class.
    pub counts: &'a [u64],
}

/// Images of one class that are taken for another.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pair {
    truth: usize,
    predicted: usize,
    count: u64,
    /// Of the images of the true class.
    share: f64,
}

impl Confusion<'_> {
    /// The picture: a table with names and numbers of up to 40 classes; of more, a thumbnail and a list
    /// of the pairs that are confused most.
    pub fn draw(&self) -> RgbImage {
        if self.classes.len() <= READABLE { table::draw(self) } else { thumbnail::draw(self) }
    }

    fn row(&self, truth: usize) -> &[u64] {
        &self.counts[truth * self.classes.len()..][..self.classes.len()]
    }

    fn images(&self, truth: usize) -> u64 {
        self.row(truth).iter().sum()
    }

    fn pair(&self, truth: usize, predicted: usize) -> Pair {
        let count = self.row(truth)[predicted];
        Pair { truth, predicted, count, share: count as f64 / self.images(truth).max(1) as f64 }
    }

    /// Pairs of different classes, most images first, of as many the larger share, then in their order.
    fn most_confused(&self, most: usize) -> Vec<Pair> {
        let all = 0..self.classes.len();
        let pairs = all.clone().flat_map(|truth| all.clone().map(move |predicted| (truth, predicted)));
        let pairs = pairs.filter(|(truth, predicted)| truth != predicted);
        let mut pairs: Vec<_> = pairs
            .map(|(truth, predicted)| self.pair(truth, predicted))
            .filter(|pair| pair.count > 0)
            .collect();
        pairs.sort_by(|a, b| b.count.cmp(&a.count).then(b.share.total_cmp(&a.share)));
        pairs.truncate(most);
        pairs
    }

    /// `43.2 % of 250 images recognised`.
    fn summary(&self) -> String {
        let right: u64 = (0..self.classes.len()).map(|class| self.row(class)[class]).sum();
        let images: u64 = self.counts.iter().sum();
        format!("{:.1} % of {images} images recognised", 100.0 * right as f64 / images.max(1) as f64)
    }
}

impl Pair {
    /// Blue where right, orange where wrong; the root of the share, so that a few images are seen too.
    fn colour(&self) -> Rgb<u8> {
        let full = if self.truth == self.predicted { RIGHT } else { WRONG };
        mix(NOTHING, full, self.share.sqrt() as f32)
    }
}

/// Of all that stands below the classes.
const FOOT: f32 = 108.0;

/// What there is to say below the classes: how many images are recognised, what the colours mean.
fn foot(canvas: &mut Canvas, confusion: &Confusion, top: f32) {
    canvas.text([MARGIN, top + 26.0], &confusion.summary(), &Style::new(SIZE, INK));
    for (predicted, name) in [(0, "recognised"), (1, "taken for another")] {
        let (y, style) = (top + 54.0 + 24.0 * predicted as f32, Style::new(SIZE, MUTED));
        canvas.text([MARGIN, y], "0 %", &style);
        let mut x = MARGIN + 36.0;
        for step in 0..=60 {
            let pair = Pair { truth: 0, predicted, count: 0, share: f64::from(step) / 60.0 };
            canvas.fill([x, y - 7.0], [x + 2.0, y + 7.0], pair.colour());
            x += 2.0;
        }
        canvas.text([x + 8.0, y], &format!("100 % of a class's images {name}"), &style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("class {class}")).collect()
    }

    /// `count` classes of ten images: seven right, two taken for the next class and one for the one after.
    fn counts(count: usize) -> Vec<u64> {
        let mut counts = vec![0; count * count];
        for class in 0..count {
            for (offset, images) in [(0, 7), (1, 2), (2, 1)] {
                counts[class * count + (class + offset) % count] += images;
            }
        }
        counts
    }

    #[test]
    fn pairs_come_by_their_images_and_their_share() {
        let classes = names(3);
        let confusion = Confusion { classes: &classes, counts: &[9, 2, 0, 1, 3, 2, 5, 0, 0] };
        let pairs: Vec<_> =
            confusion.most_confused(3).iter().map(|p| (p.truth, p.predicted, p.count)).collect();
        // Two of class 1's six images are a larger share than two of class 0's eleven.
        assert_eq!(pairs, [(2, 0, 5), (1, 2, 2), (0, 1, 2)]);
        assert_eq!(confusion.summary(), "54.5 % of 22 images recognised");
        let colour = |truth, predicted| confusion.pair(truth, predicted).colour();
        assert_eq!((colour(2, 0), colour(2, 2), colour(0, 2)), (WRONG, NOTHING, NOTHING));
        assert_ne!(colour(0, 0), colour(1, 1));
    }

    #[test]
    fn confusions_look_as_stored() {
        let stored = |name: &str| format!("{}/tests/pictures/{name}", env!("CARGO_MANIFEST_DIR"));
        for (count, name) in [(4, "confusion_4.png"), (60, "confusion_60.png")] {
            let mut classes = names(count);
            classes[1] = "a class whose name is much longer than there is room for it".to_owned();
            let picture = Confusion { classes: &classes, counts: &counts(count) }.draw();
            drawing::stored::compare(&picture, stored(name).as_ref()).unwrap();
        }
    }

    #[test]
    fn a_thousand_classes_and_classes_without_images_are_drawn() {
        for count in [1, 40, 41, 1000] {
            let classes = names(count);
            for counts in [counts(count), vec![0; count * count]] {
                let (width, height) = Confusion { classes: &classes, counts: &counts }.draw().dimensions();
                assert!(width < 1800 && height < 1800, "{count}: {width} {height}");
            }
        }
    }
}
