//! Pictures by the program.

use std::fs;

use image::RgbImage;

use crate::common::{Bench, json, pretrain_args};
use crate::finetune::{bench, finetune};

fn picture(bench: &Bench, name: &str) -> RgbImage {
    image::open(bench.path(name)).unwrap().into_rgb8()
}

/// The message of arguments that cannot be.
fn misuse(bench: &Bench, args: &[&str]) -> String {
    let output = bench.run(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn runs_are_drawn_over_each_other() {
    let bench = Bench::new();
    // Without measures of their health, which have more than one curve.
    let plain = ["--set", "health.enabled=false", "--set"];
    bench.succeed(&pretrain_args("runs/first", &[&plain[..], &["train.max_steps=4"]].concat()));
    let other = ["train.max_steps=6", "--set", "seed=7"];
    bench.succeed(&pretrain_args("runs/second", &[&plain[..], &other].concat()));
    let one = ["plot", "runs/first", "--out", "one.png"];
    assert!(bench.succeed(&one).contains("picture      one.png"));
    // A run on its own is drawn as it draws itself.
    assert_eq!(picture(&bench, "one.png"), picture(&bench, "runs/first/curves.png"));
    bench.succeed(&["plot", "runs/first", "runs/second/", "--out", "two.png"]);
    let count =
        |name: &str, colour: [u8; 3]| picture(&bench, name).pixels().filter(|p| p.0 == colour).count();
    let (blue, orange) = ([0, 114, 178], [213, 94, 0]);
    assert!(count("two.png", blue) > 300 && count("two.png", orange) > 300 && count("one.png", orange) == 0);

    let plot = |run: &str| bench.fail(&["plot", "runs/first", run, "--out", "bad.png"]);
    assert!(plot("data").contains("data has no log.jsonl: it is not the directory of a run"));
    assert!(plot("nowhere").contains("nowhere has no log.jsonl"));
    fs::write(bench.path("runs/second/log.jsonl"), "").unwrap();
    assert!(plot("runs/second").contains("log.jsonl has nothing to draw yet"));
    fs::write(bench.path("runs/second/log.jsonl"), "{]\n{}\n").unwrap();
    assert!(plot("runs/second").contains("log.jsonl, line 1:"));
    let many = [&["plot", "--out", "bad.png"][..], &["runs/first"; 8]].concat();
    assert!(bench.fail(&many).contains("8 runs are more than can be told apart; draw at most 7"));
    assert!(misuse(&bench, &["plot", "runs/first", "--out", "bad.jpg"]).contains("its name ends in .png"));
    assert!(!bench.path("bad.png").exists() && !bench.path("bad.jpg").exists());
}

#[test]
fn heat_maps_of_a_folder_are_a_grid_and_their_strength_is_an_option() {
    let bench = bench();
    bench.succeed(&finetune("run", &["--set", "train.max_steps=2"]));
    let predict = |input: &str, more: &[&str]| {
        let args = ["predict", "--checkpoint", "run", input, "--heatmap", "why.png"];
        let told = bench.succeed(&[&args, more].concat());
        (told, picture(&bench, "why.png"))
    };
    let image = "data/class0/00.png";
    let (told, one) = predict(image, &[]);
    assert!(told.contains("heat map     why.png"), "{told}");
    // The photo and its overlay, of 24×16 pixels in a readable size.
    assert!(one.width() > 2 * 24 * 24 && one.height() > 24 * 16, "{:?}", one.dimensions());
    // Without strength both are the photo.
    let (_, bare) = predict(image, &["--heatmap-strength", "0"]);
    let (left, right) = (bare.get_pixel(60, 200), bare.get_pixel(60 + 24 * 24 + 6, 200));
    assert_eq!(left, right);
    assert_ne!(one, bare);
    // Thirteen images, and nothing among the rows that another program reads.
    let (rows, grid) = predict("data/class0", &["--json"]);
    assert_eq!(rows.lines().map(json).count(), 13);
    assert!(grid.width() > one.width() && grid.height() > one.height());

    let args = |more: &[&'static str]| [&["predict", "--checkpoint", "run", image][..], more].concat();
    assert!(misuse(&bench, &args(&["--heatmap-strength", "0.3"])).contains("--heatmap"));
    assert!(
        misuse(&bench, &args(&["--heatmap", "x.png", "--heatmap-strength", "2"])).contains("from 0 to 1")
    );
    assert!(misuse(&bench, &args(&["--heatmap", "x.gif"])).contains("its name ends in .png"));
    let many = vec![image; 101];
    let error = bench.fail(&[&args(&["--heatmap", "x.png"])[..], &many[1..]].concat());
    assert!(error.contains("at most 100 images on a picture, found 101"), "{error}");
}
