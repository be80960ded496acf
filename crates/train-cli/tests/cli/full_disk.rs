//! What commands leave on a disk that is full: what was there before, and the same command finishes once
//! there is room.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::Bench;
use crate::finetune::{bench, finetune};
use crate::interop::golden;

/// Mounts a small disk on `disk`, runs a command, makes the disk large and runs the command again; copies
/// what is on the disk after each into `first` and `second`. The mount is gone when this ends.
const SCRIPT: &str = r#"
size=$1; shift
mkdir disk first second && mount -t tmpfs -o size=$size tmpfs disk && cp -r before/. disk || exit 99
"$@" > first.out 2> first.err; echo $? > first.code
cp -r disk/. first
mount -o remount,size=256m disk
"$@" > second.out 2> second.err; echo $? > second.code
cp -r disk/. second
"#;

/// A disk of so many bytes (in units of 4 KiB, which the smallest file takes), the files on it, and a command.
struct Disk<'a> {
    size: &'static str,
    before: &'a [(&'a str, &'a str)],
    /// Of the command.
    environment: &'a [(&'a str, &'a str)],
}

/// What became of a disk.
struct Seen {
    /// What the command said when the disk was full.
    message: String,
    /// All files after that, by name, and after the command ran again.
    first: BTreeMap<String, Vec<u8>>,
    second: BTreeMap<String, Vec<u8>>,
    /// What the command printed then.
    told: String,
}

fn disk<'a>(size: &'static str, before: &'a [(&'a str, &'a str)]) -> Disk<'a> {
    Disk { size, before, environment: &[] }
}

/// Whether this system lets this user mount a disk; says so where it does not.
fn may_mount() -> bool {
    let may = Command::new("unshare").args(["-rm", "true"]).status().is_ok_and(|status| status.success());
    if !may {
        eprintln!("skipped: `unshare -rm` is not possible here, so there is no small disk to write to");
    }
    may
}

/// Runs [`SCRIPT`] with a command; none where nobody may mount a disk.
fn on_small_disk(
    bench: &Bench,
    size: &str,
    environment: &[(&str, &str)],
    args: &[&str],
) -> Option<std::process::Output> {
    let mut command = Command::new("unshare");
    command.current_dir(bench.dir.path()).args(["-rm", "sh", "-c", SCRIPT, "sh", size]);
    command.envs(environment.iter().copied()).arg(env!("CARGO_BIN_EXE_train-cli")).args(args);
    may_mount().then(|| command.output().unwrap())
}

impl Disk<'_> {
    /// Runs a command that writes below `disk` on the disk when it is too small, which has to fail by a
    /// message of that, and again when it is large enough, which has to succeed. None, with a word, where the
    /// system lets nobody mount a disk.
    fn run(&self, bench: &Bench, args: &[&str]) -> Option<Seen> {
        for folder in ["disk", "first", "second", "before"] {
            let _ = fs::remove_dir_all(bench.path(folder));
        }
        fs::create_dir(bench.path("before")).unwrap();
        self.before.iter().for_each(|(name, text)| fs::write(bench.path("before").join(name), text).unwrap());
        let done = on_small_disk(bench, self.size, self.environment, args)?;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
        let message = text("first.err");
        assert_eq!(text("first.code"), "1\n", "{args:?}: {message}");
        let reasons = message.lines().filter(|line| line.contains("No space left on device"));
        assert!(message.contains("error: ") && reasons.count() == 1, "{message}");
        assert!(message.contains("disk/") && !message.contains("panicked"), "{message}");
        assert_eq!(text("second.code"), "0\n", "{args:?}: {}", text("second.err"));
        let [first, second] = ["first", "second"].map(|folder| files(&bench.path(folder)));
        Some(Seen { message, first, second, told: text("second.out") })
    }

    /// Also says that the full disk has what it had before, and the large one these files.
    fn leaves_all_or_nothing(&self, bench: &Bench, args: &[&str], after: &[&str]) {
        let Some(seen) = self.run(bench, args) else { return };
        let before: BTreeMap<_, _> =
            self.before.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
        assert!(seen.first == before, "{args:?} leaves {:?}", seen.first.keys());
        assert_eq!(seen.second.keys().collect::<Vec<_>>(), after, "{args:?}");
        for (name, old) in before {
            assert!(seen.second[&name] != old, "{args:?} leaves the old {name}");
        }
    }
}

/// All files of a folder and those below it, hidden ones as well; folders without files by their name and `/`.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (name, path) = (entry.file_name().into_string().unwrap(), entry.path());
        if path.is_dir() {
            let below = files(&path);
            let none = below.is_empty().then(|| (format!("{name}/"), Vec::new()));
            found
                .extend(below.into_iter().map(|(file, bytes)| (format!("{name}/{file}"), bytes)).chain(none));
        } else {
            found.insert(name, fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn a_folder_of_an_export_is_there_as_a_whole_or_not_at_all() {
    let bench = Bench::new();
    let classifier = golden("finetuned.pth");
    let small = disk("64k", &[]);
    for (format, after) in [
        (
            "hf",
            &["out/README.md", "out/config.json", "out/model.safetensors", "out/preprocessor_config.json"][..],
        ),
        ("timm", &["out/README.md", "out/config.json", "out/model.safetensors"]),
        ("official", &["out/README.md", "out/checkpoint.pth", "out/model.safetensors"]),
        ("onnx", &["out/README.md", "out/model.onnx"]),
    ] {
        let args = ["export", "--checkpoint", &classifier, "--format", format, "--out", "disk/out"];
        small.leaves_all_or_nothing(&bench, &args, after);
    }
    // The disk itself: a folder that is there already, and that cannot be replaced.
    let args = ["export", "--checkpoint", &classifier, "--format", "timm", "--out", "disk/."];
    small.leaves_all_or_nothing(&bench, &args, &["README.md", "config.json", "model.safetensors"]);
}

#[test]
fn a_folder_of_an_import_is_there_as_a_whole_or_not_at_all() {
    let bench = Bench::new();
    let args = ["import", &golden("finetuned.pth"), "--out", "disk/below/out"];
    let Some(seen) = disk("64k", &[]).run(&bench, &args) else { return };
    assert!(seen.message.contains("cannot write disk/below/out"), "{}", seen.message);
    // The folder around it was made, as `mkdir -p` would.
    assert_eq!(seen.first.keys().collect::<Vec<_>>(), ["below/"]);
    let after = ["below/out/config.toml", "below/out/model.safetensors"];
    assert_eq!(seen.second.keys().collect::<Vec<_>>(), after);
}

#[test]
fn files_of_features_are_there_as_a_whole_and_with_their_names() {
    let bench = Bench::new();
    let network = golden("finetuned.pth");
    for (size, before, file, after) in [
        ("8k", &[][..], "f.safetensors", &["f.names.txt", "f.safetensors"][..]),
        ("12k", &[("f.npy", "old"), ("f.names.txt", "old")], "f.npy", &["f.names.txt", "f.npy"]),
        ("12k", &[("f.csv", "old")], "f.csv", &["f.csv"]),
    ] {
        let out = format!("disk/{file}");
        let args = ["embed", "--checkpoint", &network, "--data", "data", "--out", &out];
        disk(size, before).leaves_all_or_nothing(&bench, &args, after);
    }
}

#[test]
fn pictures_and_the_numbers_beside_them_are_replaced_together_or_stay() {
    let bench = bench();
    bench.succeed(&finetune("run", &["--set", "train.max_steps=2"]));
    let image = "data/class0/00.png";
    let picture = disk("4k", &[("p.png", "old")]);
    for args in [
        &["plot", "run", "--out", "disk/p.png"][..],
        &["data", "preview", "--config", "classes.toml", "--out", "disk/p.png"],
        &["data", "info", "--data", "data", "--sheet", "disk/p.png"],
        &["predict", "--checkpoint", "run", image, "--heatmap", "disk/p.png"],
    ] {
        picture.leaves_all_or_nothing(&bench, args, &["p.png"]);
    }
    // The numbers find room, the picture does not.
    let scores = [("p.json", "{\"masked_mse\": 0}"), ("p.png", "old")];
    let args = ["reconstruct", "--checkpoint", &golden("pretrain_sparse.pth"), "--out", "disk/p.png", image];
    disk("12k", &scores).leaves_all_or_nothing(&bench, &args, &["p.json", "p.png"]);
    let counts = [("p.json", "{\"counts\": 0}"), ("p.png", "old")];
    let args = ["eval", "--checkpoint", "run", "--confusion", "disk/p.png"];
    disk("12k", &counts).leaves_all_or_nothing(&bench, &args, &["p.json", "p.png"]);
}

#[test]
fn configurations_are_there_together_or_not_at_all() {
    let bench = Bench::new();
    let args = ["init", "data", "--out", "disk/new"];
    let Some(seen) = disk("4k", &[]).run(&bench, &args) else { return };
    assert_eq!(seen.first.keys().collect::<Vec<_>>(), ["new/"]);
    let after = ["new/data_finetune.toml", "new/data_pretrain.toml"];
    assert_eq!(seen.second.keys().collect::<Vec<_>>(), after);
    let old = [("data_finetune.toml", "old"), ("data_pretrain.toml", "old")];
    let args = ["init", "data", "--out", "disk/.", "--overwrite"];
    let after = ["data_finetune.toml", "data_pretrain.toml"];
    disk("12k", &old).leaves_all_or_nothing(&bench, &args, &after);
}

#[test]
fn packing_goes_on_with_the_shards_that_found_room() {
    let bench = Bench::new();
    let pack = |out: &'static str| ["data", "pack", "--data", "data", "--out", out, "--shard-images", "5"];
    bench.succeed(&pack("whole"));
    let Some(seen) = disk("64k", &[]).run(&bench, &pack("disk/out")) else { return };
    // But for indexes, which know when a shard was written.
    let packed = |mut files: BTreeMap<String, Vec<u8>>, folder: &str| {
        files.retain(|name, _| !name.ends_with(".index"));
        files.into_iter().map(|(name, bytes)| (name[folder.len()..].to_owned(), bytes)).collect()
    };
    let whole: BTreeMap<_, _> = packed(files(&bench.path("whole")), "");
    let (mut first, second) = (packed(seen.first, "out/"), packed(seen.second, "out/"));
    assert!(first.remove(".pack.json").is_some());
    assert!(first.contains_key("images-000000.tar") && first.len() < whole.len() - 1);
    assert!(first.iter().all(|(name, bytes)| whole.get(name) == Some(bytes)), "{:?}", first.keys());
    assert!(seen.told.contains("kept         "), "{}", seen.told);
    assert!(second == whole, "{:?} instead of {:?}", second.keys(), whole.keys());
}

/// Whatever of a run finds no room, and wherever: the checkpoint, the best network, log, TensorBoard, pictures,
/// lists. The run goes on or says so, and comes to the same once there is room.
#[test]
fn a_run_on_a_full_disk_comes_to_the_same_once_there_is_room() {
    let bench = bench();
    let often = [
        "--set",
        "train.max_steps=8",
        "--set",
        "train.checkpoint_every_steps=3",
        "--set",
        "finetune.ema_decay=0.5",
    ];
    bench.succeed(&finetune("straight", &often));
    let whole = files(&bench.path("straight"));
    let size: usize = whole.values().map(|bytes| bytes.len().next_multiple_of(4096)).sum();
    let mut codes = std::collections::BTreeSet::new();
    // From nothing to somewhat more than all of it.
    for part in 0..=9 {
        let size = format!("{}k", 4 + part * size / 7 / 1024);
        for folder in ["disk", "first", "second", "before"] {
            let _ = fs::remove_dir_all(bench.path(folder));
        }
        fs::create_dir(bench.path("before")).unwrap();
        let Some(done) = on_small_disk(
            &bench,
            &size,
            &[],
            &[&finetune("disk/run", &often)[..], &["--resume", "auto"]].concat(),
        ) else {
            return;
        };
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
        let (code, message) = (text("first.code"), text("first.err"));
        assert!(!message.contains("panicked"), "{size}: {message}");
        assert!(code == "0\n" || message.contains("No space left on device"), "{size}: {code} {message}");
        codes.insert(code);
        assert_eq!(text("second.code"), "0\n", "{size}: {}", text("second.err"));
        let second = files(&bench.path("second/run"));
        let networks: Vec<_> = whole.iter().filter(|(name, _)| name.ends_with(".safetensors")).collect();
        assert!(networks.len() >= 4, "{:?}", whole.keys());
        for (name, bytes) in
            networks.into_iter().filter(|(name, _)| name.contains("step-00000008") || name.contains("best"))
        {
            assert!(second.get(name) == Some(bytes), "{size}: {name} differs, of {:?}", second.keys());
        }
        assert!(!second.keys().any(|name| name.contains(".part")), "{:?}", second.keys());
    }
    assert_eq!(codes.len(), 2, "some disks were too small and some were not: {codes:?}");
}

#[test]
fn a_folder_that_is_read_only_is_refused_before_anything_is_trained() {
    let bench = Bench::new();
    let script = "mount -t tmpfs tmpfs disk && mkdir disk/run && mount -o remount,ro disk && exec \"$@\"";
    fs::create_dir(bench.path("disk")).unwrap();
    if !may_mount() {
        return;
    }
    let mut command = Command::new("unshare");
    command.current_dir(bench.dir.path()).args([
        "-rm",
        "sh",
        "-c",
        script,
        "sh",
        env!("CARGO_BIN_EXE_train-cli"),
    ]);
    let args = crate::common::pretrain_args("disk/run", &[]);
    let message = crate::common::failure(&command.args(&args).output().unwrap(), &args);
    assert!(message.contains("disk/run") && message.contains("Read-only file system"), "{message}");
    assert!(!message.contains("step "), "{message}");
}

/// A server of one repository with one large file: 200,000 bytes of 7.
#[cfg(feature = "hub")]
fn hub() -> (String, std::thread::JoinHandle<Vec<String>>) {
    use std::io::{BufRead, BufReader, Write};

    const BYTES: usize = 200_000;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        let mut ranges = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let path = lines.next().unwrap_or_default();
            let headers: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            let range = headers.iter().find_map(|line| line.strip_prefix("range: ").map(str::to_owned));
            let (head, body) = if path.contains("/resolve/") {
                let from = range.as_ref().and_then(|range| range["bytes=".len()..].split('-').next());
                let from: usize = from.map_or(0, |from| from.parse().unwrap());
                ranges.push(range.unwrap_or_default());
                let range = format!("206 Partial\r\ncontent-range: bytes {from}-{}/{BYTES}", BYTES - 1);
                (if from == 0 { "200 OK".to_owned() } else { range }, vec![7; BYTES - from])
            } else if path.contains("/tree/") {
                let oid = "8cfcba83dcfc81a193bb4e52fd3161efb513906f52cbbe2328fac5f1a79c2b6e";
                let entry = format!(
                    r#"[{{"type": "file", "path": "model.safetensors", "size": {BYTES}, "oid": "00",
                        "lfs": {{"oid": "{oid}"}}}}]"#
                );
                ("200 OK".to_owned(), entry.into_bytes())
            } else if path.contains("/revision/") {
                ("200 OK".to_owned(), format!(r#"{{"sha": "{}"}}"#, "0".repeat(40)).into_bytes())
            } else {
                return ranges;
            };
            let head =
                format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
        ranges
    };
    (address, std::thread::spawn(serve))
}

#[cfg(feature = "hub")]
#[test]
fn a_pull_goes_on_with_what_found_room() {
    let bench = Bench::new();
    let (address, server) = hub();
    let environment = [("HF_ENDPOINT", &address[..]), ("NO_PROXY", "*"), ("HF_HOME", "home")];
    let small = Disk { environment: &environment, ..disk("64k", &[]) };
    let seen = small.run(&bench, &["pull", "user/name", "--out", "disk/out"]);
    // Ends the server.
    let _ = std::net::TcpStream::connect(address.trim_start_matches("http://"));
    let ranges = server.join().unwrap();
    let Some(seen) = seen else { return };
    assert!(seen.message.contains("`model.safetensors` needs 134464 more bytes"), "{}", seen.message);
    assert!(seen.message.contains("what has arrived is in disk/.out.part"), "{}", seen.message);
    assert_eq!(seen.first.len(), 1);
    assert!(seen.first.iter().all(|(name, bytes)| name.starts_with(".out.part/.") && bytes.len() == 65536));
    assert_eq!(ranges, ["", "bytes=65536-"]);
    assert_eq!(seen.second.keys().collect::<Vec<_>>(), ["out/model.safetensors"]);
    assert!(seen.second["out/model.safetensors"] == [7; 200_000]);
}
