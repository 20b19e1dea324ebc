//! The confusion matrix as a picture.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use regimen::BoxError;
use regimen::metric::{ConfusionMatrix, Image, Measure};

const EMPTY: [u8; 3] = [224; 3];

fn pixel(image: &Image, x: usize, y: usize) -> [u8; 3] {
    let at = 3 * (y * image.width() as usize + x);
    image.pixels()[at..at + 3].try_into().unwrap()
}

/// The colours of the cells at their upper left corners, row after row, and whether the first has no number. A frame
/// is around them.
fn cells(image: &Image, rows: usize, columns: usize) -> (Vec<[u8; 3]>, bool) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let is_frame = |&(x, y): &(usize, usize)| {
        (x..width.min(x + columns)).all(|x| pixel(image, x, y) == EMPTY)
            && (y..height.min(y + rows)).all(|y| pixel(image, x, y) == EMPTY)
    };
    let (left, top) = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).find(is_frame).unwrap();
    let right = (left..width).take_while(|&x| pixel(image, x, top) == EMPTY).last().unwrap();
    let side = (right - left - 1) / columns;
    let at = |n: usize, inner: usize| {
        let [row, column] = [n / columns, n % columns];
        pixel(image, left + 1 + column * side + inner % side, top + 1 + row * side + inner / side)
    };
    let is_plain = (0..side * side).all(|inner| at(0, inner) == at(0, 0));
    ((0..rows * columns).map(|n| at(n, 0)).collect(), is_plain)
}

/// The colours of no, half and all samples, as they are in Matplotlib's `Blues`.
const NO: [u8; 3] = [247, 251, 255];
const HALF: [u8; 3] = [107, 174, 214];
const ALL: [u8; 3] = [8, 48, 107];

#[test]
fn a_row_has_its_shares_from_light_to_dark_and_that_of_an_absent_class_none() -> Result<(), BoxError> {
    let mut matrix = ConfusionMatrix::named(["cat", "dog", "fox"])?;
    matrix.update((&[0, 0, 0, 1], &[0, 0, 2, 2]))?;
    let expected = [ALL, NO, NO, EMPTY, EMPTY, EMPTY, HALF, HALF, NO];
    assert_eq!(cells(&matrix.image()?, 3, 3).0, expected);
    // Samples of which nothing was predicted are a column of their own.
    matrix.update_logits(&[f64::NAN; 6], &[1, 1])?;
    let expected = [ALL, NO, NO, NO, NO, NO, NO, ALL, HALF, HALF, NO, NO];
    assert_eq!(cells(&matrix.image()?, 3, 4).0, expected);
    Ok(())
}

#[test]
fn any_number_of_classes_has_a_picture_and_fewer_than_70_have_numbers() -> Result<(), BoxError> {
    for (classes, rows, has_numbers) in
        [(1, 1, true), (2, 2, true), (69, 69, true), (70, 70, false), (1500, 750, false)]
    {
        let mut matrix = ConfusionMatrix::new(classes)?;
        let all: Vec<usize> = (0..classes).collect();
        matrix.update((&all, &all))?;
        let image = matrix.image()?;
        assert!(image.width().max(image.height()) < 3000, "{classes} classes");
        // Of several classes in a cell the largest share.
        let diagonal = |n: usize| if n / rows == n % rows { ALL } else { NO };
        let expected = ((0..rows * rows).map(diagonal).collect(), !has_numbers);
        assert_eq!(cells(&image, rows, rows), expected, "{classes} classes");
    }
    Ok(())
}
