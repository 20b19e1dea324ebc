//! Charts as files.

use std::fmt::Write;
use std::path::Path;

use super::Figure;
use super::figure::{Scale, pieces};
use crate::BoxError;
use crate::replace_file::replace_file;

/// The size of a picture, in units of an SVG. A PNG has twice as many pixels.
const SIZE: (f64, f64) = (640.0, 400.0);
const RIGHT: f64 = 616.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 344.0;
/// Lines of at most as many values have their points marked.
const MOST_POINTS: usize = 30;
/// Lines of at most as many values are wide.
const MOST_WIDE: usize = 300;

/// Red, green and blue.
type Colour = [u8; 3];
const TEXT: Colour = [0x33; 3];
const AXIS: Colour = [0x88; 3];
const GRID: Colour = [0xe4; 3];
const MARK: Colour = [0xe6, 0x6c, 0x00];
/// Blue, orange, green, purple: told apart by all kinds of eyes.
const LINES: [Colour; 4] = [[0x1f, 0x77, 0xb4], [0xe6, 0x6c, 0x00], [0x00, 0x9e, 0x73], [0x94, 0x67, 0xbd]];

/// A point, from the upper left corner.
type Point = (f64, f64);

enum Mark<'f> {
    Line { points: Vec<Point>, width: f64, colour: Colour },
    Dot { at: Point, colour: Colour },
    Text { at: Point, anchor: Anchor, text: &'f str },
}

/// The part of a text that is at its point, on the base line.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Figure {
    /// Writes the chart as an SVG file of 640 by 400. A file of that name is replaced.
    pub fn save_svg(&self, path: impl AsRef<Path>) -> Result<(), BoxError> {
        save(path.as_ref(), self.svg().as_bytes())
    }

    /// Writes the chart as a PNG file of 1280 by 800 pixels. A file of that name is replaced. Characters beyond Latin-1
    /// are drawn as `?`.
    #[cfg(feature = "plots")]
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<(), BoxError> {
        save(path.as_ref(), &pixels::png(self)?)
    }

    fn svg(&self) -> String {
        let (width, height) = SIZE;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{}\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n",
            hex(TEXT)
        );
        self.draw(|mark| {
            let _ = match mark {
                Mark::Line { points, width, colour } => {
                    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                    let (points, colour) = (points.join(" "), hex(colour));
                    writeln!(
                        svg,
                        "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
                    )
                }
                Mark::Dot { at: (x, y), colour } => {
                    writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{}\"/>", hex(colour))
                }
                Mark::Text { at: (x, y), anchor, text } => {
                    let anchor = match anchor {
                        Anchor::Start => "start",
                        Anchor::Middle => "middle",
                        Anchor::End => "end",
                    };
                    let text = text.replace('&', "&amp;").replace('<', "&lt;");
                    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
                }
            };
        });
        svg + "</svg>\n"
    }

    /// Draws the marks of the chart, each over those before.
    fn draw(&self, mut mark: impl FnMut(Mark<'_>)) {
        let (scale, longest) = (self.scale(), self.longest());
        let ticks = scale.ticks(6.0, 0.0);
        let left = 20.0 + 7.0 * ticks.iter().map(|(_, text)| text.len()).max().unwrap_or(0) as f64;
        let across = Scale { low: 1.0, high: longest.max(1) as f64 };
        let at = |place: f64| left + place * (RIGHT - left);
        let x = |number: f64| at(across.place(number));
        let y = |value: f64| BOTTOM - scale.place(value) * (BOTTOM - TOP);
        let mut line = |from, to, colour| mark(Mark::Line { points: vec![from, to], width: 1.0, colour });

        for (value, _) in &ticks {
            line((left, y(*value)), (RIGHT, y(*value)), GRID);
        }
        line((left, TOP), (left, BOTTOM), AXIS);
        line((left, BOTTOM), (RIGHT, BOTTOM), AXIS);
        let numbers = self.ticks_across(8.0);
        for (place, _) in &numbers {
            line((at(*place), BOTTOM), (at(*place), BOTTOM + 4.0), AXIS);
        }
        let marked = self.marked();
        if let Some((place, _)) = marked {
            line((at(place), TOP), (at(place), BOTTOM), MARK);
        }

        let mut text = |at, anchor, text: &str| mark(Mark::Text { at, anchor, text });
        for (value, label) in &ticks {
            text((left - 8.0, y(*value) + 4.0), Anchor::End, label);
        }
        for (place, label) in &numbers {
            text((at(*place), BOTTOM + 18.0), Anchor::Middle, label);
        }
        if let Some((place, label)) = marked {
            text((at(place), TOP - 4.0), if place < 0.5 { Anchor::Start } else { Anchor::End }, label);
        }
        text((f64::midpoint(left, RIGHT), BOTTOM + 38.0), Anchor::Middle, &self.x_label);
        text((left, TOP - 16.0), Anchor::Start, &self.y_label);

        let mut end = RIGHT;
        // The last line is below the others, and its label at the right.
        for (n, (label, values)) in self.lines.iter().enumerate().rev() {
            let colour = LINES[n % LINES.len()];
            for piece in pieces(values, (RIGHT - left) as usize) {
                let points: Vec<Point> = piece.into_iter().map(|(n, value)| (x(n + 1.0), y(value))).collect();
                if values.len() <= MOST_POINTS || points.len() == 1 {
                    points.iter().for_each(|&at| mark(Mark::Dot { at, colour }));
                }
                let width = if values.len() <= MOST_WIDE { 2.0 } else { 1.0 };
                mark(Mark::Line { points, width, colour });
            }
            if self.lines.len() > 1 {
                let (start, y) = (end - 7.0 * label.chars().count() as f64, TOP - 20.0);
                mark(Mark::Line { points: vec![(start - 26.0, y), (start - 6.0, y)], width: 2.0, colour });
                mark(Mark::Text { at: (start, y + 4.0), anchor: Anchor::Start, text: label });
                end = start - 42.0;
            }
        }
    }
}

fn hex([red, green, blue]: Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), BoxError> {
    replace_file(path, bytes).map_err(|cause| format!("cannot write {}: {cause}", path.display()).into())
}

#[cfg(feature = "plots")]
mod pixels {
    //! A chart as pixels.

    use std::convert::Infallible;

    use embedded_graphics::Drawable;
    use embedded_graphics::Pixel;
    use embedded_graphics::draw_target::DrawTarget;
    use embedded_graphics::geometry::{OriginDimensions, Point, Size};
    use embedded_graphics::mono_font::{MonoTextStyle, iso_8859_1::FONT_10X20};
    use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
    use embedded_graphics::text::{Alignment, Text};

    use super::{Anchor, Colour, Figure, Mark, SIZE, TEXT};
    use crate::BoxError;
    use crate::log::png;
    use crate::metric::Image;

    /// Pixels per unit.
    const SCALE: f64 = 2.0;
    const WIDTH: usize = (SIZE.0 * SCALE) as usize;
    const HEIGHT: usize = (SIZE.1 * SCALE) as usize;

    pub(super) fn png(figure: &Figure) -> Result<Vec<u8>, BoxError> {
        let mut pixels = Pixels(vec![[0xff; 3]; WIDTH * HEIGHT]);
        figure.draw(|mark| match mark {
            Mark::Line { points, width, colour } => {
                points.windows(2).for_each(|ends| pixels.stroke(ends[0], ends[1], width / 2.0, colour));
            }
            Mark::Dot { at, colour } => pixels.stroke(at, at, 3.0, colour),
            Mark::Text { at, anchor, text } => pixels.write(at, anchor, text),
        });
        let image = Image::rgb(WIDTH as u32, HEIGHT as u32, pixels.0.into_flattened())?;
        Ok(png::png(&image)?)
    }

    struct Pixels(Vec<Colour>);

    impl Pixels {
        /// Colours what is at most `radius` from the line between two points, with smooth edges.
        fn stroke(&mut self, from: super::Point, to: super::Point, radius: f64, colour: Colour) {
            let [(ax, ay), (bx, by)] = [from, to].map(|(x, y)| (x * SCALE, y * SCALE));
            let (dx, dy, radius) = (bx - ax, by - ay, radius * SCALE);
            let range = |a: f64, b: f64, end: usize| {
                let reach = radius + 1.0;
                let high = (a.max(b) + reach).ceil().max(0.0) as usize;
                (a.min(b) - reach).floor().max(0.0) as usize..high.min(end)
            };
            for row in range(ay, by, HEIGHT) {
                for column in range(ax, bx, WIDTH) {
                    let (x, y) = (column as f64 + 0.5 - ax, row as f64 + 0.5 - ay);
                    let length = dx * dx + dy * dy;
                    let along =
                        if length == 0.0 { 0.0 } else { ((x * dx + y * dy) / length).clamp(0.0, 1.0) };
                    let distance = (x - along * dx).hypot(y - along * dy);
                    let cover = (radius + 0.5 - distance).clamp(0.0, 1.0);
                    for (old, new) in self.0[row * WIDTH + column].iter_mut().zip(colour) {
                        *old = (f64::from(*old) * (1.0 - cover) + f64::from(new) * cover).round() as u8;
                    }
                }
            }
        }

        fn write(&mut self, (x, y): super::Point, anchor: Anchor, text: &str) {
            let alignment = match anchor {
                Anchor::Start => Alignment::Left,
                Anchor::Middle => Alignment::Center,
                Anchor::End => Alignment::Right,
            };
            let [red, green, blue] = TEXT;
            let style = MonoTextStyle::new(&FONT_10X20, Rgb888::new(red, green, blue));
            let at = Point::new((x * SCALE) as i32, (y * SCALE) as i32);
            let Ok(_) = Text::with_alignment(text, at, style, alignment).draw(self);
        }
    }

    impl OriginDimensions for Pixels {
        fn size(&self) -> Size {
            Size::new(WIDTH as u32, HEIGHT as u32)
        }
    }

    impl DrawTarget for Pixels {
        type Color = Rgb888;
        type Error = Infallible;

        fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
            for Pixel(Point { x, y }, colour) in pixels {
                if let (Ok(x @ ..WIDTH), Ok(y @ ..HEIGHT)) = (usize::try_from(x), usize::try_from(y)) {
                    self.0[y * WIDTH + x] = [colour.r(), colour.g(), colour.b()];
                }
            }
            Ok(())
        }
    }
}
