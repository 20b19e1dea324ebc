//! The curve of the chosen metric.

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType};
use regimen::text::Short;

use crate::draw::{BOLD, DIM, colour, panel};
use crate::look::Look;
use crate::model::Model;
use crate::series::Point;
use crate::view::View;

/// Lines of fewer points than this have each of them marked, behind the first line. They are told apart without colours.
const MARKED: usize = 60;

/// Draws the curve that `view` chose, a line per phase, over training steps.
pub(crate) fn draw(model: &Model, view: &View, look: Look, frame: &mut Frame<'_>, area: Rect) {
    let Some(curve) = view.curve(&model.metrics) else {
        let inner = panel(frame, area, vec![Span::styled("curve", BOLD)], Line::default());
        frame.render_widget(Line::styled("no value yet", DIM).centered(), middle(inner));
        return;
    };
    let lines: Vec<_> = model.metrics.lines(curve).collect();
    let mut title = vec![Span::styled(curve.to_owned(), BOLD)];
    for (n, (line, _)) in lines.iter().enumerate() {
        title.push(Span::styled("  \u{2501}\u{2501} ", Style::new().fg(colour(n))));
        title.push(line.label().into());
    }
    let inner = panel(frame, area, title, Line::styled(format!(" {} ", axes(view)), DIM));

    let last = lines.iter().filter_map(|(_, series)| series.last_step()).fold(0.0, f64::max);
    let from = if view.range() == 0 { 0.0 } else { (last - view.range() as f64).max(0.0) };
    let columns = usize::from(inner.width);
    let points: Vec<Vec<Point>> =
        lines.iter().map(|(_, series)| series.line(from, view.smoothing(), view.is_log, columns)).collect();
    let Some(bounds) = bounds(points.iter().flatten().map(|&(_, value)| value), view.is_log) else {
        let why = if view.is_log { "no value above 0" } else { "no finite value" };
        frame.render_widget(Line::styled(why, DIM).centered(), middle(inner));
        return;
    };
    let mut datasets = Vec::new();
    for (n, line) in points.iter().enumerate() {
        let set = Dataset::default().style(Style::new().fg(colour(n))).data(line);
        datasets.push(set.clone().marker(look.marker(n)).graph_type(GraphType::Line));
        if look.is_unicode && 0 < n && line.len() < MARKED {
            datasets.push(set.marker(Marker::Dot).graph_type(GraphType::Scatter));
        }
    }
    let value = |at: f64| {
        let at = if view.is_log { 10_f64.powf(at) } else { at };
        // All labels are as wide, so that the curve stays in its place.
        format!("{:>9}", Short(at).to_string())
    };
    let middle = (bounds[0] + bounds[1]) / 2.0;
    let labels = match inner.height < 8 {
        true => vec![value(bounds[0]), value(bounds[1])],
        false => vec![value(bounds[0]), value(middle), value(bounds[1])],
    };
    let until = last.max(from + 1.0);
    let steps = [from, (from + until) / 2.0, until].map(|step| format!("{step:.0}"));
    let x = Axis::default().bounds([from, until]).labels(steps).style(DIM).labels_alignment(Alignment::Right);
    let y = Axis::default().bounds(bounds).labels(labels).style(DIM).labels_alignment(Alignment::Right);
    frame.render_widget(Chart::new(datasets).x_axis(x).y_axis(y).legend_position(None), inner);
}

/// `linear, smoothed 0.9, last 1000 steps`.
fn axes(view: &View) -> String {
    let mut text = if view.is_log { "logarithmic" } else { "linear" }.to_owned();
    if 0.0 < view.smoothing() {
        text += &format!(", smoothed {}", view.smoothing());
    }
    match view.range() {
        0 => text + ", all steps",
        last => text + &format!(", last {last} steps"),
    }
}

/// The range of the axis of values. `None` without a value.
fn bounds(values: impl Iterator<Item = f64>, is_log: bool) -> Option<[f64; 2]> {
    let ends = values.fold(None, |ends, value| {
        let (least, most): (f64, f64) = ends.unwrap_or((value, value));
        Some((least.min(value), most.max(value)))
    });
    let (least, most) = ends?;
    match most - least {
        // A line of equal values is in the middle.
        0.0 => Some([least - 0.1 * least.abs().max(1e-6), least + 0.1 * least.abs().max(1e-6)]),
        wide if !wide.is_finite() => Some([least, most]),
        wide => {
            // A linear axis of values above 0 does not go below it.
            let lowest = if is_log || least < 0.0 { f64::NEG_INFINITY } else { 0.0 };
            Some([(least - 0.05 * wide).max(lowest), most + 0.05 * wide])
        }
    }
}

/// The row in the middle of an area.
fn middle(area: Rect) -> Rect {
    Rect { y: area.y + area.height / 2, height: area.height.min(1), ..area }
}
