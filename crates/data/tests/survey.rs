//! What is found out about images: what they are like, and which are damaged, the same or in two parts.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod photo;

use std::fs;
use std::path::Path;

use data::source::Stored;
use data::transform::{Interpolation, resample};
use data::{DataConfig, DecodeOptions, Findings, Fingerprint, Part, Split, check, decode, groups, overview};
use image::{Rgb, RgbImage, imageops};
use libjpeg_turbo_rs::Subsampling;
use photo::{jpeg, photo};

fn parts(path: &Path) -> Vec<Part> {
    DataConfig { path: Some(path.to_owned()), ..DataConfig::default() }.parts(0).unwrap()
}

fn checked(parts: &[Part]) -> Findings {
    let mut told = Vec::new();
    let findings = check(parts, DecodeOptions::default(), &mut |images| told.push(images));
    assert_eq!(told.last(), Some(&findings.images));
    findings
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Names below the root, and whether they are exactly the same.
fn named(root: &Path, groups: &[data::Alike]) -> Vec<(Vec<String>, bool)> {
    let below = |name: &String| Path::new(name).strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    groups
        .iter()
        .map(|group| (group.images.iter().map(|(_, name)| below(name)).collect(), group.is_exact))
        .collect()
}

#[test]
fn what_is_wrong_is_found_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for seed in 0..12 {
        let class = ["cat", "dog"][seed as usize % 2];
        let split = if seed < 8 { "train" } else { "val" };
        write(
            root,
            &format!("{split}/{class}/{seed:02}.jpg"),
            &jpeg(&photo(200, 150, seed), 92, Subsampling::S420),
        );
    }
    assert!(checked(&parts(root)).is_clean());
    // The same pixels in another format, a smaller copy, one of two parts under another name, a damaged one.
    let first = fs::read(root.join("train/cat/00.jpg")).unwrap();
    write(root, "train/dog/copy.png", &png(&decode(&first, DecodeOptions::default()).unwrap().into_rgb()));
    let small = resample(&photo(200, 150, 3), [75, 100], Interpolation::Bicubic);
    write(root, "train/dog/small.jpg", &jpeg(&small, 50, Subsampling::S420));
    write(root, "val/dog/other-name.jpeg", &fs::read(root.join("train/dog/05.jpg")).unwrap());
    write(root, "train/cat/cut.jpg", &first[..first.len() / 2]);
    write(root, "train/owl/only.png", &png(&photo(60, 60, 99)));
    let findings = checked(&parts(root));
    assert_eq!(findings.images, 17);
    let group =
        |names: &[&str], exact| (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), exact);
    assert_eq!(
        named(root, &findings.duplicates),
        [
            group(&["train/cat/00.jpg", "train/dog/copy.png"], true),
            group(&["train/dog/03.jpg", "train/dog/small.jpg"], false)
        ]
    );
    assert_eq!(named(root, &findings.leaks), [group(&["train/dog/05.jpg", "val/dog/other-name.jpeg"], true)]);
    let splits: Vec<_> = findings.leaks[0].images.iter().map(|(split, _)| *split).collect();
    assert_eq!(splits, [Some(Split::Train), Some(Split::Val)]);
    assert_eq!(findings.classes_of_one, ["owl"]);
    let [(name, reason)] = &findings.corrupt[..] else { panic!("{:?}", findings.corrupt) };
    assert!(name.ends_with("cut.jpg") && reason.to_string().contains("cannot decode"), "{reason}");
}

#[test]
fn the_parts_are_those_that_a_configuration_makes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for seed in 0..20 {
        write(
            root,
            &format!("all/{}/{seed:02}.png", ["a", "b"][seed as usize % 2]),
            &png(&photo(40, 40, seed)),
        );
    }
    write(root, "all/a/copy.png", &fs::read(root.join("all/a/04.png")).unwrap());
    write(root, "val.csv", b"image,label\nall/a/copy.png,a\nall/b/07.png,b\n");
    let data = DataConfig { path: Some(root.join("all")), ..DataConfig::default() };
    let counts = |data: &DataConfig| -> Vec<(Option<Split>, usize)> {
        data.parts(1).unwrap().iter().map(|part| (part.split, part.images.len())).collect()
    };
    assert_eq!(counts(&data), [(None, 21)]);
    let listed = DataConfig { val_csv: Some(root.join("val.csv")), ..data.clone() };
    assert_eq!(counts(&listed), [(Some(Split::Train), 19), (Some(Split::Val), 2)]);
    // An image that the table takes out of training is no leak, a copy of it is one.
    let findings = checked(&listed.parts(1).unwrap());
    assert_eq!(
        named(root, &findings.leaks),
        [(vec!["all/a/04.png".to_owned(), "all/a/copy.png".to_owned()], true)]
    );
    assert!(findings.duplicates.is_empty());
    let held_out = DataConfig { val_fraction: Some(0.3), ..data };
    let [(Some(Split::Train), training), (Some(Split::Val), validation)] = counts(&held_out)[..] else {
        panic!("{:?}", counts(&held_out))
    };
    assert!(training + validation == 21 && validation > 0);
}

fn alike(a: &RgbImage, b: &RgbImage) -> bool {
    let found = groups(&[Some(Fingerprint::of(&a.clone().into())), Some(Fingerprint::of(&b.clone().into()))]);
    assert!(found.iter().all(|group| group.images == [0, 1]));
    !found.is_empty()
}

/// How many of twenty changed photos are known again.
fn known_again(change: impl Fn(&RgbImage) -> RgbImage) -> usize {
    (0..20)
        .filter(|seed| {
            let photo = photo(320, 240, *seed);
            alike(&photo, &change(&photo))
        })
        .count()
}

#[test]
fn photos_that_were_stored_again_or_made_smaller_are_known() {
    let again = |quality| {
        move |image: &RgbImage| {
            let jpeg = jpeg(image, quality, Subsampling::S420);
            decode(&jpeg, DecodeOptions::default()).unwrap().into_rgb()
        }
    };
    let sized =
        |height, width| move |image: &RgbImage| resample(image, [height, width], Interpolation::Bicubic);
    let cut = |share: f64| {
        move |image: &RgbImage| {
            let [width, height] = [image.width(), image.height()].map(f64::from);
            let [x, y] = [width, height].map(|side| (side * share / 2.0) as u32);
            let (width, height) = ((width * (1.0 - share)) as u32, (height * (1.0 - share)) as u32);
            imageops::crop_imm(image, x, y, width, height).to_image()
        }
    };
    let found = [
        known_again(again(90)),
        known_again(again(50)),
        known_again(again(20)),
        known_again(sized(120, 160)),
        known_again(sized(60, 80)),
        known_again(cut(0.01)),
        known_again(cut(0.02)),
        known_again(cut(0.04)),
        known_again(cut(0.08)),
        known_again(imageops::flip_horizontal),
    ];
    // Stored again, made smaller, or a hundredth cut away.
    assert_eq!(found[..6], [20; 6]);
    // What is cut more, or mirrored, is another picture.
    assert!(found[6] >= found[7] && found[7] < 10, "{found:?}");
    assert_eq!(found[8..], [0, 0]);
}

/// A page of lines that end somewhere, of strokes as of letters.
fn page(seed: u32) -> RgbImage {
    let number =
        |x: u32, y: u32| (x * 7919 + y * 104_729 + seed * 15_485_863).wrapping_mul(0x9e37_79b1) >> 16;
    RgbImage::from_fn(160, 220, |x, y| {
        let is_line = (20..200).contains(&y) && y % 8 < 5 && (16..60 + number(0, y / 8) % 90).contains(&x);
        Rgb([if is_line && number(x / 2, y / 2) % 3 == 0 { 20 } else { 250 }; 3])
    })
}

#[test]
fn images_that_differ_are_told_apart_however_little_they_show() {
    let flat = |value: u8| RgbImage::from_pixel(64, 48, Rgb([value, value, value]));
    let noisy =
        |seed: u32| RgbImage::from_fn(64, 48, |x, y| Rgb([250 + (x * 7 + y * 13 + seed * 5) as u8 % 3; 3]));
    let digit = |shift: u32| {
        // A bar that leans, on black, as a handwritten 1.
        RgbImage::from_fn(28, 28, |x, y| {
            let middle = 11 + shift + (28 - y) / (5 + shift);
            Rgb([if (4..24).contains(&y) && x.abs_diff(middle) <= 1 { 255 } else { 0 }; 3])
        })
    };
    let mut images: Vec<RgbImage> = (0..100).map(page).collect();
    images.extend((0..5).map(|step| flat(250 + step)));
    images.extend((0..5).map(noisy));
    images.extend((0..4).map(digit));
    images.extend((0..200).map(|seed| photo(32, 32, 1000 + seed)));
    let prints: Vec<_> = images.iter().map(|image| Some(Fingerprint::of(&image.clone().into()))).collect();
    assert_eq!(groups(&prints), []);
    // Plain ones are known if they are exactly the same.
    let same =
        groups(&[Some(Fingerprint::of(&flat(9).into())), None, Some(Fingerprint::of(&flat(9).into()))]);
    assert!(same.len() == 1 && same[0].images == [0, 2] && same[0].is_exact);
    let wide = RgbImage::from_pixel(48, 64, Rgb([9; 3]));
    assert_eq!(groups(&[Some(Fingerprint::of(&flat(9).into())), Some(Fingerprint::of(&wide.into()))]), []);
}

#[test]
fn the_overview_has_sizes_and_exact_means() {
    let dir = tempfile::tempdir().unwrap();
    for (name, side, value) in [("a/1.png", 2, 0), ("a/2.png", 2, 102), ("b/3.png", 4, 255)] {
        write(dir.path(), name, &png(&RgbImage::from_pixel(side, 3, Rgb([value, 51, 255 - value]))));
    }
    write(dir.path(), "b/4.png", b"no image");
    write(dir.path(), "b/note.txt", b"");
    let parts = parts(dir.path());
    let seen = overview(&parts, None, DecodeOptions::default(), &mut |_| {});
    assert_eq!((seen.tried, seen.corrupt.len(), seen.usual_side()), (4, 1, Some(2)));
    assert_eq!(seen.sizes.into_iter().collect::<Vec<_>>(), [((2, 3), 2), ((4, 3), 1)]);
    // Pixels count: 6 of 0, 6 of 0.4, 12 of 1.
    let (mean, std) = (seen.channels.mean().unwrap(), seen.channels.std().unwrap());
    let deviation = (0.25 * 0.16 + 0.5 - 0.6f64.powi(2)).sqrt();
    let found = [mean, std].concat();
    for (number, right) in found.iter().zip([0.6, 0.2, 0.4, deviation, 0.0, deviation]) {
        assert!((number - right).abs() < 1e-12, "{found:?}");
    }
    // The first and the third of four.
    let half = overview(&parts, Some(2), DecodeOptions::default(), &mut |_| {});
    assert_eq!((half.tried, half.channels.mean().unwrap()[0]), (2, 12.0 / 18.0));
    assert_eq!(parts[0].images.left_out().kinds()[".txt"], 1);
    assert!(matches!(parts[0].images.read(0).unwrap(), Stored::Encoded(_)));
}
