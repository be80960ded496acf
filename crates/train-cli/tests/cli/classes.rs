//! Classes of images and outputs of checkpoints of other programs.

use std::fs;
use std::path::Path;

use checkpoint::{Entry, StateDict};
use serde_json::Value;

use crate::common::{Bench, json};

fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/tests/goldens");
    folder.join(name).to_str().unwrap().to_owned()
}

/// The output that is largest for each of the bench's images.
fn largest_outputs(bench: &Bench, checkpoint: &str) -> Vec<usize> {
    let args = ["predict", "--checkpoint", checkpoint, "--json", "--logits", "data"];
    let largest = |line: &str| {
        let row = json(line);
        let logits = row["logits"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap());
        logits.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0
    };
    bench.succeed(&args).lines().map(largest).collect()
}

/// Puts image `i` into the folder of class `i % classes`, and returns the share of them whose largest
/// output is the one that `output` says of their class.
fn sorted_into(bench: &Bench, folders: &[&str], largest: &[usize], output: &dyn Fn(usize) -> usize) -> f64 {
    let _ = fs::remove_dir_all(bench.path("sorted"));
    let mut right = 0;
    for (index, found) in largest.iter().enumerate() {
        // Every second image where it belongs, the others one folder further.
        let own = (0..folders.len()).find(|class| output(*class) == *found);
        let class = if index < folders.len() { index } else { own.unwrap_or(0) };
        right += usize::from(output(class) == *found);
        let target = bench.path(&format!("sorted/{}/{index}.png", folders[class]));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let source =
            bench.path(&format!("data/class{}/{:02}.png", index / 13, 2 * (index % 13) + index / 13));
        fs::copy(source, target).unwrap();
    }
    right as f64 / largest.len() as f64
}

fn eval(bench: &Bench, checkpoint: &str, more: &[&str]) -> Value {
    let args = [&["eval", "--checkpoint", checkpoint, "--data", "sorted", "--json"], more].concat();
    json(&bench.succeed(&args))
}

const TEN: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

#[test]
fn folders_are_counted_where_a_checkpoint_has_no_names_or_others() {
    let bench = Bench::new();
    bench.succeed(&["import", &golden("finetuned.pth"), "--out", "imported"]);
    bench.succeed(&["export", "--checkpoint", "imported", "--format", "timm", "--out", "timm"]);
    for checkpoint in [&golden("finetuned.pth"), &golden("hf"), "imported", "timm"] {
        let largest = largest_outputs(&bench, checkpoint);
        let expected = sorted_into(&bench, &TEN, &largest, &|class| class);
        let found = eval(&bench, checkpoint, &[]);
        assert_eq!((&found["class_match"], found["top1"].as_f64()), (&"order".into(), Some(expected)));
        let told = bench.succeed(&["eval", "--checkpoint", checkpoint, "--data", "sorted"]);
        assert!(told.contains("in their order, a first: the checkpoint has "), "{told}");
        let picture = ["--confusion", "matrix.png"];
        eval(&bench, checkpoint, &picture);
        let matrix = json(&fs::read_to_string(bench.path("matrix.json")).unwrap());
        assert_eq!(matrix["classes"][9], "j");
    }
    let told = bench.succeed(&["eval", "--checkpoint", "imported", "--data", "sorted"]);
    assert!(told.contains("no names for as many"), "{told}");

    // Made-up names are not matched: `LABEL_10` would be the third of twelve.
    let names: Vec<String> = (0..10).map(|index| format!("LABEL_{}", index + 3)).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort();
    let largest = largest_outputs(&bench, "imported");
    let expected = sorted_into(&bench, &names, &largest, &|class| class);
    let found = eval(&bench, "imported", &[]);
    assert_eq!((&found["class_match"], found["top1"].as_f64()), (&"order".into(), Some(expected)));
    let told = bench.succeed(&["eval", "--checkpoint", "imported", "--data", "sorted"]);
    assert!(told.contains("timm sorts numbers as numbers") && told.contains("`LABEL_10`"), "{told}");
    // Of names in the file, some agree with these folders.
    let error = bench.fail(&["eval", "--checkpoint", &golden("hf"), "--data", "sorted"]);
    assert!(error.contains("3 of the 10 classes of the data are not among the 10"), "{error}");
    assert!(error.contains("LABEL_10, LABEL_11, LABEL_12") && error.contains("--class-map"), "{error}");
}

#[test]
fn a_file_says_which_folder_is_which_output() {
    let bench = Bench::new();
    let checkpoint = golden("finetuned.pth");
    let largest = largest_outputs(&bench, &checkpoint);
    let folders = &TEN[..9];
    let expected = sorted_into(&bench, folders, &largest, &|class| 9 - class);
    let error = bench.fail(&["eval", "--checkpoint", &checkpoint, "--data", "sorted"]);
    assert!(error.contains("no names for its 10 outputs, the data have 9 classes: a, b, c"), "{error}");
    let table: String =
        folders.iter().enumerate().map(|(class, name)| format!("{name},{}\n", 9 - class)).collect();
    fs::write(bench.path("map.csv"), format!("folder,class\n{table}")).unwrap();
    let list: String = ["other"].iter().chain(folders.iter().rev()).map(|name| format!("{name}\n")).collect();
    fs::write(bench.path("class_map.txt"), list).unwrap();
    for file in ["map.csv", "class_map.txt"] {
        let found = eval(&bench, &checkpoint, &["--class-map", file]);
        assert_eq!(
            (&found["class_match"], found["top1"].as_f64()),
            (&"map".into(), Some(expected)),
            "{file}"
        );
        let args =
            ["predict", "--checkpoint", &checkpoint, "--class-map", file, "--json", "data/class0/00.png"];
        assert_eq!(json(&bench.succeed(&args))["predictions"][0]["label"], TEN[9 - largest[0]], "{file}");
    }
    fs::write(bench.path("map.csv"), format!("folder,class\n{table}a,1\n")).unwrap();
    let args = ["eval", "--checkpoint", &checkpoint, "--data", "sorted", "--class-map", "map.csv"];
    assert!(bench.fail(&args).contains("map.csv lists `a` twice"));
}

/// The golden's head as ten outputs of a thousand, the others never the largest.
fn imagenet(bench: &Bench, outputs: &[usize]) -> String {
    bench.succeed(&[
        "export",
        "--checkpoint",
        &golden("finetuned.pth"),
        "--format",
        "official",
        "--out",
        "ten",
    ]);
    let mut tensors = StateDict::load(&bench.path("ten/model.safetensors")).unwrap();
    let (head, bias) = (tensors.get("head.weight").unwrap(), tensors.get("head.bias").unwrap());
    let mut wide = Entry { shape: vec![1000, 64], values: vec![0.0; 64_000] };
    let mut low = Entry { shape: vec![1000], values: vec![-1e4; 1000] };
    for (row, output) in outputs.iter().enumerate() {
        wide.values[64 * output..64 * (output + 1)].copy_from_slice(&head.values[64 * row..64 * (row + 1)]);
        low.values[*output] = bias.values[row];
    }
    tensors.insert("head.weight".into(), wide);
    tensors.insert("head.bias".into(), low);
    tensors.save(&bench.path("imagenet.safetensors")).unwrap();
    "imagenet.safetensors".into()
}

#[test]
fn folders_by_wordnet_id_are_the_right_outputs_of_imagenet() {
    let bench = Bench::new();
    let ids = [
        ("n01440764", 0),
        ("n02102040", 217),
        ("n02979186", 482),
        ("n03000684", 491),
        ("n03028079", 497),
        ("n03394916", 566),
        ("n03417042", 569),
        ("n03425413", 571),
        ("n03445777", 574),
        ("n03888257", 701),
    ];
    // The rows in another order than the folders'.
    let mut rows = ids.map(|(_, output)| output);
    rows.reverse();
    let checkpoint = imagenet(&bench, &rows);
    let largest = largest_outputs(&bench, &checkpoint);
    let expected = sorted_into(&bench, &ids.map(|(id, _)| id), &largest, &|class| ids[class].1);
    bench.succeed(&["import", &checkpoint, "--out", "imported"]);
    for checkpoint in [&checkpoint, "imported"] {
        let found = eval(&bench, checkpoint, &[]);
        assert_eq!((&found["class_match"], found["top1"].as_f64()), (&"imagenet".into(), Some(expected)));
        let told = bench.succeed(&["eval", "--checkpoint", checkpoint, "--data", "sorted"]);
        assert!(told.contains("its 1000 are taken for ImageNet's"), "{told}");
        assert!(told.contains("tench, Tinca tinca") && told.contains("990 other classes"), "{told}");
    }
    let output = bench.run(&["predict", "--checkpoint", &checkpoint, "data/class0/00.png"]);
    let names = ["tench", "English springer", "cassette player", "chain saw", "church", "French horn"];
    let names = names.iter().chain(&["garbage truck", "gas pump", "golf ball", "parachute"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    let first = ids.iter().zip(names).find(|((_, output), _)| *output == largest[0]).unwrap().1;
    assert!(shown.lines().nth(1).unwrap().contains(first), "{shown}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("its 1000 are taken for ImageNet's"));
}

#[test]
fn one_of_several_networks_is_named() {
    let bench = Bench::new();
    let file = golden("pickles/timm_training.pth");
    let output = bench.run(&["info", &file]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("layout       transformers, under `state_dict`, without the prefix `module.`"),
        "{told}"
    );
    let note = String::from_utf8_lossy(&output.stderr);
    assert!(note.contains("--key takes another: `state_dict_ema`"), "{note}");
    let info = json(&bench.succeed(&["info", "--json", "--key", "state_dict_ema", &file]));
    assert_eq!(
        (&info["key"], &info["other_keys"][0]),
        (&"state_dict_ema".into(), &"state_dict.module".into())
    );
    bench.succeed(&["import", &file, "--key", "state_dict_ema", "--out", "average"]);
    bench.succeed(&["export", "--checkpoint", &file, "--format", "official", "--out", "plain"]);
    for (folder, value) in [("average", 0.25), ("plain", 0.5)] {
        let tensors = StateDict::load(&bench.path(folder).join("model.safetensors")).unwrap();
        assert_eq!(tensors.get("head.bias").unwrap().values, [value, value], "{folder}");
    }
    let error = bench.fail(&["predict", "--checkpoint", &file, "--key", "model_ema", "data/class0/00.png"]);
    assert!(
        error.contains("no network under `model_ema`; there is `state_dict.module`, `state_dict_ema`"),
        "{error}"
    );
    let error = bench.fail(&["info", &golden("pickles/timm_ema.pth")]);
    assert!(
        error
            .contains("its tensors are `weight` …, under `state_dict`; --key takes others: `state_dict_ema`"),
        "{error}"
    );
    let args = ["pretrain", "--config", "tiny.toml", "--run-dir", "p", "--key", "model_ema"];
    assert!(bench.fail(&args).contains("--key is about the checkpoint of --init"));
    assert!(bench.fail(&["info", "tiny.toml", "--key", "model"]).contains("--key is for checkpoints"));
    assert!(bench.fail(&["info", "tiny.toml", "--tensors"]).contains("--tensors is for checkpoints"));
}

#[test]
fn fine_tuning_starts_from_the_network_that_is_named() {
    let bench = Bench::new();
    let config = fs::read_to_string(bench.path("tiny.toml")).unwrap();
    let config =
        config.replace("[fcmae]\npatch_size = 8\ndecoder_dim = 16\n", "[finetune]\nfreeze = \"encoder\"\n");
    let config = config
        .replace("[data]", "[data]\nval_fraction = 0.2")
        .replace("warmup_epochs = 1", "warmup_epochs = 0");
    fs::write(bench.path("finetune.toml"), config).unwrap();
    for index in 0..26u8 {
        let path = bench.path(&format!("data/class{}/{index:02}.png", index % 2));
        image::open(&path).unwrap().to_luma8().save(&path).unwrap();
    }
    let file = golden("pickles/timm_training.pth");
    let set = ["depths=[1]", "hidden_sizes=[1]", "patch_size=1", "num_channels=1"]
        .map(|set| format!("model.{set}"));
    let mut args = vec!["finetune", "--config", "finetune.toml", "--run-dir", "run", "--init", &file];
    args.extend(["--key", "state_dict_ema", "--set", "train.max_steps=1", "--set", "data.mean=[0.5]"]);
    args.extend(["--set", "data.std=[0.5]"]);
    args.extend(set.iter().flat_map(|set| ["--set", set]));
    bench.succeed(&args);
    let trained = StateDict::load(&bench.path("run/checkpoints/step-00000001/model.safetensors")).unwrap();
    assert_eq!(trained.get("downsample_layers.0.0.weight").unwrap().values, [0.25]);
}
