//! The page: a template, the data of the runs, and as many pictures as there is room for.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::curve::{Curve, thin};
use crate::error::ReportError;
use crate::run::Run;
use crate::samples::fit;

/// The most bytes of a page.
pub const LIMIT: usize = 5_000_000;
/// Runs that can be told apart: as many as the page has colours.
pub const MOST_RUNS: usize = 7;
/// Points of all curves together, and those of one that are kept at least and at most.
const POINTS: usize = 50_000;
const CURVE: [usize; 2] = [40, 1500];

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// A page, and what it had no room for or could not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The file.
    pub html: String,
    /// What is missing, a sentence each, after the names of their runs where there are several.
    pub missing: Vec<String>,
}

/// What the script reads.
#[derive(Serialize)]
struct Data<'a> {
    version: &'static str,
    /// When the page was made, in seconds since 1970.
    written: u64,
    /// Whether curves have fewer points than were logged.
    thinned: bool,
    runs: &'a [Value],
}

/// The page of some runs, of at most `limit` bytes; [`LIMIT`] is what it is meant to have.
///
/// # Errors
/// No room for the runs even without pictures, or more runs than can be told apart.
pub fn page(mut runs: Vec<Run>, limit: usize) -> Result<Page, ReportError> {
    if runs.len() > MOST_RUNS {
        return Err(ReportError::TooManyRuns { runs: runs.len(), most: MOST_RUNS });
    }
    let thinned = thin_curves(&mut runs);
    // Once without pictures, to know what room they have.
    let bare = assembled(&values(&runs, Vec::new())?, thinned)?.len();
    let Some(room) = limit.checked_sub(bare) else {
        return Err(ReportError::TooLarge { bytes: bare, limit });
    };
    let with_pictures = runs.iter().filter(|run| !run.samples.is_empty()).count();
    let mut pictures = Vec::new();
    for run in &mut runs {
        // A sentence on each picture that cannot be read takes some of it.
        let share = (room / with_pictures.max(1)).saturating_sub(4096);
        let (shown, unreadable) = fit(&run.samples, &run.curves, share)?;
        if shown.is_empty() && !run.samples.is_empty() && unreadable.len() < run.samples.len() {
            run.lacks("reconstructions: there is no room for a picture".to_owned());
        }
        tell_unreadable(run, &unreadable);
        pictures.push(serde_json::to_value(shown)?);
    }
    let html = assembled(&values(&runs, pictures)?, thinned)?;
    match html.len() <= limit {
        true => Ok(Page { missing: missing(&runs), html }),
        false => Err(ReportError::TooLarge { bytes: bare, limit }),
    }
}

/// A sentence on pictures that cannot be read, of which there may be many.
fn tell_unreadable(run: &mut Run, unreadable: &[String]) {
    if let [first, others @ ..] = unreadable {
        let more = if others.is_empty() { String::new() } else { format!(", and {} others", others.len()) };
        let first: String = first.chars().take(300).collect();
        run.lacks(format!("reconstructions: a picture cannot be read: {first}{more}"));
    }
}

/// Keeps fewer points of long curves, so many of each that there is room for all. Whether any went.
fn thin_curves(runs: &mut [Run]) -> bool {
    fn all(run: &mut Run) -> impl Iterator<Item = &mut Curve> {
        run.curves.iter_mut().chain(run.health.iter_mut().flat_map(|health| &mut health.curves))
    }
    let count = runs.iter_mut().flat_map(all).count().max(1);
    let most = (POINTS / count).clamp(CURVE[0], CURVE[1]);
    // Not `any`, which stops at the first.
    runs.iter_mut().flat_map(all).fold(false, |thinned, curve| thin(&mut curve.points, most) | thinned)
}

/// The runs with their pictures.
fn values(runs: &[Run], pictures: Vec<Value>) -> Result<Vec<Value>, ReportError> {
    let mut pictures = pictures.into_iter();
    let with_pictures = |run: &Run| {
        let mut value = serde_json::to_value(run)?;
        value["samples"] = pictures.next().unwrap_or_else(|| json!([]));
        Ok(value)
    };
    runs.iter().map(with_pictures).collect()
}

fn missing(runs: &[Run]) -> Vec<String> {
    let told = |run: &Run, what: &String| match runs.len() {
        1 => what.clone(),
        _ => format!("{}: {what}", run.name()),
    };
    runs.iter().flat_map(|run| run.missing().iter().map(move |what| told(run, what))).collect()
}

fn assembled(runs: &[Value], thinned: bool) -> Result<String, ReportError> {
    let written = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let data = Data { version: env!("CARGO_PKG_VERSION"), written, thinned, runs };
    let parts = [
        ("{{STYLE_HASH}}", hash(STYLE)),
        ("{{SCRIPT_HASH}}", hash(SCRIPT)),
        ("{{STYLE}}", STYLE.to_owned()),
        ("{{DATA}}", escaped(&serde_json::to_string(&data)?)),
        ("{{SCRIPT}}", SCRIPT.to_owned()),
    ];
    let (mut html, mut rest) = (String::new(), TEMPLATE);
    // In the order of the template, and never within what was put in: data may hold anything.
    for (mark, part) in parts {
        if let Some((before, after)) = rest.split_once(mark) {
            html.push_str(before);
            html.push_str(&part);
            rest = after;
        }
    }
    html.push_str(rest);
    Ok(html)
}

/// What a content security policy knows a style or a script by.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// JSON that is the same within an element of HTML: nothing in it ends the element or begins another one. These
/// characters stand in strings alone, where JSON has other words for them.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)))
            }
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judgement::{Judgement, Mistake};
    use crate::testing::{Folder, data_of};
    use std::fs;

    #[test]
    fn a_run_of_many_large_pictures_stays_below_the_limit() {
        let folder = Folder::new();
        folder.full();
        folder.pictures(200, 800, 1100);
        let page = page(vec![folder.read()], LIMIT).unwrap();
        assert!(page.html.len() <= LIMIT, "{}", page.html.len());
        let data = data_of(&page.html);
        let samples = data["runs"][0]["samples"].as_array().unwrap();
        assert!(samples.len() > 4, "{}", samples.len());
        assert_eq!(
            (&data["runs"][0]["sample_count"], &samples[samples.len() - 1]["step"]),
            (&200.into(), &200.into())
        );
        assert_eq!(page.missing, Vec::<String>::new());
    }

    #[test]
    fn a_limit_too_small_is_said_and_pictures_without_room_are_named() {
        let folder = Folder::new();
        folder.full();
        folder.pictures(3, 300, 300);
        let bare = assembled(&values(&[folder.read()], Vec::new()).unwrap(), false).unwrap().len();
        let error = page(vec![folder.read()], bare - 100).unwrap_err();
        assert!(matches!(error, ReportError::TooLarge { .. }), "{error}");
        let small = page(vec![folder.read()], bare + 5000).unwrap();
        assert_eq!(small.missing, ["reconstructions: there is no room for a picture"]);
        assert!(small.html.len() <= bare + 5000);
    }

    #[test]
    fn the_template_asks_for_nothing_and_its_hashes_are_those_of_its_parts() {
        for text in [TEMPLATE, STYLE, SCRIPT] {
            for address in ["http:", "https:", "//www", "url(", "@import", "fetch(", "innerHTML", "import("] {
                assert!(!text.contains(address), "{address}");
            }
        }
        let html = assembled(&[], false).unwrap();
        assert!(!html.contains("{{"), "a mark of the template is left");
        // The hash of what stands between the tags, as a browser takes it.
        let between = |open: &str, close: &str| {
            let (_, rest) = html.rsplit_once(open).unwrap();
            rest.split_once(close).unwrap().0.to_owned()
        };
        assert!(html.contains(&format!("style-src '{}'", hash(&between("<style>", "</style>")))));
        assert!(html.contains(&format!("script-src '{}'", hash(&between("<script>", "</script>")))));
        // By `openssl dgst -sha256 -binary | base64`.
        assert_eq!(hash("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn names_can_be_anything_and_stay_text() {
        let hostile = "</script><script>alert(1)</script>\u{2028}{{SCRIPT}}<!--&amp;\"'";
        let folder = Folder::new();
        folder.full();
        folder.append("log.jsonl", &format!("{}\n", json!({"step": 9, "epoch": 4.0, hostile: 1.0})));
        let mut run = Run::read(folder.path(), hostile.to_owned()).unwrap();
        let mut tally = finetune::Tally::new(2);
        tally.add(&[0.0, 1.0], &[0]);
        let classes = [hostile.to_owned(), "b".to_owned()];
        let mistake = Mistake::new(hostile, [0, 1], 0.7, None).unwrap();
        let (folder, part) = (hostile.to_owned(), "val".to_owned());
        run.judged(Ok(Judgement::new(
            folder,
            part,
            &classes,
            &tally,
            vec![mistake],
            vec![hostile.to_owned()],
        )));
        let page = page(vec![run], LIMIT).unwrap();
        // Our own two scripts, and nothing that ends them early.
        assert_eq!(page.html.matches("<script").count(), 2);
        assert_eq!(page.html.matches("</script").count(), 2);
        assert!(!page.html.contains("<!--") && !page.html.contains('\u{2028}'));
        let data = data_of(&page.html);
        let run = &data["runs"][0];
        assert_eq!(run["name"], hostile);
        assert_eq!(
            (&run["judgement"]["classes"][0], &run["judgement"]["mistakes"][0]["name"]),
            (&hostile.into(), &hostile.into())
        );
        assert!(run["curves"].as_array().unwrap().iter().any(|curve| curve["of"] == hostile));
    }

    #[test]
    fn a_long_log_is_thinned_and_that_is_said() {
        let folder = Folder::new();
        folder.full();
        let lines: String = (1..20_000u32)
            .map(|step| format!("{}\n", json!({"step": step, "epoch": 0.1, "loss": if step == 9_999 { 1e4 } else { 1.0 }, "lr": 0.1})))
            .collect();
        fs::write(folder.path().join("log.jsonl"), lines).unwrap();
        let data = data_of(&page(vec![folder.read()], LIMIT).unwrap().html);
        let points = data["runs"][0]["curves"][0]["points"].as_array().unwrap();
        assert!(points.len() <= 1500 && points.contains(&json!([9_999, 0.1, 1e4])), "{}", points.len());
        assert_eq!(data["thinned"], true);
    }

    #[test]
    fn more_runs_than_colours_are_refused() {
        let folder = Folder::new();
        folder.full();
        let runs: Vec<Run> = (0..8).map(|_| folder.read()).collect();
        let error = page(runs.clone(), LIMIT).unwrap_err().to_string();
        assert!(error.starts_with("8 runs are more than can be told apart; report on at most 7"), "{error}");
        let both = page(runs[..2].to_vec(), LIMIT).unwrap();
        assert!(both.missing.iter().all(|what| what.starts_with("run: ")), "{:?}", both.missing);
    }
}
