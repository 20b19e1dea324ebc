//! The picture of one metric.

use std::error::Error;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use plotters::style::register_font;
use regimen::BoxError;

use crate::replace::{Mark, replace};
use crate::{Bucket, Curve, StoredRun, names};

/// A line chart of one metric of several runs over training steps, as an SVG or a PNG file.
///
/// A line shows the smallest and the largest value of each [bucket](crate::Bucket), so no spike is lost. Values that are not
/// finite are gaps with a cross at the top.
///
/// ```no_run
/// use regimen_report::Plot;
///
/// # fn main() -> Result<(), regimen::BoxError> {
/// Plot::new("train/loss").log_scale(true).write(["runs/a", "runs/b"], "loss.svg")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Plot {
    metric: String,
    log_scale: bool,
    replaces_any: bool,
}

/// The beginnings of plots, by which one of an earlier call is known.
const SVG_MARK: &str = "<!-- regimen plot -->\n";
const PNG_MARK: (&str, &str) = ("Software", "regimen plot");

/// The size of an SVG in units. A PNG has twice as many pixels.
const SIZE: (u32, u32) = (720, 420);
const PIXELS_PER_UNIT: u32 = 2;
/// With more runs, lines have no label.
const MOST_LABELS: usize = 12;

const TEXT: RGBColor = RGBColor(0x33, 0x38, 0x3f);
const GRID: RGBColor = RGBColor(0xe4, 0xe6, 0xe9);
/// The colours of Okabe and Ito, which all kinds of eyes tell apart; yellow is darker.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xb0, 0x52, 0x8c),
    RGBColor(0x3b, 0xa3, 0xd8),
    RGBColor(0xc2, 0x8a, 0x00),
    RGBColor(0x4a, 0x4a, 0x4a),
    RGBColor(0x8a, 0x63, 0x2f),
];

/// A run in a plot.
struct Line {
    label: String,
    /// Unbroken pieces of step and value.
    pieces: Vec<Vec<(f64, f64)>>,
    /// Steps of values that are not finite.
    gaps: Vec<f64>,
}

impl Plot {
    /// A plot of the metric `metric`: in training, else in evaluation, else in prediction. Of one phase, it shows the values
    /// of steps, else those over epochs.
    pub fn new(metric: impl Into<String>) -> Self {
        Plot { metric: metric.into(), log_scale: false, replaces_any: false }
    }

    /// A logarithmic vertical axis. Values that are not above 0 are gaps. Default: false.
    pub fn log_scale(self, log_scale: bool) -> Self {
        Plot { log_scale, ..self }
    }

    /// Replaces a file that is no plot of an earlier call. Default: false.
    pub fn replaces_any(self, replaces_any: bool) -> Self {
        Plot { replaces_any, ..self }
    }

    /// Writes the plot of the runs in `folders` to `file`, whose name ends in `.svg` or `.png`. The file is replaced as a
    /// whole if it is such a plot already; another file of that name is an error.
    ///
    /// It is an error if a folder is no run, and if no run has a value of the metric: the error names the metrics that
    /// there are. A run without the metric has no line.
    pub fn write<P: Into<PathBuf>>(
        &self,
        folders: impl IntoIterator<Item = P>,
        file: impl AsRef<Path>,
    ) -> Result<(), BoxError> {
        let file = file.as_ref();
        let folders: Vec<PathBuf> = folders.into_iter().map(Into::into).collect();
        let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let is_png = match ending.as_deref() {
            Some("png") => true,
            Some("svg") => false,
            _ => return Err(format!("{}: a plot ends in .svg or .png", file.display()).into()),
        };
        let lines = self.lines(&folders)?;
        if is_png { self.write_png(&lines, file) } else { self.write_svg(&lines, file) }
    }

    fn lines(&self, folders: &[PathBuf]) -> Result<Vec<Line>, BoxError> {
        let (mut lines, mut known) = (Vec::new(), Vec::new());
        for (folder, label) in folders.iter().zip(names(folders)) {
            let run = StoredRun::without_pictures(folder)?;
            let found = run.curve(&self.metric, false);
            lines.extend(found.map(|curve| self.line(label, curve)));
            known.extend(run.curves.iter().map(|curve| curve.key().name.clone()));
        }
        known.sort();
        known.dedup();
        if lines.iter().any(|line| !line.pieces.is_empty()) {
            return Ok(lines);
        }
        let metric = &self.metric;
        Err(match (lines.is_empty(), known.is_empty()) {
            (true, true) => format!("no run has a metric `{metric}`, nor any other"),
            (true, false) => format!("no run has a metric `{metric}`; there are {}", known.join(", ")),
            (false, _) if self.log_scale => format!("`{metric}` has no finite value above 0"),
            (false, _) => format!("`{metric}` has no finite value"),
        }
        .into())
    }

    /// The vertical place of a value.
    fn place(&self, value: f64) -> f64 {
        if self.log_scale { value.log10() } else { value }
    }

    fn line(&self, label: String, curve: &Curve) -> Line {
        let (mut pieces, mut gaps) = (vec![Vec::new()], Vec::new());
        for bucket in curve.buckets() {
            let Bucket { step, end, first, min, max, last, .. } = *bucket;
            let middle = f64::midpoint(step as f64, end as f64);
            let points = [(step as f64, first), (middle, min), (middle, max), (end as f64, last)];
            let count = if bucket.count == 1 { 1 } else { points.len() };
            for (x, y) in points.into_iter().take(count).map(|(x, y)| (x, self.place(y))) {
                match pieces.last_mut() {
                    Some(piece) if y.is_finite() => piece.push((x, y)),
                    _ => pieces.push(Vec::new()),
                }
            }
            if bucket.nan + bucket.infinite > 0 {
                gaps.push(middle);
                pieces.push(Vec::new());
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        Line { label, pieces, gaps }
    }

    fn write_svg(&self, lines: &[Line], file: &Path) -> Result<(), BoxError> {
        let mut svg = String::new();
        self.draw(lines, 1, &SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())?;
        let mark = Mark { kind: "plot", bytes: SVG_MARK.as_bytes(), replaces_any: self.replaces_any };
        replace(file, &mark, |out| {
            out.write_all(SVG_MARK.as_bytes())?;
            Ok(out.write_all(svg.as_bytes())?)
        })
    }

    fn write_png(&self, lines: &[Line], file: &Path) -> Result<(), BoxError> {
        let (width, height) = (SIZE.0 * PIXELS_PER_UNIT, SIZE.1 * PIXELS_PER_UNIT);
        let mut pixels = vec![0; width as usize * height as usize * 3];
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        self.draw(lines, PIXELS_PER_UNIT, &area)?;
        drop(area);
        let text = format!("tEXt{}\0{}", PNG_MARK.0, PNG_MARK.1);
        let mark = Mark { kind: "plot", bytes: text.as_bytes(), replaces_any: self.replaces_any };
        replace(file, &mark, |out| {
            let mut encoder = png::Encoder::new(out, width, height);
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_depth(png::BitDepth::Eight);
            encoder.add_text_chunk(PNG_MARK.0.to_owned(), PNG_MARK.1.to_owned())?;
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&pixels)?;
            Ok(writer.finish()?)
        })
    }

    /// Draws on an area with `scale` pixels per unit.
    fn draw<B: DrawingBackend>(
        &self,
        lines: &[Line],
        scale: u32,
        area: &DrawingArea<B, plotters::coord::Shift>,
    ) -> Result<(), BoxError>
    where
        B::ErrorType: 'static,
    {
        let font = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
        font.map_err(|_| "the font of plots cannot be read")?;
        let points = || lines.iter().flat_map(|line| line.pieces.iter().flatten());
        let gaps = lines.iter().flat_map(|line| line.gaps.iter().copied());
        let across = range(points().map(|point| point.0).chain(gaps));
        let up = range(points().map(|point| point.1));
        let digits = if self.log_scale { 0 } else { digits(&up) };
        let number = |value: &f64| match self.log_scale {
            true => short(10_f64.powf(*value)),
            false if up.end.abs().max(up.start.abs()) < 1e6 && digits <= 6 => format!("{value:.digits$}"),
            false => format!("{value:.2e}"),
        };
        let steps = |value: &f64| match value.abs() {
            1e6.. => format!("{}M", value / 1e6),
            1e4.. => format!("{}k", value / 1e3),
            _ => format!("{value}"),
        };
        let size = |units: u32| units * scale;
        let text = |units: u32| ("sans-serif", f64::from(size(units))).into_font().color(&TEXT);
        let draw = || -> Result<(), Box<dyn Error + Send + Sync>> {
            let failed = |cause: DrawingAreaErrorKind<B::ErrorType>| cause.to_string();
            area.fill(&WHITE).map_err(failed)?;
            let mut chart = ChartBuilder::on(area)
                .margin(size(14))
                .margin_right(size(24))
                .caption(&self.metric, text(17))
                .x_label_area_size(size(38))
                .y_label_area_size(size(60))
                .build_cartesian_2d(across, up.clone())
                .map_err(failed)?;
            chart
                .configure_mesh()
                .x_desc("step")
                .label_style(text(13))
                .axis_desc_style(text(13))
                .axis_style(TEXT.mix(0.5))
                .bold_line_style(GRID)
                .light_line_style(TRANSPARENT)
                .x_label_formatter(&steps)
                .y_label_formatter(&number)
                .draw()
                .map_err(failed)?;
            for (n, line) in lines.iter().enumerate() {
                let colour = colour(n, lines.len());
                let style = colour.stroke_width(if lines.len() <= MOST_LABELS { size(3) / 2 } else { 1 });
                for (m, piece) in line.pieces.iter().enumerate() {
                    let drawn = match piece.as_slice() {
                        [point] => chart.draw_series([Circle::new(*point, size(2), colour.filled())]),
                        // As pixels, the joint of two steep pieces would reach far beyond the point.
                        points if scale > 1 => {
                            chart.draw_series(points.windows(2).map(|ends| PathElement::new(ends, style)))
                        }
                        points => chart.draw_series(LineSeries::new(points.iter().copied(), style)),
                    }
                    .map_err(failed)?;
                    if m == 0 && lines.len() <= MOST_LABELS {
                        let sample = move |(x, y): (i32, i32)| {
                            PathElement::new([(x, y), (x + size(16) as i32, y)], style)
                        };
                        drawn.label(&line.label).legend(sample);
                    }
                }
            }
            for (n, line) in lines.iter().enumerate() {
                let style = colour(n, lines.len()).stroke_width(size(1));
                let crosses = line.gaps.iter().map(|x| Cross::new((*x, up.end), size(3), style));
                chart.draw_series(crosses).map_err(failed)?;
            }
            if (2..=MOST_LABELS).contains(&lines.len()) {
                chart
                    .configure_series_labels()
                    .position(SeriesLabelPosition::UpperRight)
                    .legend_area_size(size(24))
                    .margin(size(6))
                    .background_style(WHITE.mix(0.85))
                    .label_font(text(13))
                    .draw()
                    .map_err(failed)?;
            }
            area.present().map_err(failed)?;
            Ok(())
        };
        draw().map_err(|cause| format!("cannot draw `{}`: {cause}", self.metric).into())
    }
}

/// The range of the values, with some room if they are all the same.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let room = (high - low) * 0.04;
    // The steps of an axis over a few of the smallest differences would be 0.
    let is_one = high - low <= 1e-12 * low.abs().max(high.abs());
    match room {
        _ if !is_one && room.is_finite() => (if low == 0.0 { 0.0 } else { low - room })..high + room,
        _ if low.is_finite() && low.abs() < 1e300 => {
            low - 1.0_f64.max(low.abs() / 10.0)..low + 1.0_f64.max(low.abs() / 10.0)
        }
        _ => -1e300..1e300,
    }
}

/// Decimals that tell two labels apart.
fn digits(range: &Range<f64>) -> usize {
    let exponent = ((range.end - range.start) / 10.0).log10().floor();
    if exponent < 0.0 { (-exponent).min(9.0) as usize } else { 0 }
}

/// Three significant digits.
fn short(value: f64) -> String {
    if !(0.001..1e5).contains(&value) {
        return format!("{value:.0e}");
    }
    let unit = 10_f64.powf(value.log10().floor() - 2.0);
    format!("{}", ((value / unit).round() * unit * 1e9).round() / 1e9)
}

/// The colour of the `n`-th of `count` runs: one of eight, or a place between blue and yellow.
fn colour(n: usize, count: usize) -> RGBColor {
    if count <= COLOURS.len() {
        return COLOURS.get(n).copied().unwrap_or(TEXT);
    }
    const RAMP: [[f64; 3]; 5] = [
        [20.0, 48.0, 110.0],
        [75.0, 84.0, 117.0],
        [124.0, 118.0, 112.0],
        [178.0, 155.0, 88.0],
        [225.0, 190.0, 40.0],
    ];
    let place = n as f64 / (count - 1) as f64 * (RAMP.len() - 1) as f64;
    let (low, part) = (place.floor(), place.fract());
    let [from, to] = [low, low + 1.0].map(|n| RAMP.get(n as usize).copied().unwrap_or(RAMP[RAMP.len() - 1]));
    let [red, green, blue] =
        [0, 1, 2].map(|channel: usize| (from[channel] * (1.0 - part) + to[channel] * part).round() as u8);
    RGBColor(red, green, blue)
}
