//! The pictures.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::bars::{Bar, Part, bars, height};
use super::report::{Entry, Moment, Outcome, Report, Spread, Tick};
use crate::paint::{Area, Drawn, INK, quiet, style};
use crate::text::grouped;

/// Of a whole picture, and of a panel with curves.
const WIDTH: u32 = 1100;
const PANEL: u32 = 300;
/// Panels beside each other.
const COLUMNS: usize = 2;
/// What is above a panel.
const HEAD: u32 = 30;
/// Names in a line of a legend, and what each takes.
const NAMES: usize = 7;
const NAME_WIDTH: i32 = 145;
const NAME_HEIGHT: u32 = 20;
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
            let mean = outcome.paced()?.times.as_ref()?.mean;
            Some((mean, format!("{:.3} ms", mean.median)))
        });
        let note = "On average, asked at the same rate (stampede: by a crowd at once); the median of all \
                    rounds, with the best and the worst of them (an arrow: beyond).";
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
                let cost = &outcome.fast()?.cost;
                let (server, redis) = (cost.cpu_us?, cost.redis_cpu_us);
                let all = server.median + redis.map_or(0.0, |redis| redis.median);
                let counts = [(cost.queries, "queries"), (cost.redis_commands, "to Redis")];
                let mut label = format!("{all:.0} µs");
                for (count, of) in counts {
                    if let Some(count) = count {
                        label += &format!(", {:.2} {of}", count.median);
                    }
                }
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
                    .any(|outcome| outcome.curve().is_some())
            })
            .collect();
        let picture = |svg: &mut String| {
            let rows = entries.len().div_ceil(COLUMNS);
            let size = (WIDTH, self.legend_height() + PANEL * rows as u32);
            let root = SVGBackend::with_string(svg, size).into_drawing_area();
            root.fill(&WHITE)?;
            let areas = self.legend(&root)?.split_evenly((rows, COLUMNS));
            for (entry, area) in entries.iter().zip(&areas) {
                let lines = self
                    .measured(entry)
                    .filter_map(|(outcome, color)| Some((color, outcome.curve()?)));
                let how = match entry.rate {
                    Some(rate) => format!("{}, {}/s", entry.name.name(), grouped(rate as u64)),
                    None => format!("{}, a crowd at once", entry.name.name()),
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
                (!course.is_empty()).then_some((color, &course[..]))
            })
        });
        let lines: Vec<(RGBAColor, &[Moment])> = warming.collect();
        let ends = lines
            .iter()
            .filter_map(|(_, course)| Some(course.last()?.seconds));
        let Some(end) = ends.reduce(f64::min) else {
            return Ok(None);
        };
        let picture = |svg: &mut String| {
            let size = (WIDTH, self.legend_height() + PANEL);
            let root = SVGBackend::with_string(svg, size).into_drawing_area();
            root.fill(&WHITE)?;
            let area = self.legend(&root)?;
            let mut chart = ChartBuilder::on(&area)
                .margin_right(24)
                .x_label_area_size(30)
                .y_label_area_size(60)
                .build_cartesian_2d(0.0..end, -2.0..102.0)?;
            let mut mesh = chart.configure_mesh();
            quiet(&mut mesh);
            mesh.disable_x_mesh()
                .y_labels(5)
                .x_label_formatter(&|x| format!("{x:.1} s"))
                .y_label_formatter(&|y| format!("{y:.0}%"))
                .draw()?;
            for (color, course) in &lines {
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

    fn names(&self) -> impl Iterator<Item = (&str, RGBAColor)> {
        let entry = self.report.workloads.iter().take(1);
        let targets = entry.flat_map(|entry| self.measured(entry));
        targets.map(|(outcome, color)| (outcome.name.as_str(), color))
    }

    fn legend_height(&self) -> u32 {
        let lines = self.names().count().div_ceil(NAMES);
        lines as u32 * NAME_HEIGHT + 8
    }

    /// What the colours of curves mean. What is left is for the curves.
    fn legend<'b>(&self, area: &Area<'b>) -> Drawn<Area<'b>> {
        let (head, rest) = area.split_vertically(self.legend_height());
        for (number, (name, color)) in self.names().enumerate() {
            let x = 60 + (number % NAMES) as i32 * NAME_WIDTH;
            let y = 8 + (number / NAMES) as i32 * NAME_HEIGHT as i32;
            head.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], color.filled()))?;
            head.draw_text(name, &style(13, INK), (x + 18, y - 1))?;
        }
        Ok(rest)
    }

    /// The targets, in their colours.
    fn measured<'a>(&self, entry: &'a Entry) -> impl Iterator<Item = (&'a Outcome, RGBAColor)> {
        let outcomes = entry.targets.iter().enumerate();
        outcomes.map(|(index, outcome)| (outcome, color_of(index, &outcome.name)))
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
fn curves(area: &Area<'_>, title: &str, lines: &[(RGBAColor, &[Tick])]) -> Drawn<()> {
    let (head, area) = area.split_vertically(HEAD);
    head.draw_text(title, &style(14, INK), (60, 10))?;
    let ticks = || lines.iter().flat_map(|(_, ticks)| ticks.iter());
    let least = ticks().map(|tick| tick.ms).fold(f64::INFINITY, f64::min);
    let most = ticks().map(|tick| tick.ms).fold(0.0, f64::max);
    let known = ticks().map(|tick| nines(tick.part)).fold(1.0, f64::max);
    let end = known.ceil().min((PARTS.len() - 1) as f64);
    let scale = (least * 0.8..most * 1.25).log_scale();
    let mut chart = ChartBuilder::on(&area)
        .margin_right(24)
        .x_label_area_size(28)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..end, scale)?;
    let mut mesh = chart.configure_mesh();
    quiet(&mut mesh);
    mesh.x_labels(end as usize + 1)
        .y_labels(4)
        .x_label_formatter(&|x| PARTS.get(x.round() as usize).unwrap_or(&"").to_string())
        .y_label_formatter(&|y| format!("{y}"))
        .draw()?;
    for (color, ticks) in lines {
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
