//! The picture of a confusion matrix.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::{ConfusionMatrix, Image};
use crate::BoxError;

type Colour = [u8; 3];

const WHITE: Colour = [255; 3];
const BLACK: Colour = [0; 3];
const GREY: Colour = [224; 3];

/// The width and height of a letter, in pixels.
const LETTER: [usize; 2] = [get_raster_width(FontWeight::Regular, RasterHeight::Size16), 16];
const GAP: usize = 8;

/// The matrix with its labels: rows are targets, columns predictions.
pub(super) fn picture(matrix: &ConfusionMatrix) -> Result<Image, BoxError> {
    let classes = matrix.classes();
    let has_numbers = classes < 70;
    // Classes per cell.
    let block = classes.div_ceil(1024);
    let rows = classes.div_ceil(block);
    let columns = rows + matrix.columns() - classes;
    let side = if has_numbers { (400 / columns).clamp(40, 120) } else { (800 / columns).max(1) };

    // One label per `stride` cells, so that they do not touch.
    let stride = (LETTER[1] + 2).div_ceil(side);
    let label = |cell: usize| matrix.name(if cell == rows { classes } else { cell * block });
    let is_labelled = |cell: usize, cells: usize| {
        cell == rows || (cell.is_multiple_of(stride) && (cells == rows || cell + stride <= rows))
    };
    let widest = (0..columns).map(|cell| width_of(&label(cell))).max().unwrap_or(0);
    let turned = widest + GAP > side * stride;

    let left = LETTER[1] + widest + 3 * GAP;
    let top = LETTER[1] + 2 * GAP;
    let below = if turned { widest } else { LETTER[1] };
    let title = "confusion matrix";
    let width = (left + columns * side + 2 * GAP).max(width_of(title) + 2 * GAP);
    let height = top + rows * side + below + LETTER[1] + 3 * GAP;
    let mut canvas = Canvas { width, pixels: WHITE.repeat(width * height) };

    canvas.fill(left - 1, top - 1, columns * side + 2, rows * side + 2, GREY);
    let count = |target| (0..=classes).map(|column| matrix.cell(target, column)).sum();
    let samples: Vec<u64> = (0..classes).map(count).collect();
    for row in 0..rows {
        for column in 0..columns {
            let Some(share) = share(matrix, &samples, block, [row, column]) else { continue };
            let (x, y) = (left + column * side, top + row * side);
            canvas.fill(x, y, side, side, blue(share));
            if has_numbers {
                let colour = if share > 0.5 { WHITE } else { BLACK };
                canvas.text_around(x + side / 2, y + side / 2, &format!("{share:.2}"), colour);
            }
        }
    }

    for row in (0..rows).filter(|&row| is_labelled(row, rows)) {
        let (name, middle) = (label(row), top + row * side + side / 2);
        canvas.text(left - GAP - width_of(&name), middle.saturating_sub(LETTER[1] / 2), &name, BLACK);
    }
    for column in (0..columns).filter(|&column| is_labelled(column, columns)) {
        let (name, middle) = (label(column), left + column * side + side / 2);
        let y = top + rows * side + GAP;
        match turned {
            true => canvas.text_upwards(middle.saturating_sub(LETTER[1] / 2), y + width_of(&name), &name),
            false => canvas.text_around(middle, y + LETTER[1] / 2, &name, BLACK),
        }
    }
    canvas.text_around((left + columns * side / 2).max(GAP + width_of(title) / 2), top / 2, title, BLACK);
    canvas.text_around(left + columns * side / 2, height - LETTER[1] / 2 - GAP / 2, "predicted", BLACK);
    canvas.text_upwards(GAP / 2, top + (rows * side + width_of("target")) / 2, "target");
    Image::rgb(u32::try_from(width)?, u32::try_from(height)?, canvas.pixels)
}

/// The share of a cell in its row; the largest if it stands for several classes. Returns `None` without samples.
fn share(matrix: &ConfusionMatrix, samples: &[u64], block: usize, [row, column]: [usize; 2]) -> Option<f64> {
    let classes = matrix.classes();
    let of = |cell: usize| cell * block..((cell + 1) * block).min(classes);
    let columns = if column * block < classes { of(column) } else { classes..classes + 1 };
    let shares = of(row).filter(|&target| samples[target] > 0).filter_map(|target| {
        let largest = columns.clone().map(|column| matrix.cell(target, column)).max()?;
        Some(largest as f64 / samples[target] as f64)
    });
    shares.reduce(f64::max)
}

/// From almost white for 0 to dark blue for 1.
fn blue(share: f64) -> Colour {
    const STOPS: [Colour; 3] = [[247, 251, 255], [107, 174, 214], [8, 48, 107]];
    let [from, to] = if share < 0.5 { [STOPS[0], STOPS[1]] } else { [STOPS[1], STOPS[2]] };
    let part = if share < 0.5 { 2.0 * share } else { 2.0 * share - 1.0 };
    std::array::from_fn(|n| mixed(from[n], to[n], part))
}

fn mixed(from: u8, to: u8, part: f64) -> u8 {
    (f64::from(from) + part * (f64::from(to) - f64::from(from))).round() as u8
}

fn width_of(text: &str) -> usize {
    text.chars().count() * LETTER[0]
}

struct Canvas {
    width: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    /// Covers a pixel by the part `cover` of `colour`.
    fn cover(&mut self, x: usize, y: usize, colour: Colour, cover: f64) {
        let at = 3 * (y * self.width + x);
        if let Some(pixel) = self.pixels.get_mut(at..at + 3) {
            pixel.iter_mut().zip(colour).for_each(|(old, new)| *old = mixed(*old, new, cover));
        }
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Colour) {
        for y in y..y + height {
            let row = self.pixels.get_mut(3 * (y * self.width + x)..).unwrap_or_default();
            row.chunks_mut(3).take(width).for_each(|pixel| pixel.copy_from_slice(&colour));
        }
    }

    /// Draws a text with its top left corner at a pixel.
    fn text(&mut self, x: usize, y: usize, text: &str, colour: Colour) {
        letters(text, |right, down, cover| self.cover(x + right, y + down, colour, cover));
    }

    /// The same with its middle at a pixel.
    fn text_around(&mut self, x: usize, y: usize, text: &str, colour: Colour) {
        self.text(x.saturating_sub(width_of(text) / 2), y.saturating_sub(LETTER[1] / 2), text, colour);
    }

    /// Draws a text that is read from below, with the top of its first letter at a pixel.
    fn text_upwards(&mut self, x: usize, y: usize, text: &str) {
        letters(text, |right, down, cover| self.cover(x + down, y.saturating_sub(right), BLACK, cover));
    }
}

/// Calls `draw` with the place of each pixel of a text, and how much of it is covered.
fn letters(text: &str, mut draw: impl FnMut(usize, usize, f64)) {
    let raster = |letter| get_raster(letter, FontWeight::Regular, RasterHeight::Size16);
    for (n, letter) in text.chars().enumerate() {
        let Some(letter) = raster(letter).or_else(|| raster('?')) else { continue };
        for (down, row) in letter.rows().enumerate() {
            for (right, &cover) in row.iter().enumerate().filter(|(_, cover)| **cover > 0) {
                draw(n * LETTER[0] + right, down, f64::from(cover) / 255.0);
            }
        }
    }
}
