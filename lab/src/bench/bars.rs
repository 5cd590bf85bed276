//! A panel of bars that lie below each other, each with its name before it and its figure behind it.

use plotters::prelude::*;

use crate::paint::{Area, Drawn, INK, style};

const HEAD: i32 = 34;
const BAR: i32 = 24;
const FOOT: i32 = 10;
/// What is left and right of the bars, for names and figures.
const LEFT: i32 = 124;
const RIGHT: i32 = 220;

/// A bar.
pub(super) struct Bar {
    pub(super) name: String,
    /// One behind the other.
    pub(super) parts: Vec<Part>,
    /// Between which figures its end lies.
    pub(super) spread: Option<(f64, f64)>,
    pub(super) label: String,
}

pub(super) struct Part {
    pub(super) color: RGBAColor,
    pub(super) length: f64,
}

impl Bar {
    fn length(&self) -> f64 {
        self.parts.iter().map(|part| part.length).sum()
    }

    fn end(&self) -> f64 {
        self.spread
            .map_or(self.length(), |(_, most)| most.max(self.length()))
    }
}

/// How high a panel is that has so many bars.
pub(super) fn height(bars: usize) -> u32 {
    (HEAD + BAR * bars as i32 + FOOT) as u32
}

/// Draws them, the longest as long as there is room. One round that took many times as long as all
/// others would leave none for them: where a spread ends beyond twice the longest bar, an arrow says so.
pub(super) fn bars(area: &Area<'_>, title: &str, bars: &[Bar]) -> Drawn<()> {
    let (width, _) = area.dim_in_pixel();
    let most = |of: fn(&Bar) -> f64| bars.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
    let scale = most(Bar::end).min(most(Bar::length) * 2.0);
    let room = f64::from(width as i32 - LEFT - RIGHT);
    let at = |length: f64| LEFT + (room * length.min(scale) / scale) as i32;
    area.draw_text(title, &style(15, INK), (LEFT, 10))?;
    for (number, bar) in bars.iter().enumerate() {
        let top = HEAD + BAR * number as i32;
        area.draw_text(&bar.name, &style(13, INK), (12, top + 3))?;
        let mut begin = 0.0;
        for part in &bar.parts {
            let corners = [(at(begin), top), (at(begin + part.length), top + BAR - 7)];
            area.draw(&Rectangle::new(corners, part.color.filled()))?;
            begin += part.length;
        }
        if let Some((least, most)) = bar.spread {
            let middle = top + (BAR - 7) / 2;
            let line = |from, to| PathElement::new(vec![from, to], INK.stroke_width(1));
            area.draw(&line((at(least), middle), (at(most), middle)))?;
            for end in [least, most] {
                let (x, back) = (at(end), if end > scale { 5 } else { 0 });
                for y in [middle - 4, middle + 4] {
                    area.draw(&line((x, middle), (x - back, y)))?;
                }
            }
        }
        area.draw_text(&bar.label, &style(13, INK), (at(bar.end()) + 8, top + 3))?;
    }
    Ok(())
}
