//! What all pictures have in common.

use plotters::coord::Shift;
use plotters::prelude::*;

pub(crate) const INK: RGBColor = RGBColor(45, 52, 60);
pub(crate) const FAINT: RGBColor = RGBColor(222, 226, 230);
/// What is behind everything while something is wrong.
pub(crate) const FAULT: RGBColor = RGBColor(232, 138, 56);
pub(crate) const RED: RGBColor = RGBColor(200, 30, 45);

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// How a text looks.
pub(crate) fn style<'a>(size: u32, color: RGBColor) -> TextStyle<'a> {
    ("sans-serif", size).into_font().color(&color)
}
