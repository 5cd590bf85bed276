//! The picture of a run: what was missed elsewhere, how much was done and how long it took, over
//! time, with what went wrong behind it.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use plotters::coord::combinators::LogCoord;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::FontTransform;

use super::options::Options;
use super::schedule::Act;
use super::tally::{Moments, Tally, WHILE};
use crate::history::fleet::Moment;
use crate::paint::{Area, Drawn, FAULT, INK, RED, quiet, style};
use crate::text::grouped;

const SIZE: (u32, u32) = (1400, 900);
/// Where the title ends, and each panel.
const PANELS: [i32; 3] = [40, 460, 680];

/// With more of them than this, their names do not fit side by side.
const NAMES: usize = 12;

const BLUE: RGBColor = RGBColor(38, 110, 190);
const GREEN: RGBColor = RGBColor(30, 145, 95);
const VIOLET: RGBColor = RGBColor(120, 80, 170);

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, LogCoord<f64>>>;

/// Draws it.
pub(super) fn draw(path: &Path, tally: &Tally, title: &str, options: &Options) -> Result<()> {
    let picture = Picture {
        tally,
        seconds: tally.course.len().max(1) as f64 * WHILE.as_secs_f64(),
        options,
    };
    let drawn = picture.draw(path, title);
    drawn.map_err(|error| anyhow!("{error}"))
}

struct Picture<'a> {
    tally: &'a Tally,
    seconds: f64,
    options: &'a Options,
}

struct Panel<'a> {
    caption: &'a str,
    y: Range<f64>,
    is_first: bool,
    is_last: bool,
}

impl Picture<'_> {
    fn draw(&self, path: &Path, title: &str) -> Drawn<()> {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let areas = root.split_by_breakpoints(Vec::<i32>::new(), PANELS);
        areas[0].draw_text(title, &style(18, INK), (76, 14))?;
        self.staleness(&areas[1])?;
        self.throughput(&areas[2])?;
        self.longest(&areas[3])?;
        root.present()
    }

    /// How stale each read was that was stale at all.
    fn staleness(&self, area: &Area<'_>) -> Drawn<()> {
        let stale = self.tally.stale.iter();
        let largest = stale.map(|stale| millis(stale.staleness));
        let mut chart = self.panel(
            area,
            &Panel {
                caption: "Stale reads at other instances: ms since the write was acknowledged that they missed",
                y: 0.01..largest.fold(1000.0, f64::max) * 1.5,
                is_first: true,
                is_last: false,
            },
        )?;
        for (limit, name) in [
            (self.options.limit_max, "limit while all is well"),
            (self.options.limit_fault, "limit while something is wrong"),
        ] {
            let y = millis(limit);
            let line = [(0.0, y), (self.seconds, y)];
            let dashes = DashedLineSeries::new(line, 5, 5, RED.mix(0.6).stroke_width(1));
            chart.draw_series(dashes)?;
            let place = (self.seconds * 0.004, y * 1.5);
            chart.draw_series([Text::new(name, place, style(12, RED))])?;
        }
        // One point for all that would be at the same place.
        let mut drawn = HashSet::new();
        for stale in &self.tally.stale {
            let point = (seconds(stale.began), millis(stale.staleness).max(0.011));
            let (x, y) = chart.backend_coord(&point);
            if !drawn.insert((x, y, stale.is_violation)) {
                continue;
            }
            chart.draw_series([if stale.is_violation {
                Circle::new(point, 4, RED.filled())
            } else {
                Circle::new(point, 2, BLUE.mix(0.6).filled())
            }])?;
        }
        Ok(())
    }

    fn throughput(&self, area: &Area<'_>) -> Drawn<()> {
        let per_second = |count: u32| f64::from(count) / WHILE.as_secs_f64();
        let most = self
            .tally
            .course
            .iter()
            .map(|moments| per_second(moments.reads));
        let mut chart = self.panel(
            area,
            &Panel {
                caption: "A second: reads (blue), writes (green), failed requests (red)",
                y: 1.0..most.fold(1000.0, f64::max) * 2.0,
                is_first: false,
                is_last: false,
            },
        )?;
        let reads = self.line(|moments| per_second(moments.reads).max(1.0));
        let writes = self.line(|moments| per_second(moments.writes).max(1.0));
        for (line, color) in [(reads, BLUE), (writes, GREEN)] {
            chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
        }
        let failed = self.line(|moments| per_second(moments.failed));
        let failed = failed.into_iter().filter(|(_, failed)| *failed > 0.0);
        chart.draw_series(failed.map(|point| Circle::new(point, 3, RED.filled())))?;
        Ok(())
    }

    fn longest(&self, area: &Area<'_>) -> Drawn<()> {
        let longest = self
            .tally
            .course
            .iter()
            .map(|moments| millis(moments.longest));
        let mut chart = self.panel(
            area,
            &Panel {
                caption: "The longest request, in ms",
                y: 1.0..longest.fold(300.0, f64::max) * 2.0,
                is_first: false,
                is_last: true,
            },
        )?;
        let line = self.line(|moments| millis(moments.longest).max(1.0));
        chart.draw_series(LineSeries::new(line, VIOLET.stroke_width(2)))?;
        Ok(())
    }

    /// A line through the middle of every while, but for the last, which is not a whole one.
    fn line(&self, y: impl Fn(&Moments) -> f64) -> Vec<(f64, f64)> {
        let course = &self.tally.course;
        let middle = |index: usize| (index as f64 + 0.5) * WHILE.as_secs_f64();
        course[..course.len().saturating_sub(1)]
            .iter()
            .enumerate()
            .map(|(index, moments)| (middle(index), y(moments)))
            .collect()
    }

    /// Axes, and behind them what went wrong: darker while it did, lighter until all was well.
    fn panel<'a>(&self, area: &Area<'a>, panel: &Panel<'_>) -> Drawn<Chart<'a>> {
        let mut chart = ChartBuilder::on(area)
            .caption(panel.caption, style(14, INK))
            .margin_left(12)
            .margin_right(24)
            .margin_bottom(6)
            .x_label_area_size(if panel.is_last { 30 } else { 10 })
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..self.seconds, panel.y.clone().log_scale())?;
        let Range {
            start: bottom,
            end: top,
        } = panel.y;
        for act in &self.tally.acts {
            let [began, mended, well] = [act.began, act.mended, act.well].map(seconds);
            chart.draw_series([
                Rectangle::new([(began, bottom), (mended, top)], FAULT.mix(0.28).filled()),
                Rectangle::new([(mended, bottom), (well, top)], FAULT.mix(0.12).filled()),
            ])?;
        }
        let mut mesh = chart.configure_mesh();
        quiet(&mut mesh);
        mesh.disable_x_mesh()
            .x_labels(if panel.is_last { 15 } else { 0 })
            .x_label_formatter(&|x| format!("{x:.0} s"))
            .y_label_formatter(&|y| {
                if *y < 1.0 {
                    y.to_string()
                } else {
                    grouped(*y as u64)
                }
            })
            .draw()?;
        if panel.is_first {
            self.names(&mut chart, top)?;
        }
        Ok(chart)
    }

    fn names(&self, chart: &mut Chart<'_>, top: f64) -> Drawn<()> {
        let acts = &self.tally.acts;
        for Act { fault, began, .. } in acts {
            let place = (seconds(*began) + self.seconds * 0.002, top * 0.85);
            let mut style = style(12, INK);
            if acts.len() > NAMES {
                style = style.transform(FontTransform::Rotate90);
            }
            chart.draw_series([Text::new(fault.name(), place, style)])?;
        }
        Ok(())
    }
}

fn seconds(moment: Moment) -> f64 {
    moment.since(Moment::default()).as_secs_f64()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
