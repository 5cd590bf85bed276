//! The picture of a scenario: how the instances were, where answers came from and how long they took,
//! over time, with what was broken behind it.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::outcome::{Millis, SLOT, SideOutcome, Slot};
use super::report::{Broken, Entry};
use super::samples::Counts;
use super::scene::REFERENCE;
use super::watch::State;
use crate::paint::{Area, Drawn, FAULT, INK, RED, quiet, style};
use crate::text::grouped;

const WIDTH: u32 = 1100;
/// The heights of a panel with a scale, of a line that tells how an instance was, and of the axis and
/// the margin below all.
const PANEL: u32 = 190;
const STATE: u32 = 24;
const HEAD: u32 = 28;
const FOOT: u32 = 12;
/// What is left and right of what has a scale, and where the names of colours begin.
const LEFT: u32 = 84;
const RIGHT: u32 = 24;
const LEGEND: i32 = 470;

const GREEN: RGBColor = RGBColor(46, 150, 98);
const AMBER: RGBColor = RGBColor(232, 178, 60);
const GREY: RGBColor = RGBColor(150, 156, 164);

/// What became of a request: its name, its colour, and how many there were.
type Kind = (&'static str, RGBColor, fn(&Counts) -> u64);

/// From the bottom up.
const KINDS: [Kind; 7] = [
    ("near", RGBColor(88, 134, 196), |counts| counts.near),
    ("far (Redis)", RGBColor(64, 160, 150), |counts| counts.far),
    ("database", AMBER, |counts| counts.database),
    ("past its time", RGBColor(140, 100, 180), |counts| {
        counts.late
    }),
    ("written", RGBColor(176, 182, 190), |counts| counts.written),
    ("refused", RGBColor(236, 140, 160), |counts| {
        counts.refused_reads + counts.refused_writes
    }),
    ("failed", RED, |counts| counts.failed),
];

/// Draws it, as SVG.
pub(super) fn svg(entry: &Entry) -> Result<String> {
    let mut svg = String::new();
    let picture = Picture { entry };
    picture.draw(&mut svg).map_err(|error| anyhow!("{error}"))?;
    Ok(svg)
}

struct Picture<'a> {
    entry: &'a Entry,
}

impl Picture<'_> {
    fn draw(&self, svg: &mut String) -> Drawn<()> {
        let sides = &self.entry.sides;
        let states: Vec<(&SideOutcome, usize)> = sides
            .iter()
            .filter(|side| side.name != REFERENCE)
            .flat_map(|side| (0..side.courses.len()).map(move |instance| (side, instance)))
            .collect();
        let states_height = HEAD + STATE * states.len() as u32;
        let panels = sides.len() as u32 + 1;
        let height = states_height + panels * PANEL + FOOT;
        let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let (top, mut rest) = root.split_vertically(states_height);
        self.states(&top, &states)?;
        for side in sides {
            let (panel, below) = rest.split_vertically(PANEL);
            self.answers(&panel, side)?;
            rest = below;
        }
        let (panel, _) = rest.split_vertically(PANEL + FOOT);
        self.latencies(&panel)?;
        root.present()
    }

    /// How each instance was, a line for each.
    fn states(&self, area: &Area<'_>, lines: &[(&SideOutcome, usize)]) -> Drawn<()> {
        let at = |seconds: f64| {
            let width = f64::from(WIDTH - LEFT - RIGHT);
            LEFT as i32 + (width * (seconds / self.entry.ended).clamp(0.0, 1.0)) as i32
        };
        let colors = [
            ("well", GREEN),
            ("degraded", AMBER),
            ("down", RED),
            ("silent", GREY),
        ];
        head(area, "How the instances were", colors.into_iter())?;
        for (number, (side, instance)) in lines.iter().enumerate() {
            let top = (HEAD + STATE * number as u32) as i32;
            let course = &side.courses[*instance];
            let ends = course.iter().skip(1).map(|since| since.from);
            let ends = ends.chain([self.entry.ended]);
            for (since, end) in course.iter().zip(ends) {
                let color = match since.state {
                    State::Well => GREEN,
                    State::Degraded(_) => AMBER,
                    State::Down => RED,
                    State::Silent => GREY,
                };
                let corners = [(at(since.from), top), (at(end), top + STATE as i32 - 6)];
                area.draw(&Rectangle::new(corners, color.mix(0.85).filled()))?;
            }
            let name = match side.courses.len() {
                1 => side.name.to_owned(),
                _ => format!("{} {instance}", side.name),
            };
            area.draw_text(&name, &style(13, INK), (12, top + 2))?;
        }
        for Broken { from, to } in &self.entry.broken {
            for x in [at(*from), at(*to)] {
                let line = [
                    (x, HEAD as i32 - 4),
                    (x, (HEAD + STATE * lines.len() as u32) as i32),
                ];
                area.draw(&PathElement::new(line, FAULT.stroke_width(2)))?;
            }
        }
        Ok(())
    }

    /// What became of a side's requests, one kind upon the other.
    fn answers(&self, area: &Area<'_>, side: &SideOutcome) -> Drawn<()> {
        let count_of =
            |count: fn(&Counts) -> u64| side.slots.iter().map(move |slot| count(&slot.counts));
        let there: Vec<_> = KINDS
            .iter()
            .filter(|(_, _, count)| count_of(*count).any(|count| count > 0))
            .collect();
        let caption = format!(
            "{}: requests a second, by where the answer came from",
            side.name
        );
        let area = head(
            area,
            &caption,
            there.iter().map(|(name, color, _)| (*name, *color)),
        )?;
        let most = count_of(Counts::requests).max().unwrap_or_default();
        let most = per_second(most.max(1)) * 1.05;
        let mut chart = self.panel(&area, 0.0..most, 0.0..most, |y| grouped(*y as u64))?;
        let mut floor = vec![0.0; side.slots.len()];
        for (_, color, count) in there {
            let roof: Vec<f64> = count_of(*count)
                .zip(&floor)
                .map(|(count, y)| y + per_second(count))
                .collect();
            let upper = roof
                .iter()
                .enumerate()
                .map(|(index, &y)| (middle(index), y));
            let lower = floor
                .iter()
                .enumerate()
                .map(|(index, &y)| (middle(index), y));
            let outline: Vec<(f64, f64)> = upper.chain(lower.rev()).collect();
            chart.draw_series([Polygon::new(outline, color.mix(0.9))])?;
            floor = roof;
        }
        Ok(())
    }

    /// How long requests took, at all sides.
    fn latencies(&self, area: &Area<'_>) -> Drawn<()> {
        let sides = &self.entry.sides;
        let caption = "p99 (thick) and p50 (thin) of each tenth of a second, in ms";
        let area = head(
            area,
            caption,
            sides.iter().map(|side| (side.name, color_of(side))),
        )?;
        let slots = || sides.iter().flat_map(|side| &side.slots);
        let longest = slots().filter_map(|slot| slot.p99).map(|Millis(ms)| ms);
        let shortest = slots().filter_map(|slot| slot.p50).map(|Millis(ms)| ms);
        let y = shortest.fold(1.0, f64::min) * 0.7..longest.fold(10.0, f64::max) * 1.5;
        let scale = y.clone().log_scale();
        let mut chart = self.panel(&area, y, scale, ToString::to_string)?;
        for side in sides {
            let color = color_of(side);
            let line = |percentile: fn(&Slot) -> Option<Millis>| {
                let slots = side.slots.iter().enumerate();
                let points = slots.filter_map(move |(index, slot)| {
                    let Millis(ms) = percentile(slot)?;
                    Some((middle(index), ms))
                });
                points.collect::<Vec<_>>()
            };
            let p50 = LineSeries::new(line(|slot| slot.p50), color.mix(0.6).stroke_width(1));
            chart.draw_series(p50)?;
            let p99 = LineSeries::new(line(|slot| slot.p99), color.stroke_width(2));
            chart.draw_series(p99)?;
        }
        Ok(())
    }

    /// Axes, and behind them when something was broken.
    fn panel<'a, Y>(
        &self,
        area: &Area<'a>,
        range: Range<f64>,
        scale: Y,
        format: fn(&f64) -> String,
    ) -> Drawn<ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, Y::CoordDescType>>>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin_left(12)
            .margin_right(RIGHT)
            .x_label_area_size(26)
            .y_label_area_size(LEFT - 12)
            .build_cartesian_2d(0.0..self.entry.ended, scale)?;
        for Broken { from, to } in &self.entry.broken {
            let corners = [(*from, range.start), (*to, range.end)];
            chart.draw_series([Rectangle::new(corners, FAULT.mix(0.22).filled())])?;
        }
        let mut mesh = chart.configure_mesh();
        quiet(&mut mesh);
        mesh.disable_x_mesh()
            .y_labels(5)
            .x_labels(15)
            .x_label_formatter(&|x| format!("{x:.0} s"))
            .y_label_formatter(&format)
            .draw()?;
        Ok(chart)
    }
}

/// What a panel shows, and what its colours mean, above it. What is left is for the panel.
fn head<'a, 'b>(
    area: &Area<'a>,
    caption: &str,
    colors: impl Iterator<Item = (&'b str, RGBColor)>,
) -> Drawn<Area<'a>> {
    let (head, rest) = area.split_vertically(HEAD);
    head.draw_text(caption, &style(14, INK), (LEFT as i32, 8))?;
    let mut x = LEGEND;
    for (name, color) in colors {
        head.draw(&Rectangle::new([(x, 9), (x + 12, 21)], color.filled()))?;
        head.draw_text(name, &style(13, INK), (x + 18, 8))?;
        x += 32 + 6 * name.chars().count() as i32;
    }
    Ok(rest)
}

fn color_of(side: &SideOutcome) -> RGBColor {
    match side.name {
        "redis" => RGBColor(196, 72, 48),
        REFERENCE => GREY,
        _ => RGBColor(40, 104, 186),
    }
}

fn per_second(count: u64) -> f64 {
    count as f64 / SLOT.as_secs_f64()
}

/// The middle of a slot, in seconds.
fn middle(index: usize) -> f64 {
    (index as f64 + 0.5) * SLOT.as_secs_f64()
}
