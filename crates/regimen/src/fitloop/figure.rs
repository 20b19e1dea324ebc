//! Charts of values over epochs or steps.

use std::fmt;

/// A line chart: values over the epochs or steps 1, 2, 3, ..
///
/// It is displayed as text in braille dots: the first line is drawn solid, the second dotted. The width is 80
/// columns, or that of the format: `{figure:120}`. The text has 20 lines.
///
/// ```
/// use regimen::fitloop::Figure;
///
/// let figure = Figure::new("loss").x_label("epoch").line("train", &[0.7, 0.4, 0.3]).line("valid", &[0.8, 0.6, 0.5]);
/// println!("{figure}");
/// ```
///
/// A value that is not finite is a gap. If there are more values than columns, the smallest and the largest per column
/// are drawn.
///
/// Those of a history are made by [`History::figure`](super::History::figure).
#[derive(Clone, Debug)]
pub struct Figure {
    pub(super) y_label: String,
    pub(super) x_label: String,
    pub(super) lines: Vec<(String, Vec<f64>)>,
    across: Across,
    mark: Option<(f64, String)>,
}

/// The numbers along the horizontal axis, from that of the first value to that of the last.
#[derive(Clone, Copy, Debug)]
enum Across {
    /// 1, 2, 3, ..
    Count,
    /// Of equal differences.
    Range(f64, f64),
    /// Of equal quotients: positive.
    Powers(f64, f64),
}

impl Figure {
    /// A chart of `y_label`, without lines.
    pub fn new(y_label: impl Into<String>) -> Self {
        Figure {
            y_label: y_label.into(),
            x_label: String::new(),
            lines: Vec::new(),
            across: Across::Count,
            mark: None,
        }
    }

    /// The unit of the horizontal axis: `epoch` or `step`. Default: nothing.
    pub fn x_label(self, label: impl Into<String>) -> Self {
        Figure { x_label: label.into(), ..self }
    }

    /// Adds a line.
    pub fn line(mut self, label: impl Into<String>, values: &[f64]) -> Self {
        self.lines.push((label.into(), values.to_vec()));
        self
    }

    /// The values are over numbers from `low` to `high` of equal differences, instead of 1, 2, 3, ..
    pub(crate) fn x_range(self, low: f64, high: f64) -> Self {
        Figure { across: Across::Range(low, high), ..self }
    }

    /// The values are over positive numbers from `low` to `high` of equal quotients.
    pub(crate) fn x_powers(self, low: f64, high: f64) -> Self {
        Figure { across: Across::Powers(low, high), ..self }
    }

    /// Marks a number of the horizontal axis by an upright line.
    pub(crate) fn mark(self, number: f64, label: String) -> Self {
        Figure { mark: Some((number, label)), ..self }
    }

    /// The marked place of the horizontal axis, from 0 to 1, with its label.
    pub(super) fn marked(&self) -> Option<(f64, &str)> {
        let (number, label) = self.mark.as_ref()?;
        Some((self.place_across(*number), label))
    }

    /// About `count` numbers of the horizontal axis, as places from 0 to 1, each with its text.
    pub(super) fn ticks_across(&self, count: f64) -> Vec<(f64, String)> {
        let ticks = match self.across {
            Across::Count => Scale { low: 1.0, high: self.longest().max(1) as f64 }.ticks(count, 1.0),
            Across::Range(low, high) => Scale { low, high }.ticks(count, 0.0),
            Across::Powers(low, high) => {
                let [first, last] = [low.log10().ceil() as i32, high.log10().floor() as i32];
                let every = ((f64::from(last) - f64::from(first)) / count).ceil().max(1.0) as usize;
                let powers = (first..=last).step_by(every);
                powers.map(|power| (10_f64.powi(power), format!("1e{power}"))).collect()
            }
        };
        ticks.into_iter().map(|(number, text)| (self.place_across(number), text)).collect()
    }

    fn place_across(&self, number: f64) -> f64 {
        match self.across {
            Across::Count => Scale { low: 1.0, high: self.longest().max(1) as f64 }.place(number),
            Across::Range(low, high) => Scale { low, high }.place(number),
            Across::Powers(low, high) => Scale { low: low.ln(), high: high.ln() }.place(number.ln()),
        }
    }

    /// The length of the longest line.
    pub(super) fn longest(&self) -> usize {
        self.lines.iter().map(|(_, values)| values.len()).max().unwrap_or(0)
    }

    /// The range of the values.
    pub(super) fn scale(&self) -> Scale {
        let values = self.lines.iter().flat_map(|(_, values)| values).filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
        match (low, high) {
            _ if high < low => Scale { low: 0.0, high: 1.0 },
            _ if low == high => {
                let room = if low == 0.0 { 1.0 } else { low.abs() / 10.0 };
                Scale { low: low - room, high: high + room }
            }
            _ => Scale { low, high },
        }
    }
}

/// The range of an axis.
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Scale {
    /// The place of `value`: from 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        // Halves, because the difference of two numbers may be too large for one.
        let half = self.high / 2.0 - self.low / 2.0;
        if half > 0.0 { (value / 2.0 - self.low / 2.0) / half } else { 0.5 }
    }

    /// About `count` round numbers in the range, at least `least` apart, each with its text.
    pub(super) fn ticks(&self, count: f64, least: f64) -> Vec<(f64, String)> {
        let rough = (self.high / count - self.low / count).max(least);
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|&step| rough <= step * 1.001);
        let Some(step) = step.filter(|step| step.is_normal()) else { return Vec::new() };
        let first = (self.low / step).ceil();
        let numbers = (0..=count as usize + 1).map(|n| (first + n as f64) * step);
        let numbers = numbers.take_while(|&number| number <= self.high + step * 1e-9);
        let exponent = |number: f64| number.abs().log10().floor() as i32;
        // As many as tell two neighbours apart.
        let digits = -exponent(step);
        let text = |number: f64| match number {
            0.0 => "0".to_owned(),
            _ if digits <= 5 && number.abs() < 1e6 => format!("{number:.*}", digits.max(0) as usize),
            _ => format!("{number:.*e}", (exponent(number) + digits).clamp(0, 16) as usize),
        };
        let mut ticks: Vec<_> = numbers.map(|number| (number, text(number))).collect();
        ticks.dedup_by(|a, b| a.1 == b.1);
        ticks
    }
}

/// The unbroken pieces of a line, as indices with values: if there are more than `most` values, the smallest and
/// the largest of each of `most` parts.
pub(super) fn pieces(values: &[f64], most: usize) -> Vec<Vec<(f64, f64)>> {
    let per_part = values.len().div_ceil(most.max(1)).max(1);
    let mut pieces = vec![Vec::new()];
    for (n, part) in values.chunks(per_part).enumerate() {
        let points = part.iter().enumerate().map(|(i, &value)| ((n * per_part + i) as f64, value));
        let finite = points.filter(|(_, value)| value.is_finite());
        let by_value = |a: &(f64, f64), b: &(f64, f64)| a.1.total_cmp(&b.1);
        match (finite.clone().min_by(by_value), finite.max_by(by_value), pieces.last_mut()) {
            (Some(low), Some(high), Some(piece)) if low.0 == high.0 => piece.push(low),
            (Some(low), Some(high), Some(piece)) if low.0 < high.0 => piece.extend([low, high]),
            (Some(low), Some(high), Some(piece)) => piece.extend([high, low]),
            _ => pieces.push(Vec::new()),
        }
    }
    pieces
}

/// Rows of braille characters, of 2 by 4 dots each.
struct Dots {
    columns: usize,
    cells: Vec<u8>,
}

const ROWS: usize = 16;

impl Dots {
    fn new(columns: usize) -> Self {
        Dots { columns, cells: vec![0; columns * ROWS] }
    }

    fn set(&mut self, x: usize, y: usize) {
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        if let Some(cell) = self.cells.get_mut(y / 4 * self.columns + x / 2) {
            *cell |= BITS[y % 4][x % 2];
        }
    }

    /// Draws the line through `points`, with every `apart`-th dot of it.
    fn draw(&mut self, points: &[(f64, f64)], apart: usize) {
        let mut passed = 0;
        let ends = points.windows(2).map(|pair| (pair[0], pair[1]));
        let first = points.first().map(|&point| (point, point));
        for ((x, y), (to_x, to_y)) in first.into_iter().chain(ends) {
            let count = (to_x - x).abs().max((to_y - y).abs()).round();
            for n in 0..=count as usize {
                let part = if count == 0.0 { 0.0 } else { n as f64 / count };
                if passed % apart == 0 {
                    self.set(
                        (x + part * (to_x - x)).round() as usize,
                        (y + part * (to_y - y)).round() as usize,
                    );
                }
                passed += usize::from(n as f64 != count);
            }
        }
    }

    fn row(&self, row: usize) -> String {
        let cells = self.cells.iter().skip(row * self.columns).take(self.columns);
        let dots = |&cell| char::from_u32(0x2800 + u32::from(cell)).filter(|_| cell != 0).unwrap_or(' ');
        cells.map(dots).collect()
    }
}

/// The samples of lines in the legend: solid and dotted.
const SAMPLES: [&str; 2] = ["\u{2824}\u{2824}", "\u{2804}\u{2804}"];

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, scale, longest) = (f.width().unwrap_or(80), self.scale(), self.longest());
        let ticks = scale.ticks(6.0, 0.0);
        let margin = ticks.iter().map(|(_, text)| text.len()).max().unwrap_or(0) + 2;
        let columns = width.saturating_sub(margin).max(10);
        let mut dots = Dots::new(columns);
        let (right, bottom) = ((2 * columns - 1) as f64, (4 * ROWS - 1) as f64);
        let across = Scale { low: 1.0, high: longest as f64 };
        let at = |place: f64| if longest < 2 { 0.0 } else { place * right };
        let x = |number: f64| at(across.place(number));
        let y = |value: f64| (1.0 - scale.place(value)) * bottom;
        for (n, (_, values)) in self.lines.iter().enumerate() {
            for piece in pieces(values, 2 * columns) {
                let points = piece.into_iter().map(|(index, value)| (x(index + 1.0), y(value)));
                dots.draw(&points.collect::<Vec<_>>(), if n == 0 { 1 } else { 2 });
            }
        }
        let marked = self.marked();
        if let Some((place, _)) = marked {
            dots.draw(&[(at(place), 0.0), (at(place), bottom)], 3);
        }

        write!(f, "{:margin$}{}", "", self.y_label)?;
        if self.lines.len() > 1 {
            for (n, (label, _)) in self.lines.iter().enumerate() {
                write!(f, "   {} {label}", SAMPLES[n.min(1)])?;
            }
        }
        if let Some((_, label)) = marked {
            write!(f, "   | {label}")?;
        }
        writeln!(f)?;
        for row in 0..ROWS {
            let tick = ticks.iter().find(|(value, _)| y(*value).round() as usize / 4 == row);
            let (text, axis) = tick.map_or(("", '\u{2502}'), |(_, text)| (&**text, '\u{2524}'));
            let dots = dots.row(row);
            writeln!(f, "{text:>0$} {axis}{1}", margin - 2, dots.trim_end())?;
        }

        let (mut axis, mut labels) = (vec!['\u{2500}'; columns], String::new());
        let ticks = if longest == 0 { Vec::new() } else { self.ticks_across(columns as f64 / 10.0) };
        for (place, text) in ticks {
            let column = at(place) as usize / 2;
            let start =
                (column + 1).saturating_sub(text.len().div_ceil(2)).min(columns - text.len().min(columns));
            if labels.is_empty() || labels.len() < start {
                labels = format!("{labels:start$}{text}");
                axis[column.min(columns - 1)] = '\u{252c}';
            }
        }
        writeln!(f, "{:1$}\u{2514}{2}", "", margin - 1, axis.into_iter().collect::<String>())?;
        writeln!(f, "{}", format!("{:margin$}{labels}", "").trim_end())?;
        writeln!(f, "{}", format!("{:margin$}{:^columns$}", "", self.x_label).trim_end())
    }
}
