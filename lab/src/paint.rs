//! What all pictures have in common.

use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

pub(crate) const INK: RGBColor = RGBColor(45, 52, 60);
pub(crate) const FAINT: RGBColor = RGBColor(222, 226, 230);
/// What is behind everything while something is wrong.
pub(crate) const FAULT: RGBColor = RGBColor(232, 138, 56);
pub(crate) const RED: RGBColor = RGBColor(200, 30, 45);

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// Axes that stay behind what is drawn.
pub(crate) fn quiet<'b, X, Y>(mesh: &mut MeshStyle<'_, 'b, X, Y, SVGBackend<'_>>)
where
    X: Ranged + ValueFormatter<X::ValueType>,
    Y: Ranged + ValueFormatter<Y::ValueType>,
{
    mesh.bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(style(12, INK));
}

/// How a text looks.
pub(crate) fn style<'a>(size: u32, color: RGBColor) -> TextStyle<'a> {
    ("sans-serif", size).into_font().color(&color)
}
