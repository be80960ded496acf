//! The keys of everything that is printed or written as JSON, against the table of docs/json.md: each key that
//! appears is there, and each that is there appears.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{Bench, json};

/// A classifier of the bench's images, judged twice, with a moving average.
const CLASSES: &str = r#"
[model]
depths = [1, 1]
hidden_sizes = [8, 16]
patch_size = 2

[finetune]
ema_decay = 0.9

[data]
path = "data"
val_fraction = 0.3
image_size = [16, 24]

[optim]
warmup_epochs = 0

[train]
batch_size = 4
epochs = 2
"#;

/// Keys by what has them.
type Keys = BTreeMap<String, BTreeSet<String>>;

/// The table of the documentation: `| key, key | what, what | meaning |`.
fn documented() -> Keys {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json.md");
    let text = fs::read_to_string(path).unwrap();
    let mut keys = Keys::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        for key in cells[1].split(", ").map(|key| key.trim_matches('`')) {
            for what in cells[2].split(", ") {
                let is_new = keys.entry(what.to_owned()).or_default().insert(key.to_owned());
                assert!(is_new, "`{key}` of {what} has two rows");
            }
        }
    }
    keys
}

/// Every key of a value by its path: `best.score`, `stages[].depth`.
fn paths(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                paths(value, &path, into);
                into.insert(path);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| paths(value, &format!("{prefix}[]"), into)),
        _ => {}
    }
}

/// What is found, by what has it.
#[derive(Default)]
struct Found(Keys);

impl Found {
    fn add(&mut self, what: &str, value: &Value) {
        assert!(value.is_object(), "{what}: {value}");
        paths(value, "", self.0.entry(what.to_owned()).or_default());
    }

    /// Standard output of a command, whose every line has to be JSON; `what` its lines are.
    fn print(&mut self, bench: &Bench, what: &[&str], args: &[&str]) {
        let printed = bench.succeed(args);
        assert_eq!(printed.lines().count(), what.len(), "{args:?}: {printed}");
        for (what, line) in what.iter().zip(printed.lines()) {
            self.add(what, &json(line));
        }
    }

    fn read(&mut self, bench: &Bench, what: &str, file: &str) {
        let text = fs::read_to_string(bench.path(file)).unwrap();
        match file.ends_with(".jsonl") {
            true => text.lines().for_each(|line| self.add(what, &json(line))),
            false => self.add(what, &json(&text)),
        }
    }
}

/// Two classes in folders; and lists with any number of labels, and with numbers.
fn bench() -> Bench {
    let bench = Bench::new();
    fs::write(bench.path("classes.toml"), CLASSES).unwrap();
    let (mut labels, mut numbers) = ("file_name,labels\n".to_owned(), "file_name,target\n".to_owned());
    for index in 0..26 {
        let path = format!("data/class{}/{index:02}.png", index % 2);
        labels += &format!("{path},{}\n", ["a", "b", "a;b", ""][index % 4]);
        numbers += &format!("{path},{}\n", index * 9);
    }
    fs::write(bench.path("labels.csv"), labels).unwrap();
    fs::write(bench.path("numbers.csv"), numbers).unwrap();
    bench
}

fn everything(bench: &Bench) -> Found {
    let mut found = Found::default();
    let trained = &["plan", "results"];
    let pretrain =
        ["pretrain", "--config", "tiny.toml", "--run-dir", "pretrained", "--json", "--epochs", "1"];
    found.print(bench, trained, &pretrain);
    found.read(bench, "log", "pretrained/log.jsonl");
    found.print(bench, &["health"], &["health", "pretrained", "--json"]);
    for (run, data) in [("classes", "data"), ("labels", "labels.csv"), ("numbers", "numbers.csv")] {
        let args = ["finetune", "--config", "classes.toml", "--run-dir", run, "--data", data, "--json"];
        let plain = ["--set", "finetune.label_smoothing=0"];
        found.print(bench, trained, &[&args[..], &plain].concat());
        found.read(bench, "log", &format!("{run}/log.jsonl"));
        found.read(bench, "results", &format!("{run}/results.json"));
        found.print(bench, &["eval"], &["eval", "--checkpoint", run, "--json"]);
        found.print(bench, &["eval"], &["eval", "--checkpoint", run, "--precision", "int8", "--json"]);
    }
    let eval = ["eval", "--checkpoint", "classes", "--confusion", "c.png", "--json"];
    found.print(bench, &["eval"], &eval);
    found.read(bench, "confusion", "c.json");
    found.read(bench, "machine", "classes/machine.json");
    found.print(bench, &["report"], &["report", "classes", "pretrained", "--json"]);
    let image = "data/class0/00.png";
    let predict = ["predict", "--checkpoint", "classes", "--json", "--logits", image, "data/class1/01.png"];
    found.print(bench, &["predict", "predict"], &predict);
    bench.succeed(&["reconstruct", "--checkpoint", "pretrained", "--out", "grid.png", image]);
    found.read(bench, "reconstruct", "grid.json");
    for info in ["tiny.toml", "classes.toml", "pretrained", "classes"] {
        found.print(bench, &["info"], &["info", info, "--json"]);
    }
    found.print(bench, &["info"], &["info", "classes", "--json", "--tensors"]);
    for part in ["train", "val"] {
        for index in 0..8 {
            let class = bench.path(&format!("halves/{part}/class{}", index % 2));
            fs::create_dir_all(&class).unwrap();
            let from = bench.path(&format!("data/class{}/{index:02}.png", index % 2));
            fs::copy(from, class.join(format!("{index}.png"))).unwrap();
        }
    }
    found.print(bench, &["models"; 8], &["models", "--json"]);
    for kind in ["knn", "linear"] {
        let probe = ["probe", kind, "--checkpoint", "pretrained", "--data", "halves", "--json"];
        found.print(bench, &["probe"], &probe);
    }
    for kind in ["pretrain", "finetune", "infer"] {
        let bench_it = ["bench", kind, "--config", "tiny.toml", "--batch", "1", "--steps", "1", "--json"];
        found.print(bench, &["bench"], &bench_it);
    }
    found.print(bench, &["selftest"], &["selftest", "--device", "cpu", "--json"]);
    for kind in ["data", "predict"] {
        let bench_it = ["bench", kind, "--data", "data", "--batch", "4", "--steps", "1", "--json"];
        found.print(bench, &["bench"], &[&bench_it[..], &["--config", "classes.toml"]].concat());
    }
    found.print(bench, &["tune lr"], &["tune", "lr", "--config", "tiny.toml", "--steps", "20", "--json"]);
    found.print(bench, &["tune batch"], &["tune", "batch", "--config", "tiny.toml", "--json"]);
    fs::write(bench.path("data/class0/notes.txt"), "").unwrap();
    found.print(bench, &["data info"], &["data", "info", "--data", "data", "--json"]);
    found.print(bench, &["data info"], &["data", "info", "--data", "halves", "--json"]);
    // It ends with another code, since it finds something.
    let checked = bench.run(&["data", "check", "--data", "data", "--json"]).stdout;
    found.add("data check", &json(&String::from_utf8(checked).unwrap()));
    found
}

#[test]
fn the_table_has_every_key_and_every_key_of_it_appears() {
    let (bench, documented) = (bench(), documented());
    let found = everything(&bench).0;
    let all: BTreeSet<_> = documented.keys().chain(found.keys()).collect();
    let mut wrong = Vec::new();
    for what in all {
        let nothing = BTreeSet::new();
        let (told, seen) = (documented.get(what).unwrap_or(&nothing), found.get(what).unwrap_or(&nothing));
        let covers = |told: &String, seen: &String| {
            told == seen || told.strip_suffix('*').is_some_and(|prefix| seen.starts_with(prefix))
        };
        for key in seen.iter().filter(|key| !told.iter().any(|told| covers(told, key))) {
            wrong.push(format!("{what} has `{key}`, which docs/json.md does not tell"));
        }
        for key in told.iter().filter(|told| !seen.iter().any(|key| covers(told, key))) {
            wrong.push(format!("docs/json.md tells `{key}` of {what}, which never appears"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
