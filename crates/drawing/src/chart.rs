//! Panels of curves over one axis.

use image::{Rgb, RgbImage};

use crate::axis::Axis;
use crate::canvas::{Canvas, Stroke};
use crate::colour::{GRID, INK, MUTED, PAPER};
use crate::text::{Across, Style, fit, width};

const WIDTH: f32 = 1200.0;
/// The least height of a panel's curves.
const PANEL: f32 = 200.0;
const MARGIN: f32 = 24.0;
/// Above the curves of a panel, for its title.
const TITLE: f32 = 48.0;
/// Below the last panel, for the axis.
const FOOT: f32 = 64.0;
/// Of titles; and of all other text.
const LARGE: f32 = 20.0;
const SMALL: f32 = 16.0;
/// A line of the legend, the piece of curve in it, and the pixels that its names may take.
const KEY: f32 = 26.0;
const SWATCH: f32 = 34.0;
const NAME: f32 = 280.0;
/// Curves of so many points or fewer show each of them.
const FEW: usize = 40;

/// Panels of curves, one above the other, over the same axis of whole numbers from 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What the axis counts.
    pub x: &'static str,
    /// From top to bottom.
    pub panels: Vec<Panel>,
}

/// Curves of one kind of value.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What the values are.
    pub title: String,
    /// What follows the numbers at its axis.
    pub unit: &'static str,
    /// At least one, of at least a point.
    pub lines: Vec<Line>,
    /// What stands beside it.
    pub legend: Vec<Key>,
}

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its colour.
    pub colour: Rgb<u8>,
    /// Whether it is broken into dashes.
    pub dashed: bool,
    /// `[x, value]`, by x; finite.
    pub points: Vec<[f64; 2]>,
}

/// What a kind of line stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub colour: Rgb<u8>,
    /// Whether it is broken into dashes.
    pub dashed: bool,
}

/// Where the curves of all panels are, in x.
#[derive(Debug, Clone, Copy)]
struct Columns {
    left: f32,
    right: f32,
    axis: Axis,
}

impl Chart {
    /// The picture.
    pub fn draw(&self) -> RgbImage {
        let columns = self.columns();
        let heights = self.panels.iter().map(Panel::height);
        let mut canvas = Canvas::new([WIDTH, heights.map(|height| TITLE + height).sum::<f32>() + FOOT]);
        let mut top = 0.0;
        for (index, panel) in self.panels.iter().enumerate() {
            let bottom = top + TITLE + panel.height();
            panel.draw(&mut canvas, &columns, [top + TITLE, bottom]);
            if index + 1 == self.panels.len() {
                columns.label(&mut canvas, bottom, self.x);
            }
            top = bottom;
        }
        canvas.into_picture()
    }

    /// The widest numbers fit to the left of the curves and the longest names to their right.
    fn columns(&self) -> Columns {
        let numbers = self.panels.iter().flat_map(|panel| {
            let axis = panel.axis();
            axis.marks().map(move |mark| width(&(axis.label(mark) + panel.unit), SMALL)).collect::<Vec<_>>()
        });
        let left = MARGIN + numbers.fold(0.0, f32::max) + 10.0;
        let names = self.panels.iter().flat_map(|panel| &panel.legend);
        let names = names.map(|key| width(&key.name, SMALL).min(NAME)).reduce(f32::max);
        let right = WIDTH - MARGIN - names.map_or(0.0, |names| names + SWATCH + 28.0);
        let points = self.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
        let last = points.fold(0.0, |last: f64, point| last.max(point[0]));
        // With a number's width between two numbers.
        let number = width(&format!("{last:.0}"), SMALL) + 28.0;
        Columns { left, right, axis: Axis::whole(last, ((right - left) / number).min(10.0) as usize) }
    }
}

impl Columns {
    fn at(&self, x: f64) -> f32 {
        self.left + self.axis.place(x) * (self.right - self.left)
    }

    fn label(&self, canvas: &mut Canvas, bottom: f32, title: &str) {
        let numbers = Style { across: Across::Centre, ..Style::new(SMALL, MUTED) };
        for mark in self.axis.marks() {
            canvas.text([self.at(mark), bottom + 18.0], &self.axis.label(mark), &numbers);
        }
        let middle = (self.left + self.right) / 2.0;
        canvas.text([middle, bottom + 43.0], title, &Style { colour: INK, ..numbers });
    }
}

impl Panel {
    fn axis(&self) -> Axis {
        let axis = Axis::around(self.lines.iter().flat_map(|line| line.points.iter().map(|point| point[1])));
        // A share is never more than all.
        if self.unit == " %" { axis.within(0.0, 100.0) } else { axis }
    }

    /// At least that of its legend.
    fn height(&self) -> f32 {
        PANEL.max(KEY * self.legend.len() as f32)
    }

    fn draw(&self, canvas: &mut Canvas, columns: &Columns, [top, bottom]: [f32; 2]) {
        let (axis, Columns { left, right, .. }) = (self.axis(), *columns);
        let at = |value: f64| bottom - axis.place(value) * (bottom - top);
        let thin = |colour| Stroke { colour, width: 1.0, dashed: false };
        canvas.text([left, top - 20.0], &self.title, &Style::new(LARGE, INK));
        for mark in columns.axis.marks() {
            let x = columns.at(mark).floor() + 0.5;
            canvas.polyline(&[[x, top], [x, bottom]], &thin(GRID));
        }
        let numbers = Style { across: Across::Right, ..Style::new(SMALL, MUTED) };
        for mark in axis.marks() {
            let y = at(mark).floor() + 0.5;
            canvas.polyline(&[[left, y], [right, y]], &thin(GRID));
            canvas.text([left - 10.0, y], &(axis.label(mark) + self.unit), &numbers);
        }
        canvas.polyline(&[[left + 0.5, top], [left + 0.5, bottom]], &thin(MUTED));
        canvas.polyline(&[[left, bottom + 0.5], [right, bottom + 0.5]], &thin(MUTED));
        for line in &self.lines {
            let points: Vec<_> =
                line.points.iter().map(|point| [columns.at(point[0]), at(point[1])]).collect();
            let (colour, dashed) = (line.colour, line.dashed);
            canvas.polyline(&points, &Stroke { colour, width: 2.5, dashed });
            if points.len() <= FEW {
                points.iter().for_each(|point| draw_point(canvas, *point, colour, dashed));
            }
        }
        self.draw_legend(canvas, [right + 22.0, top]);
    }

    /// As its curves look: those of few points have points.
    fn draw_legend(&self, canvas: &mut Canvas, [x, top]: [f32; 2]) {
        let has_points = self.lines.iter().any(|line| line.points.len() <= FEW);
        for (index, Key { name, colour, dashed }) in self.legend.iter().enumerate() {
            let (y, end) = (top + KEY * (index as f32 + 0.5), x + SWATCH - 10.0);
            canvas.polyline(&[[x, y], [end, y]], &Stroke { colour: *colour, width: 3.0, dashed: *dashed });
            if has_points {
                draw_point(canvas, [(x + end) / 2.0, y], *colour, *dashed);
            }
            canvas.text([x + SWATCH, y], &fit(name, SMALL, NAME), &Style::new(SMALL, INK));
        }
    }
}

/// A point of a curve; of a dashed one a circle, since one that stands alone has no dashes.
fn draw_point(canvas: &mut Canvas, place: [f32; 2], colour: Rgb<u8>, hollow: bool) {
    canvas.disc(place, 4.0, colour);
    if hollow {
        canvas.disc(place, 2.0, PAPER);
    }
}
