//! `curves.png`: a run at a glance, drawn from its log.

use std::path::PathBuf;

use image::RgbImage;
use plotters::prelude::*;
use serde_json::Value;

use crate::error::TrainError;
use crate::plot::{Area, PlotError, canvas, save};
use checkpoint::RunDir;

const WIDTH: u32 = 900;
const PANEL_HEIGHT: u32 = 260;
/// Okabe and Ito's palette, which the colour-blind can tell apart.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// Panels from top to bottom: title, and keys of the log with what to call them.
const PANELS: [(&str, &[(&str, &str)]); 5] = [
    ("loss", &[("loss", "training"), ("val_loss", "validation"), ("ema_val_loss", "validation, average")]),
    (
        "accuracy",
        &[
            ("val_top1", "top-1"),
            ("ema_val_top1", "top-1, average"),
            ("val_top5", "top-5"),
            ("ema_val_top5", "top-5, average"),
        ],
    ),
    (
        "labels",
        &[
            ("val_map", "mean average precision"),
            ("ema_val_map", "mean average precision, average"),
            ("val_f1", "F1"),
            ("ema_val_f1", "F1, average"),
        ],
    ),
    ("R squared", &[("val_r2", "weights"), ("ema_val_r2", "average")]),
    ("learning rate", &[("lr", "")]),
];

/// A line: name, points (epoch, value).
type Series = (&'static str, Vec<(f64, f64)>);

/// Draws the log of a run into `curves.png` beside it.
///
/// # Errors
/// The log cannot be read or the picture not be written.
pub fn draw_curves(run: &RunDir) -> Result<PathBuf, TrainError> {
    let log = std::fs::read_to_string(run.log()).map_err(TrainError::io("read", &run.log()))?;
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let path = run.path().join("curves.png");
    save(draw(&lines), &path)?;
    Ok(path)
}

/// The finite values of a key, by epoch.
fn points(lines: &[Value], key: &str) -> Vec<(f64, f64)> {
    let pair = |line: &Value| Some((line["epoch"].as_f64()?, line[key].as_f64()?));
    lines.iter().filter_map(pair).filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
}

fn draw(lines: &[Value]) -> Result<RgbImage, PlotError> {
    let panels: Vec<(&str, Vec<Series>)> = PANELS
        .iter()
        .map(|(title, keys)| {
            let series = keys.iter().map(|(key, name)| (*name, points(lines, key)));
            (*title, series.filter(|(_, points)| !points.is_empty()).collect())
        })
        .filter(|(_, series): &(_, Vec<Series>)| !series.is_empty())
        .collect();
    let (width, height) = (WIDTH, PANEL_HEIGHT * panels.len().max(1) as u32);
    canvas([width, height], |area| {
        let areas = area.split_evenly((panels.len().max(1), 1));
        areas.iter().zip(&panels).try_for_each(|(area, (title, series))| panel(area, title, series))
    })
}

fn panel(area: &Area, title: &str, series: &[Series]) -> Result<(), PlotError> {
    let all = || series.iter().flat_map(|(_, points)| points);
    let range = |value: fn(&(f64, f64)) -> f64| {
        let (low, high) =
            all().map(value).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        // Something to see around a single point or a flat line.
        let margin = if high > low { 0.04 * (high - low) } else { high.abs().max(1e-9) * 0.5 };
        low - margin..high + margin
    };
    let spread = range(|p| p.1).end - range(|p| p.1).start;
    let text = ("sans-serif", 15).into_font().color(&BLACK.mix(0.8));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(70)
        .build_cartesian_2d(range(|p| p.0), range(|p| p.1))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(BLACK.mix(0.5))
        .x_desc("epoch")
        .y_labels(6)
        .label_style(text.clone())
        .y_label_formatter(&|value| tick(*value, spread))
        .draw()?;
    for ((name, points), colour) in series.iter().zip(COLOURS) {
        // A line of one point would not be seen.
        if let [point] = points[..] {
            chart.draw_series([Circle::new(point, 3, colour.filled())])?;
        }
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    // One line is named by the title.
    if series.len() == 1 {
        return Ok(());
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .label_font(text)
        .draw()
}

/// With as many digits as tell the ticks of an axis apart.
fn tick(value: f64, spread: f64) -> String {
    match value.abs().max(spread) {
        size if !(0.01..1e5).contains(&size) => format!("{value:.1e}"),
        _ => format!("{value:.*}", (1.5 - spread.log10()).clamp(0.0, 4.0) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn count(picture: &RgbImage, colour: RGBColor) -> usize {
        picture.pixels().filter(|pixel| pixel.0 == [colour.0, colour.1, colour.2]).count()
    }

    #[test]
    fn a_panel_for_what_the_log_has_and_a_colour_a_line() {
        let training =
            "{\"epoch\": 1.0, \"loss\": 2.0, \"lr\": 1e-3}\n{\"epoch\": 2.0, \"loss\": 1.0, \"lr\": 1e-4}";
        let picture = draw(&lines(training)).unwrap();
        assert_eq!(picture.dimensions(), (WIDTH, 2 * PANEL_HEIGHT));
        // A line from one end to the other is longer than the legend's.
        assert!(count(&picture, COLOURS[0]) > 500 && count(&picture, COLOURS[1]) == 0);
        let evaluated = format!("{training}\n{{\"epoch\": 2.0, \"val_loss\": 1.5, \"val_top1\": 0.5}}");
        let picture = draw(&lines(&evaluated)).unwrap();
        assert_eq!(picture.height(), 3 * PANEL_HEIGHT);
        assert!(count(&picture, COLOURS[1]) > 0);
        assert_eq!(draw(&lines(&evaluated)).unwrap(), picture);
    }

    #[test]
    fn a_log_with_nothing_to_draw_gives_an_empty_picture() {
        for text in ["", "{\"epoch\": 1.0, \"loss\": null}", "{\"epoch\": 1.0, \"loss\": 3.0}"] {
            assert_eq!(draw(&lines(text)).unwrap().width(), WIDTH, "{text}");
        }
    }
}
