//! From a folder of images to a first network: configurations, shortcuts, and a plan that is true.

use std::fs;

use crate::common::{Bench, failure, json, pretrain_args};

/// Trains what `tiny.toml` describes, one update.
const ONE: [&str; 2] = ["--set", "train.max_steps=1"];

/// A configuration for fine-tuning that leaves the network to the checkpoint.
const OPEN: &str = "
[finetune]
layer_decay = 0.8
[data]
path = \"data\"
image_size = [16, 24]
val_fraction = 0.2
[optim]
warmup_epochs = 1
[train]
batch_size = 4
epochs = 2
";

#[test]
fn configurations_that_init_writes_train_and_fine_tune() {
    let bench = Bench::new();
    let told = bench.succeed(&["init", "data"]);
    assert!(told.contains("images       26, usually of 18 pixels or more a side"), "{told}");
    assert!(told.contains("labels       2 classes of 13 to 13 images"), "{told}");
    bench.succeed(&["pretrain", "--config", "data_pretrain.toml", "--epochs", "2"]);
    let told = bench.succeed(&["finetune", "--config", "data_finetune.toml", "--epochs", "1"]);
    assert!(told.contains("start        from runs/data_pretrain\n"), "{told}");
    assert!(told.contains("depths [2, 4, 2], channels [48, 96, 192]"), "{told}");
    assert!(bench.fail(&["init", "data"]).contains("--overwrite replaces it"));
    bench.succeed(&["init", "data", "--overwrite"]);

    fs::create_dir(bench.path("flat")).unwrap();
    fs::copy(bench.path("data/class0/00.png"), bench.path("flat/a.png")).unwrap();
    let told = bench.succeed(&["init", "flat", "--out", "configs", "--name", "mine"]);
    assert!(told.contains("labels       none, so there is no configuration for fine-tuning"), "{told}");
    assert!(bench.path("configs/mine_pretrain.toml").is_file());
    assert!(!bench.path("configs/mine_finetune.toml").exists());
    fs::create_dir(bench.path("v1.5")).unwrap();
    fs::rename(bench.path("flat"), bench.path("v1.5/only")).unwrap();
    fs::write(bench.path("v1.5/only/b.png"), "no picture").unwrap();
    let told = bench.succeed(&["init", "v1.5"]);
    assert!(
        told.contains("unreadable   1 of the 2 that were tried") && told.contains("only is the only class"),
        "{told}"
    );
    assert!(bench.path("v1_5_pretrain.toml").is_file() && !bench.path("v1_5_finetune.toml").exists());
    assert!(bench.fail(&["init", "data", "--name", "x\nseed = 3"]).contains("letters, digits"));
    fs::rename(bench.path("v1.5/only"), bench.path("flat")).unwrap();
    fs::write(bench.path("flat/a.png"), "no picture").unwrap();
    assert!(bench.fail(&["init", "flat"]).contains("none of the images that were tried can be read"));
    assert!(bench.fail(&["init", "nowhere"]).contains("nowhere"));
}

#[test]
fn the_program_brings_its_configurations() {
    let bench = Bench::new();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let shown = bench.succeed(&["configs", "show", "quickstart"]);
    assert_eq!(shown, fs::read_to_string(format!("{root}/configs/quickstart.toml")).unwrap());
    let listed = bench.succeed(&["configs", "list"]);
    assert!(listed.contains("fcmae_custom ") && listed.contains("cifar10/scratch"), "{listed}");
    assert_eq!(json(&bench.succeed(&["info", "atto", "--json"]))["depths"], json("[2,2,6,2]"));
    let error = bench.fail(&["info", "fcmae_attos"]);
    assert!(error.contains("fcmae_attos does not exist"), "{error}");
    let models = bench.succeed(&["models", "--json"]);
    assert_eq!(models.lines().count(), 8);
    assert!(bench.succeed(&["models"]).contains("facebook/convnextv2-tiny-22k-224"));
    // What belongs to the other command is said to.
    let error = bench.fail(&["finetune", "--config", "fcmae_atto", "--data", "data"]);
    assert!(error.contains("fcmae_atto is a configuration for train-cli pretrain"), "{error}");
    // The data of the quickstart are part of a checkout.
    let error = bench.fail(&["pretrain", "--config", "quickstart"]);
    assert!(error.contains("data/sample"), "{error}");
    let plan = ["--data", "data", "--dry-run", "--batch-size", "4", "--set", "train.accumulate=1"];
    let told = bench.succeed(&[&["pretrain", "--config", "quickstart"][..], &plan].concat());
    assert!(told.contains("start        from random weights\n"), "{told}");
}

#[test]
fn shortcuts_are_settings() {
    let bench = Bench::new();
    let short = ["--lr", "2e-3", "--batch-size", "2", "--workers", "0", "--epochs", "3", "--seed", "9"];
    bench.succeed(&pretrain_args("run", &[&short[..], &ONE].concat()));
    let config: toml::Table = fs::read_to_string(bench.path("run/config.toml")).unwrap().parse().unwrap();
    assert_eq!(config["seed"].as_integer(), Some(9));
    assert_eq!(config["optim"]["lr"].as_float(), Some(2e-3));
    for (section, key, value) in [("train", "batch_size", 2), ("train", "epochs", 3), ("data", "workers", 0)]
    {
        assert_eq!(config[section][key].as_integer(), Some(value), "{key}");
    }
    let error = bench.fail(&pretrain_args("other", &["--lr", "1e-3", "--set", "optim.lr=1e-3"]));
    assert!(error.contains("--lr and --set optim.lr are the same setting"), "{error}");
    let error = bench.fail(&pretrain_args("other", &["--batch-size", "0"]));
    assert!(error.contains("train.batch_size must be at least 1"), "{error}");

    let args = ["pretrain", "--config", "tiny.toml", ONE[0], ONE[1]];
    let output = bench.command(&args).env("TRAIN_CLI_RUN_DIR", "elsewhere").output().unwrap();
    assert!(output.status.success() && bench.path("elsewhere/config.toml").is_file());
    let output = bench.command(&args).env("TRAIN_CLI_DEVICE", "tpu").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("must be auto, cpu, cuda"));
}

#[test]
fn a_directory_in_use_is_refused_before_anything_is_planned_and_replaced_when_asked() {
    let bench = Bench::new();
    bench.succeed(&pretrain_args("run", &ONE));
    fs::write(bench.path("run/mine.txt"), "").unwrap();
    let again = pretrain_args("run", &ONE);
    let output = bench.run(&again);
    let message = failure(&output, &again);
    assert!(message.contains("--resume auto") && message.contains("--overwrite"), "{message}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let told = bench.succeed(&pretrain_args("run", &["--dry-run"]));
    assert!(told.contains("warning      run exists already and is not empty"), "{told}");

    let within = ["--overwrite", "--init", "run/checkpoints/step-00000001", ONE[0], ONE[1]];
    let message = bench.fail(&pretrain_args("run", &within));
    assert!(message.contains("--overwrite would remove run/checkpoints/step-00000001"), "{message}");
    let message = bench.fail(&pretrain_args("data", &["--overwrite"]));
    assert!(message.contains("data is not the directory of a run"), "{message}");
    assert!(bench.path("data/class0/00.png").is_file() && bench.path("run/mine.txt").is_file());
    bench.succeed(&pretrain_args("run", &["--overwrite", ONE[0], ONE[1]]));
    let log = fs::read_to_string(bench.path("run/log.jsonl")).unwrap();
    assert!(bench.path("run/mine.txt").is_file() && log.lines().count() == 2, "{log}");
}

#[test]
fn fine_tuning_takes_its_network_from_the_checkpoint() {
    let bench = Bench::new();
    bench.succeed(&pretrain_args("pretrained", &ONE));
    fs::write(bench.path("open.toml"), OPEN).unwrap();
    let finetune = |run: &'static str, more: &[&'static str]| {
        [&["finetune", "--config", "open.toml", "--run-dir", run][..], more].concat()
    };
    let init = ["--init", "pretrained"];
    // A plan tells whether the start fits, and what stays fresh.
    let told = bench.succeed(&finetune("run", &[init[0], init[1], "--dry-run"]));
    assert!(told.contains("depths [1, 1], channels [8, 16]"), "{told}");
    assert!(
        told.contains("start        from pretrained\nfresh        norm.weight, norm.bias, head."),
        "{told}"
    );
    assert!(told.contains("device       cpu, ") && told.contains(" f32\n"), "{told}");
    let plan = json(&bench.succeed(&finetune("run", &[init[0], init[1], "--dry-run", "--json"])));
    assert_eq!((&plan["init"], &plan["device"]), (&"pretrained".into(), &"cpu".into()));
    bench.succeed(&finetune("run", &[init[0], init[1], ONE[0], ONE[1]]));
    // A run that goes on knows its network, too.
    let told = bench.succeed(&finetune("run", &["--resume", "auto", "--set", "train.max_steps=2"]));
    assert!(told.contains("start        goes on from run/checkpoints/step-00000001"), "{told}");
    // And where it came from, although that is needed no more.
    let came_from = |run: &str| fs::read_to_string(bench.path(run).join("config.toml")).unwrap();
    assert!(came_from("run").contains("init = \"pretrained\""));
    fs::rename(bench.path("pretrained"), bench.path("elsewhere")).unwrap();
    let again = ["--resume", "auto", "--set", "finetune.init=pretrained", "--set", "train.max_steps=3"];
    bench.succeed(&finetune("run", &again));
    fs::rename(bench.path("elsewhere"), bench.path("pretrained")).unwrap();

    for (set, said) in [
        ("model.size=atto", "model.size is \"atto\" here, and that of the checkpoint is no published one"),
        ("model.patch_size=4", "model.patch_size is 4 here, and that of the checkpoint is 2"),
    ] {
        let error = bench.fail(&finetune("other", &[init[0], init[1], "--dry-run", "--set", set]));
        assert!(error.contains(said), "{error}");
    }
    let error = bench.fail(&finetune("other", &["--dry-run"]));
    assert!(error.contains("takes them from the checkpoint of --init"), "{error}");

    // Weights that do not fit are refused by the plan already.
    let shape = ["--set", "model.depths=[1,1]", "--set", "model.hidden_sizes=[8,16]"];
    let random = [&shape[..], &["--set", "model.patch_size=2", "--dry-run"]].concat();
    let told = bench.succeed(&finetune("other", &random));
    assert!(told.contains("start        FROM RANDOM WEIGHTS: no --init is given"), "{told}");
    let told = bench.succeed(&finetune("other", &[&random[..], &["--init", "none"]].concat()));
    assert!(told.contains("start        from random weights\n"), "{told}");

    let error = bench.fail(&["eval", "--checkpoint", "run", "--confusion", "run/results.png"]);
    assert!(error.contains("run/results.json is another file"), "{error}");
    let error = bench.fail(&["eval", "--checkpoint", "run", "--set", "data.image_size=8"]);
    assert!(error.contains("takes keys of [eval], such as"), "{error}");

    // The hint of `eval` on a pretrained network is a command that works.
    let error = bench.fail(&["eval", "--checkpoint", "pretrained", "--data", "data"]);
    assert!(error.contains("train-cli finetune --config finetune_custom --data DIR --init "), "{error}");
    let hinted = ["finetune", "--config", "finetune_custom", "--data", "data", "--init", "pretrained"];
    let small = ["--set", "data.image_size=16", "--set", "data.val_fraction=0.5", "--batch-size", "4"];
    let told = bench.succeed(&[&hinted[..], &small, &["--epochs", "1"]].concat());
    assert!(
        told.contains("note         the checkpoint has seen images of 16×24 pixels, not 16×16\n"),
        "{told}"
    );
}
