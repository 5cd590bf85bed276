//! The picture of a history: the hit rate above, how many reads there were below.

use std::ops::Range;

use chrono::DateTime;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::cache::{Reads, Window};

/// The colours of a picture, to be read on the page's own ground. What lies side by side differs in
/// brightness too, by 3 to 1 (WCAG 2.2, 1.4.11): tiers from the next one and from the ground, and bars
/// from the ground.
#[derive(Clone, Copy)]
pub(super) struct Theme {
    ground: RGBColor,
    ink: RGBColor,
    /// Of lines that only guide the eye.
    faint: RGBColor,
    near: RGBColor,
    far: RGBColor,
    late: RGBColor,
    reads: RGBColor,
}

impl Theme {
    pub(super) const LIGHT: Self = Self {
        ground: RGBColor(255, 255, 255),
        ink: RGBColor(52, 60, 70),
        faint: RGBColor(226, 230, 235),
        near: RGBColor(96, 150, 216),
        far: RGBColor(12, 76, 66),
        late: RGBColor(203, 134, 16),
        reads: RGBColor(126, 137, 151),
    };

    pub(super) const DARK: Self = Self {
        ground: RGBColor(24, 28, 34),
        ink: RGBColor(206, 212, 220),
        faint: RGBColor(52, 59, 68),
        near: RGBColor(60, 108, 172),
        far: RGBColor(128, 222, 196),
        late: RGBColor(160, 100, 12),
        reads: RGBColor(118, 130, 145),
    };
}

/// What to draw, and how.
pub(super) struct Chart<'a> {
    pub(super) window: &'a Window,
    /// How long the axis is, though the service may not be as old.
    pub(super) minutes: usize,
    pub(super) width: u32,
    pub(super) theme: Theme,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Panel<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

const HEAD: u32 = 26;
const RATE: u32 = 210;
const READS: u32 = 84;
const AXIS: u32 = 24;
/// Room for the numbers at the left, and for half a time at the right.
const LEFT: u32 = 46;
const RIGHT: u32 = 22;
/// About 12 pixels: plotters makes letters smaller than it says.
const TEXT: u32 = 15;

/// From this width on, what the colours mean stands where the axis begins.
const ROOMY: u32 = 480;

/// How much of the ground the bar of a minute that still runs covers: it is not all yet, and traffic
/// must not seem to fall.
const UNFINISHED: f64 = 0.4;

/// Minutes are drawn together where there would be more of them than this many for each pixel.
const SLOTS_PER_PIXEL: f64 = 0.5;

/// How many minutes may be drawn together: what divides an hour.
const TOGETHER: [u64; 9] = [1, 2, 3, 4, 5, 6, 10, 12, 15];

/// How far apart times may stand on the axis, in minutes.
const STEPS: [u64; 10] = [1, 5, 10, 15, 30, 60, 120, 180, 240, 360];

const MINUTE: u64 = 60_000;

/// Some minutes that are drawn as one.
struct Slot {
    /// Minutes since the epoch.
    from: f64,
    until: f64,
    reads: Reads,
    is_complete: bool,
}

impl Chart<'_> {
    /// Draws it.
    pub(super) fn svg(&self) -> Result<String, String> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|error| error.to_string())?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Drawn<()> {
        let size = (self.width, HEAD + RATE + READS + AXIS);
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        root.fill(&self.theme.ground)?;
        let (head, rest) = root.split_vertically(HEAD);
        let (upper, lower) = rest.split_vertically(RATE);
        let slots = self.slots();
        self.legend(&head, &slots)?;
        self.rates(&upper, &slots)?;
        self.counts(&lower, &slots)?;
        root.present()
    }

    /// The axis, in minutes since the epoch: up to the end of the minute that runs.
    fn times(&self) -> Range<f64> {
        let end = self.window.until.millis() / MINUTE + 1;
        (end as f64 - self.minutes as f64)..end as f64
    }

    fn slots(&self) -> Vec<Slot> {
        let most = f64::from(self.width - LEFT - RIGHT) * SLOTS_PER_PIXEL;
        let fits = |together: &u64| self.minutes as f64 / *together as f64 <= most;
        let together = TOGETHER
            .into_iter()
            .find(fits)
            .unwrap_or(TOGETHER[TOGETHER.len() - 1]);
        let times = self.times();
        let mut slots: Vec<Slot> = Vec::new();
        for minute in &self.window.minutes {
            let number = minute.at.millis() / MINUTE;
            // The axis has no place for it.
            if !times.contains(&(number as f64)) {
                continue;
            }
            let from = (number - number % together) as f64;
            match slots.last_mut() {
                Some(slot) if slot.until > number as f64 => {
                    slot.reads += minute.reads;
                    slot.is_complete &= minute.is_complete;
                }
                _ => slots.push(Slot {
                    from: from.max(times.start),
                    until: (from + together as f64).min(times.end),
                    reads: minute.reads,
                    is_complete: minute.is_complete,
                }),
            }
        }
        slots
    }

    /// What the colours mean. Tiers that have answered nothing are not spoken of.
    fn legend(&self, area: &Area<'_>, slots: &[Slot]) -> Drawn<()> {
        let Theme {
            ink,
            near,
            far,
            late,
            ..
        } = self.theme;
        let answers = |count: fn(Reads) -> u64| slots.iter().any(|slot| count(slot.reads) > 0);
        let tiers = [
            ("near", near, answers(|reads| reads.near)),
            ("far", far, answers(|reads| reads.far)),
            ("late", late, answers(|reads| reads.late)),
        ];
        let mut x = if self.width < ROOMY { 8 } else { LEFT as i32 };
        let mut name = |text: &str| {
            let at = x;
            x += 36 + 6 * text.len() as i32;
            area.draw_text(text, &self.text(ink), (at + 17, 5))
                .map(|()| at)
        };
        let at = name("hit rate")?;
        let line = PathElement::new([(at, 13), (at + 12, 13)], ink.stroke_width(2));
        area.draw(&line)?;
        let at = name("average")?;
        for dash in [at, at + 8] {
            let line = PathElement::new([(dash, 13), (dash + 5, 13)], ink.stroke_width(1));
            area.draw(&line)?;
        }
        for (tier, color, _) in tiers.into_iter().filter(|(.., answers)| *answers) {
            let at = name(tier)?;
            let corners = [(at, 7), (at + 12, 19)];
            area.draw(&Rectangle::new(corners, color.filled()))?;
        }
        Ok(())
    }

    fn rates(&self, area: &Area<'_>, slots: &[Slot]) -> Drawn<()> {
        let Theme {
            ground,
            ink,
            near,
            far,
            late,
            ..
        } = self.theme;
        let mut panel = self.panel(
            area,
            0.0..100.0,
            &[0.0, 25.0, 50.0, 75.0, 100.0],
            |y| format!("{y:.0} %"),
            0,
        )?;
        let share = |reads: Reads, part: u64| reads.percent(part).unwrap_or_default();
        // One tier upon the other.
        for slot in slots.iter().filter(|slot| slot.reads.total() > 0) {
            let mut floor = 0.0;
            for (color, count) in [
                (near, slot.reads.near),
                (far, slot.reads.far),
                (late, slot.reads.late),
            ] {
                let roof = floor + share(slot.reads, count);
                if count > 0 {
                    let corners = [(slot.from, floor), (slot.until, roof)];
                    panel.draw_series([Rectangle::new(corners, color.filled())])?;
                }
                floor = roof;
            }
        }
        let Range { start, end } = self.times();
        // What the tiers cover of the grid.
        for number in [25.0, 50.0, 75.0] {
            let line = [(start, number), (end, number)];
            panel.draw_series([PathElement::new(line, ground.mix(0.3))])?;
        }
        let mut all = Reads::default();
        slots.iter().for_each(|slot| all += slot.reads);
        let Some(average) = all.hit_rate() else {
            let style = self.text(ink).pos(Pos::new(HPos::Center, VPos::Center));
            let middle = (LEFT + (self.width - LEFT - RIGHT) / 2) as i32;
            return area.draw_text("nothing was read", &style, (middle, RATE as i32 / 2));
        };
        // Between the dashes is the ground's colour, so that it is seen on every tier.
        let line = [(start, average), (end, average)];
        panel.draw_series([PathElement::new(line, ground)])?;
        panel.draw_series(DashedLineSeries::new(line, 5, 4, ink.stroke_width(1)))?;
        for run in slots.chunk_by(|one, next| {
            one.until >= next.from && (one.reads.total() > 0) == (next.reads.total() > 0)
        }) {
            let steps = run
                .iter()
                .filter_map(|slot| Some((slot, slot.reads.hit_rate()?)));
            let steps = steps.flat_map(|(slot, rate)| [(slot.from, rate), (slot.until, rate)]);
            panel.draw_series(LineSeries::new(steps, ink.stroke_width(2)))?;
        }
        Ok(())
    }

    fn counts(&self, area: &Area<'_>, slots: &[Slot]) -> Drawn<()> {
        let per_minute = |slot: &Slot| slot.reads.total() as f64 / (slot.until - slot.from);
        let most = slots.iter().map(per_minute).fold(0.0, f64::max);
        let top = round_up(most);
        let mut panel = self.panel(area, 0.0..top, &[0.0, top], short, AXIS)?;
        let bars = slots.iter().filter(|slot| slot.reads.total() > 0);
        let bars = bars.map(|slot| {
            let corners = [(slot.from, 0.0), (slot.until, per_minute(slot))];
            let cover = if slot.is_complete { 1.0 } else { UNFINISHED };
            Rectangle::new(corners, self.theme.reads.mix(cover).filled())
        });
        panel.draw_series(bars)?;
        let title = self.text(self.theme.ink);
        area.draw_text("reads per minute", &title, (LEFT as i32 + 4, 1))
    }

    /// Axes with these numbers at the left and, where there is room below, the times.
    fn panel<'a>(
        &self,
        area: &Area<'a>,
        range: Range<f64>,
        numbers: &[f64],
        format: fn(f64) -> String,
        below: u32,
    ) -> Drawn<Panel<'a>> {
        let Theme { ink, faint, .. } = self.theme;
        let times = self.times();
        let mut panel = ChartBuilder::on(area)
            .margin_left(LEFT)
            .margin_right(RIGHT)
            .margin_top(if below > 0 { 18 } else { 6 })
            .margin_bottom(below.max(8))
            .build_cartesian_2d(times.clone(), range.clone())?;
        let height = area.dim_in_pixel().1;
        let right = Pos::new(HPos::Right, VPos::Center);
        let centre = Pos::new(HPos::Center, VPos::Top);
        for number in numbers {
            let line = PathElement::new([(times.start, *number), (times.end, *number)], faint);
            panel.draw_series([line])?;
            let (_, y) = panel
                .plotting_area()
                .map_coordinate(&(times.start, *number));
            let y = y - area.get_base_pixel().1;
            let style = self.text(ink).pos(right);
            area.draw_text(&format(*number), &style, (LEFT as i32 - 6, y))?;
        }
        for time in self.marks() {
            let line = PathElement::new([(time, range.start), (time, range.end)], faint);
            panel.draw_series([line])?;
            if below > 0 {
                let (x, _) = panel.plotting_area().map_coordinate(&(time, range.start));
                let style = self.text(ink).pos(centre);
                area.draw_text(&clock(time), &style, (x, (height - below) as i32 + 6))?;
            }
        }
        Ok(panel)
    }

    /// Where times stand on the axis: at round ones, no closer than they can be read.
    fn marks(&self) -> impl Iterator<Item = f64> {
        let Range { start, end } = self.times();
        let room = f64::from(self.width - LEFT - RIGHT) / 52.0;
        let fits = |step: &u64| self.minutes as f64 / *step as f64 <= room;
        let step = STEPS.into_iter().find(fits).unwrap_or(720) as f64;
        let first = (start / step).ceil();
        let mark = move |number| (first + f64::from(number)) * step;
        (0..100_u32).map(mark).take_while(move |time| *time <= end)
    }

    fn text<'b>(&self, color: RGBColor) -> TextStyle<'b> {
        ("sans-serif", TEXT).into_font().color(&color)
    }
}

/// The time of day in UTC.
fn clock(minutes: f64) -> String {
    let at = DateTime::from_timestamp(minutes as i64 * 60, 0).unwrap_or_default();
    at.format("%H:%M").to_string()
}

/// The next of 1, 2, 5, 10, 20, 50, …
fn round_up(number: f64) -> f64 {
    let power = 10_f64.powf(number.max(1.0).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    factors
        .into_iter()
        .find(|rounded| *rounded >= number)
        .unwrap_or(number)
}

/// 1200 as 1.2k.
fn short(number: f64) -> String {
    match number {
        million if million >= 1e6 => format!("{}M", million / 1e6),
        thousand if thousand >= 1e3 => format!("{}k", thousand / 1e3),
        few => few.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Minute, Timestamp};

    /// So many minutes, the last of which runs.
    fn window(minutes: u64, reads: impl Fn(u64) -> Reads) -> Window {
        let until = 29_738_000 * MINUTE + 30_000;
        let first = until / MINUTE + 1 - minutes;
        Window {
            until: Timestamp::from_millis(until),
            minutes: (0..minutes)
                .map(|number| Minute {
                    at: Timestamp::from_millis((first + number) * MINUTE),
                    reads: reads(number),
                    is_complete: number + 1 < minutes,
                })
                .collect(),
        }
    }

    fn drawn(window: &Window, minutes: usize, width: u32, theme: Theme) -> String {
        let chart = Chart {
            window,
            minutes,
            width,
            theme,
        };
        chart.svg().expect("it can be drawn")
    }

    fn near(near: u64) -> Reads {
        Reads {
            near,
            ..Reads::default()
        }
    }

    /// Runs of the line: thick lines, without the one that explains it.
    fn runs(svg: &str) -> usize {
        svg.matches("stroke-width=\"2\"").count() - 1
    }

    #[test]
    fn a_day_is_a_line_with_a_gap_where_nothing_was_read() {
        let day = window(1440, |minute| {
            near(u64::from(!(600..700).contains(&minute)))
        });
        for width in [320, 900, 1600] {
            let svg = drawn(&day, 1440, width, Theme::LIGHT);
            assert_eq!(runs(&svg), 2, "{width}");
            assert!(svg.contains(&format!("width=\"{width}\"")));
        }
    }

    #[test]
    fn a_minute_alone_can_be_seen() {
        let hour = window(60, |minute| near(u64::from(minute % 20 == 7)));
        let svg = drawn(&hour, 60, 900, Theme::LIGHT);
        assert_eq!(runs(&svg), 3);
    }

    #[test]
    fn colours_that_mean_something_are_explained_and_no_others() {
        let both = window(10, |minute| Reads {
            near: minute % 2,
            far: minute,
            ..Reads::default()
        });
        let svg = drawn(&both, 60, 900, Theme::DARK);
        let has = |text: &str| svg.lines().any(|line| line.trim() == text);
        assert!(has("near") && has("far") && !has("late"), "{svg}");
    }

    #[test]
    fn any_history_can_be_drawn() {
        let histories = [
            window(1, |_| Reads::default()),
            window(1, |_| near(1)),
            window(7, |minute| near(minute * 1_000_000_000)),
            window(1440, near),
        ];
        for history in &histories {
            // As many as there are, fewer, and more.
            for minutes in [history.minutes.len(), 1, 61, 1440] {
                for width in [320, 333, 1600] {
                    let svg = drawn(history, minutes, width, Theme::LIGHT);
                    assert!(svg.trim_end().ends_with("</svg>"));
                    for no_number in ["NaN", "inf"] {
                        assert!(!svg.contains(no_number), "{minutes} {width}: {svg}");
                    }
                }
            }
        }
    }

    /// The bars, as how much of the ground they cover, from the left.
    fn bars(svg: &str) -> Vec<String> {
        let RGBColor(red, green, blue) = Theme::LIGHT.reads;
        let bar = format!("fill=\"#{red:02X}{green:02X}{blue:02X}\"");
        let bars = svg.lines().filter(|line| line.contains(&bar));
        let opacity = |line: &str| {
            let (_, rest) = line.split_once("opacity=\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        bars.filter_map(opacity).collect()
    }

    #[test]
    fn the_bar_of_the_minute_that_runs_is_paler() {
        for (minutes, width) in [(60, 900), (1440, 900), (1440, 320)] {
            let svg = drawn(
                &window(minutes as u64, |_| near(1)),
                minutes,
                width,
                Theme::LIGHT,
            );
            let bars = bars(&svg);
            let (last, others) = bars.split_last().expect("there are bars");
            assert_eq!(last, "0.4", "{minutes} {width}");
            assert!(
                !others.is_empty() && others.iter().all(|cover| cover == "1"),
                "{bars:?}"
            );
        }
    }

    /// How much brighter one is than the other (WCAG 2.2).
    fn contrast(one: RGBColor, other: RGBColor) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        };
        let light = |RGBColor(red, green, blue)| {
            0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue) + 0.05
        };
        let ratio = light(one) / light(other);
        ratio.max(1.0 / ratio)
    }

    #[test]
    fn what_lies_side_by_side_differs_in_brightness() {
        for theme in [Theme::LIGHT, Theme::DARK] {
            let Theme {
                ground,
                near,
                far,
                late,
                reads,
                ..
            } = theme;
            let pairs = [
                (near, ground),
                (far, ground),
                (late, ground),
                (reads, ground),
                (near, far),
                (far, late),
            ];
            for (one, other) in pairs {
                let contrast = contrast(one, other);
                assert!(contrast >= 3.0, "{one:?} on {other:?}: {contrast:.2}");
            }
        }
    }

    #[test]
    fn minutes_that_the_axis_has_no_place_for_are_left_out() {
        let window = window(100, near);
        for minutes in [1, 7, 60, 100, 1440] {
            let chart = Chart {
                window: &window,
                minutes,
                width: 320,
                theme: Theme::LIGHT,
            };
            let slots = chart.slots();
            let minutes = minutes.min(100) as u64;
            let reads: u64 = slots.iter().map(|slot| slot.reads.total()).sum();
            assert_eq!(reads, (100 - minutes..100).sum::<u64>(), "{minutes}");
            assert!(slots.iter().all(|slot| slot.from < slot.until), "{minutes}");
        }
    }

    #[test]
    fn numbers_at_the_axis_are_round() {
        let rounded = [0.0, 0.5, 1.0, 3.0, 7.0, 10.0, 11.0, 501.0].map(round_up);
        assert_eq!(rounded, [1.0, 1.0, 1.0, 5.0, 10.0, 10.0, 20.0, 1000.0]);
        assert_eq!([50.0, 2000.0, 5e6].map(short), ["50", "2k", "5M"]);
    }
}
