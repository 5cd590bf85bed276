//! The pictures.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::bars::{Bar, Part, bars, height};
use super::report::{Entry, Figures, Moment, Outcome, Report, Spread, Tick};
use crate::paint::{Area, Drawn, FAINT, INK, style};
use crate::text::grouped;

/// Of a whole picture, and of a panel with curves.
const WIDTH: u32 = 1100;
const PANEL: u32 = 300;
/// Panels beside each other.
const COLUMNS: usize = 2;
/// What is above a panel.
const HEAD: u32 = 30;
/// The parts of requests that a curve has names for: one, nine tenths, and so on; each takes as much
/// room as all that it leaves out.
const PARTS: [&str; 5] = ["0%", "90%", "99%", "99.9%", "99.99%"];

const REDIS: RGBColor = RGBColor(196, 72, 48);

/// A picture, as SVG.
pub(super) struct Picture {
    /// Of its file.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// How it is to be read.
    pub(super) note: String,
    pub(super) svg: String,
}

/// All of them that there are figures for.
///
/// # Errors
/// One could not be drawn.
pub(super) fn all(report: &Report) -> Result<Vec<Picture>> {
    let drawing = Drawing { report };
    let pictures = [
        drawing.response_times(),
        drawing.latencies(),
        drawing.throughput(),
        drawing.speed_up(),
        drawing.hit_rate(),
        drawing.cost(),
    ];
    let pictures: Drawn<Vec<Option<Picture>>> = pictures.into_iter().collect();
    let pictures = pictures.map_err(|error| anyhow!("{error}"))?;
    Ok(pictures.into_iter().flatten().collect())
}

struct Drawing<'a> {
    report: &'a Report,
}

/// A panel of bars: its title, and a bar for each target.
type Panel = (String, Vec<Bar>);

impl Drawing<'_> {
    fn response_times(&self) -> Drawn<Option<Picture>> {
        let panels = self.panels(|_, outcome| {
            let mean = outcome.paced()?.mean;
            Some((mean, format!("{:.3} ms", mean.median)))
        });
        let note = "On average, asked at the same rate (cold and stampede: as fast as possible); the median \
                    of all rounds, with the best and the worst of them.";
        grid_of_bars("response-time", "Response time", note.to_owned(), &panels)
    }

    fn throughput(&self) -> Drawn<Option<Picture>> {
        let panels = self.panels(|entry, outcome| {
            let throughput = outcome.closed.as_ref()?.throughput;
            let label = format!("{}/s", grouped(throughput.median.round() as u64));
            entry.name.is_timed().then_some((throughput, label))
        });
        let note = format!(
            "Answers in a second to {} clients who wait for each before they ask again.",
            self.report.extent.connections
        );
        grid_of_bars("throughput", "Throughput", note, &panels)
    }

    fn speed_up(&self) -> Drawn<Option<Picture>> {
        let panels = self.panels(|_, outcome| {
            let speed_up = outcome.paced()?.speed_up?;
            Some((speed_up, format!("{:.2} times", speed_up.median)))
        });
        let note = format!(
            "How many times as long {} takes for an answer, on average, round by round.",
            self.report.reference
        );
        grid_of_bars("speed-up", "Speed-up", note, &panels)
    }

    fn cost(&self) -> Drawn<Option<Picture>> {
        let panels = self.report.workloads.iter().map(|entry| {
            let bars = self.measured(entry).filter_map(|(outcome, color)| {
                let cost = &outcome.paced()?.cost;
                let (server, redis) = (cost.cpu_us?, cost.redis_cpu_us);
                let count = |spread: Option<Spread>| spread.map_or(0.0, |spread| spread.median);
                let label = format!(
                    "{:.0} µs, {:.2} queries, {:.2} to Redis",
                    server.median + count(redis),
                    count(cost.queries),
                    count(cost.redis_commands)
                );
                let mut parts = vec![Part {
                    color,
                    length: server.median,
                }];
                parts.extend(redis.map(|redis| Part {
                    color: REDIS.mix(0.45),
                    length: redis.median,
                }));
                Some(Bar {
                    name: outcome.name.clone(),
                    parts,
                    spread: None,
                    label,
                })
            });
            (entry.name.name().to_owned(), bars.collect())
        });
        let panels: Vec<Panel> = panels.collect();
        let note = "Time of a core for a request: the service's, and in pale red Redis's. What the database \
                    takes is the service's own with SQLite, and not seen with PostgreSQL.";
        grid_of_bars("cost", "Cost of a request", note.to_owned(), &panels)
    }

    /// How long requests took, by what part of them took no longer.
    fn latencies(&self) -> Drawn<Option<Picture>> {
        let entries = self.report.workloads.iter();
        let entries: Vec<&Entry> = entries
            .filter(|entry| {
                entry
                    .targets
                    .iter()
                    .any(|outcome| outcome.paced().is_some())
            })
            .collect();
        let picture = |svg: &mut String| {
            let height = PANEL * entries.len().div_ceil(COLUMNS) as u32;
            let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
            root.fill(&WHITE)?;
            let areas = root.split_evenly((entries.len().div_ceil(COLUMNS), COLUMNS));
            for (entry, area) in entries.iter().zip(&areas) {
                let lines = self.measured(entry).filter_map(|(outcome, color)| {
                    Some((outcome.name.as_str(), color, &outcome.paced()?.curve[..]))
                });
                let how = match entry.rate {
                    Some(rate) => format!("{}, {}/s", entry.name.name(), grouped(rate as u64)),
                    None => format!("{}, as fast as possible", entry.name.name()),
                };
                curves(area, &how, &lines.collect::<Vec<_>>())?;
            }
            root.present()
        };
        if entries.is_empty() {
            return Ok(None);
        }
        let note = "All rounds together, in ms: how long no request of that part took longer than. A request \
                    counts from when it was due.";
        drawn(
            "latency",
            "How response times are spread",
            note.to_owned(),
            picture,
        )
        .map(Some)
    }

    /// How a cache fills.
    fn hit_rate(&self) -> Drawn<Option<Picture>> {
        let warming = self.report.workloads.iter().flat_map(|entry| {
            self.measured(entry).filter_map(|(outcome, color)| {
                let course = &outcome.open.as_ref()?.course;
                (!course.is_empty()).then_some((outcome.name.as_str(), color, &course[..]))
            })
        });
        let lines: Vec<(&str, RGBAColor, &[Moment])> = warming.collect();
        let ends = lines
            .iter()
            .filter_map(|(_, _, course)| Some(course.last()?.seconds));
        let Some(end) = ends.reduce(f64::max) else {
            return Ok(None);
        };
        let picture = |svg: &mut String| {
            let root = SVGBackend::with_string(svg, (WIDTH, PANEL + 40)).into_drawing_area();
            root.fill(&WHITE)?;
            let names = lines.iter().map(|(name, color, _)| (*name, *color));
            let area = head(&root, "Reads answered out of the cache", names)?;
            let mut chart = ChartBuilder::on(&area)
                .margin_right(24)
                .x_label_area_size(30)
                .y_label_area_size(60)
                .build_cartesian_2d(0.0..end, 0.0..100.0)?;
            chart
                .configure_mesh()
                .disable_x_mesh()
                .bold_line_style(FAINT)
                .light_line_style(TRANSPARENT)
                .axis_style(INK)
                .label_style(style(12, INK))
                .y_labels(5)
                .x_label_formatter(&|x| format!("{x:.1} s"))
                .y_label_formatter(&|y| format!("{y:.0}%"))
                .draw()?;
            for (_, color, course) in &lines {
                let points = course
                    .iter()
                    .filter(|moment| moment.reads.reads > 0)
                    .map(|moment| {
                        let reads = moment.reads;
                        (
                            moment.seconds,
                            reads.hits as f64 * 100.0 / reads.reads as f64,
                        )
                    });
                chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
            }
            root.present()
        };
        let note = "From when nothing is cached, in the workload warming; all rounds together.";
        drawn("hit-rate", "Hit rate over time", note.to_owned(), picture).map(Some)
    }

    /// A panel for each workload that has the figure.
    fn panels(&self, figure: impl Fn(&Entry, &Outcome) -> Option<(Spread, String)>) -> Vec<Panel> {
        let panels = self.report.workloads.iter().map(|entry| {
            let bars = self.measured(entry).filter_map(|(outcome, color)| {
                let (spread, label) = figure(entry, outcome)?;
                Some(Bar {
                    name: outcome.name.clone(),
                    parts: vec![Part {
                        color,
                        length: spread.median,
                    }],
                    spread: Some((spread.least, spread.most)),
                    label,
                })
            });
            (entry.name.name().to_owned(), bars.collect())
        });
        panels.collect()
    }

    /// The targets, in their colours.
    fn measured<'a>(&self, entry: &'a Entry) -> impl Iterator<Item = (&'a Outcome, RGBAColor)> {
        let outcomes = entry.targets.iter().enumerate();
        outcomes.map(|(index, outcome)| (outcome, color_of(index, &outcome.name)))
    }
}

impl Outcome {
    /// At the same rate as others where there is one, or else as fast as it goes.
    fn paced(&self) -> Option<&Figures> {
        self.open.as_ref().or(self.closed.as_ref())
    }
}

fn drawn(
    name: &'static str,
    title: &'static str,
    note: String,
    draw: impl FnOnce(&mut String) -> Drawn<()>,
) -> Drawn<Picture> {
    let mut svg = String::new();
    draw(&mut svg)?;
    Ok(Picture {
        name,
        title,
        note,
        svg,
    })
}

fn grid_of_bars(
    name: &'static str,
    title: &'static str,
    note: String,
    panels: &[Panel],
) -> Drawn<Option<Picture>> {
    let panels: Vec<&Panel> = panels.iter().filter(|(_, bars)| !bars.is_empty()).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let most = panels.iter().map(|(_, bars)| bars.len()).max();
    let rows = panels.len().div_ceil(COLUMNS);
    let picture = |svg: &mut String| {
        let size = (WIDTH, height(most.unwrap_or_default()) * rows as u32);
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        let areas = root.split_evenly((rows, COLUMNS));
        for ((title, panel), area) in panels.iter().zip(&areas) {
            bars(area, title, panel)?;
        }
        root.present()
    };
    drawn(name, title, note, picture).map(Some)
}

/// A curve for each target: what part of the requests took no longer than that.
fn curves(area: &Area<'_>, title: &str, lines: &[(&str, RGBAColor, &[Tick])]) -> Drawn<()> {
    let names = lines.iter().map(|(name, color, _)| (*name, *color));
    let area = head(area, title, names)?;
    let ticks = || lines.iter().flat_map(|(_, _, ticks)| ticks.iter());
    let least = ticks().map(|tick| tick.ms).fold(f64::INFINITY, f64::min);
    let most = ticks().map(|tick| tick.ms).fold(0.0, f64::max);
    let end = (PARTS.len() - 1) as f64;
    let scale = (least * 0.8..most * 1.25).log_scale();
    let mut chart = ChartBuilder::on(&area)
        .margin_right(24)
        .x_label_area_size(28)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..end, scale)?;
    chart
        .configure_mesh()
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(style(12, INK))
        .x_labels(PARTS.len())
        .y_labels(4)
        .x_label_formatter(&|x| PARTS.get(x.round() as usize).unwrap_or(&"").to_string())
        .y_label_formatter(&|y| format!("{y}"))
        .draw()?;
    for (_, color, ticks) in lines {
        let points = ticks
            .iter()
            .map(|tick| (nines(tick.part), tick.ms))
            .filter(|(x, _)| *x <= end);
        chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
    }
    Ok(())
}

/// How many nines a part of all is: 1 for nine tenths, 2 for 99 of a hundred.
fn nines(part: f64) -> f64 {
    -(1.0 - part).log10()
}

/// A panel's title and what its colours mean, above it. What is left is for the panel.
fn head<'a, 'b>(
    area: &Area<'a>,
    title: &str,
    names: impl Iterator<Item = (&'b str, RGBAColor)>,
) -> Drawn<Area<'a>> {
    let (head, rest) = area.split_vertically(HEAD);
    head.draw_text(title, &style(14, INK), (60, 10))?;
    let mut x = 270;
    for (name, color) in names {
        head.draw(&Rectangle::new([(x, 11), (x + 12, 23)], color.filled()))?;
        head.draw_text(name, &style(13, INK), (x + 17, 10))?;
        x += 30 + 7 * name.chars().count() as i32;
    }
    Ok(rest)
}

/// The colour of a target: ours have one each, others those that are left.
fn color_of(index: usize, name: &str) -> RGBAColor {
    const OTHERS: [RGBColor; 4] = [
        RGBColor(140, 100, 180),
        RGBColor(232, 178, 60),
        RGBColor(90, 170, 190),
        RGBColor(170, 110, 70),
    ];
    let color = match name {
        "off" => RGBColor(130, 138, 148),
        "memory" => RGBColor(46, 150, 98),
        "redis" => REDIS,
        "tiered" => RGBColor(40, 104, 186),
        _ => OTHERS[index % OTHERS.len()],
    };
    color.to_rgba()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_takes_as_much_room() {
        for (part, x) in [(0.0, 0.0), (0.9, 1.0), (0.99, 2.0), (0.9999, 4.0)] {
            assert!((nines(part) - x).abs() < 1e-9, "{part}");
        }
        assert_eq!(nines(1.0), f64::INFINITY);
    }
}
