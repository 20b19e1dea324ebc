//! Handwritten digits: the 1,797 of scikit-learn, bundled with this crate, or MNIST.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use regimen::BoxError;
use regimen::data::Idx;
use regimen::metric::{ConfusionMatrix, Measure};
use regimen::text::Count;

/// Grey images with their digits.
#[derive(Clone, Debug)]
pub struct Digits {
    /// Side length in pixels; images are square.
    pub side: usize,
    /// Images with their digits, in the order of the source.
    pub images: Vec<Image>,
}

/// A grey image, row by row with values from 0 to 1, and its digit.
pub type Image = (Vec<f32>, i64);

/// Training, validation and test set, split by row so that the sets are always the same.
#[derive(Clone, Debug)]
pub struct Split {
    /// For training.
    pub train: Vec<Image>,
    /// For early stopping.
    pub validation: Vec<Image>,
    /// Held out until the end.
    pub test: Vec<Image>,
}

impl Digits {
    /// The digits of scikit-learn: 8x8 pixels with values from 0 to 16.
    pub fn bundled() -> Result<Self, BoxError> {
        let mut text = String::new();
        GzDecoder::new(&include_bytes!("../data/digits.csv.gz")[..]).read_to_string(&mut text)?;
        let image = |line: &str| -> Result<Image, BoxError> {
            let numbers = line.split(',').map(str::parse::<f32>).collect::<Result<Vec<_>, _>>()?;
            match numbers.split_last() {
                Some((&digit, pixels)) if pixels.len() == 64 => {
                    Ok((pixels.iter().map(|pixel| pixel / 16.0).collect(), digit as i64))
                }
                _ => Err(format!(
                    "the bundled digits are damaged: a row of {}",
                    Count(numbers.len() as u64, "number")
                )
                .into()),
            }
        };
        Ok(Digits { side: 8, images: text.lines().map(image).collect::<Result<_, _>>()? })
    }

    /// Reads the MNIST files in a folder, each gzipped or not: `train-images-idx3-ubyte` with
    /// `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` with `t10k-labels-idx1-ubyte`, or only
    /// one of the pairs.
    pub fn mnist(folder: &Path) -> Result<Self, BoxError> {
        let mut digits = Digits { side: 28, images: Vec::new() };
        for set in ["train", "t10k"] {
            let images = either(folder, &format!("{set}-images-idx3-ubyte"));
            let labels = either(folder, &format!("{set}-labels-idx1-ubyte"));
            if let (Some(images), Some(labels)) = (images, labels) {
                digits.add(&images, &labels)?;
            }
        }
        if digits.images.is_empty() {
            let folder = folder.display();
            return Err(format!(
                "no MNIST files in `{folder}`: `t10k-images-idx3-ubyte.gz` and `t10k-labels-idx1-ubyte.gz`, \
                 or those that begin with `train`, are looked for"
            )
            .into());
        }
        Ok(digits)
    }

    fn add(&mut self, images: &Path, labels: &Path) -> Result<(), BoxError> {
        let (images, found) = (Idx::open(images)?.arrays::<{ 28 * 28 }>()?, Idx::open(labels)?.into_values());
        if images.len() != found.len() {
            let labels = labels.display();
            return Err(format!(
                "`{labels}` has {} for {}",
                Count(found.len() as u64, "label"),
                Count(images.len() as u64, "image")
            )
            .into());
        }
        let image = |(pixels, digit): (&[u8; 28 * 28], u8)| {
            (pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect(), i64::from(digit))
        };
        self.images.extend(images.iter().zip(found).map(image));
        Ok(())
    }

    /// Splits by index: image i goes to the test set if i mod 5 is 4, to the validation set if it
    /// is 3, and to the training set otherwise.
    pub fn split(self) -> Split {
        let mut split = Split { train: Vec::new(), validation: Vec::new(), test: Vec::new() };
        for (i, image) in self.images.into_iter().enumerate() {
            let set = match i % 5 {
                4 => &mut split.test,
                3 => &mut split.validation,
                _ => &mut split.train,
            };
            set.push(image);
        }
        split
    }
}

/// The file `name` in `folder`, or its gzipped form if that exists.
fn either(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.exists())
}

/// Shifts an image by some pixels. Pixels from beyond the edge are black.
pub fn shifted(image: &[f32], side: usize, down: isize, right: isize) -> Vec<f32> {
    let pixel = |i: usize| {
        let row = (i / side).checked_add_signed(-down).filter(|&row| row < side)?;
        let column = (i % side).checked_add_signed(-right).filter(|&column| column < side)?;
        image.get(row * side + column).copied()
    };
    (0..image.len()).map(|i| pixel(i).unwrap_or(0.0)).collect()
}

/// An image as text: two characters per pixel, darker for larger values.
pub fn drawing(image: &[f32], side: usize) -> String {
    const SHADES: [&str; 5] = ["  ", "..", "::", "##", "@@"];
    let shade = |pixel: &f32| SHADES[((pixel.clamp(0.0, 1.0) * 4.0).round()) as usize];
    let rows = image.chunks(side).map(|row| row.iter().map(shade).collect::<String>());
    rows.map(|row| row.trim_end().to_owned() + "\n").collect()
}

/// Prints the confusion matrix, three misread digits and the accuracy.
pub fn show(test: &[Image], predicted: &[usize], side: usize) -> Result<(), BoxError> {
    let targets: Vec<usize> = test.iter().map(|(_, digit)| *digit as usize).collect();
    let mut confusion = ConfusionMatrix::new(10)?;
    confusion.update((predicted, &targets))?;
    println!("\n{confusion}");
    let read = test.iter().zip(predicted);
    for ((image, digit), found) in read.filter(|((_, digit), found)| *digit as usize != **found).take(3) {
        println!("a {digit} read as {found}\n{}", drawing(image, side));
    }
    println!("held-out accuracy: {:.4}", confusion.accuracy().unwrap_or(0.0));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_digits_are_those_of_scikit_learn() {
        let digits = Digits::bundled().unwrap();
        let mut classes = [0; 10];
        digits.images.iter().for_each(|(_, digit)| classes[*digit as usize] += 1);
        // From the description of `sklearn.datasets.load_digits`.
        assert_eq!(classes, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        let Split { train, validation, test } = digits.split();
        assert_eq!((train.len(), validation.len(), test.len()), (1079, 359, 359));
    }

    #[test]
    fn a_shifted_image_has_moved_and_its_edge_is_black() {
        let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        assert_eq!(shifted(&image, 3, 0, 0), image);
        assert_eq!(shifted(&image, 3, 1, -1), [0.0, 0.0, 0.0, 2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
    }

    #[test]
    fn a_folder_without_digits_says_what_is_looked_for() {
        let error = Digits::mnist(Path::new("no/such/folder")).unwrap_err().to_string();
        assert!(error.starts_with("no MNIST files in `no/such/folder`: "), "{error}");
    }
}
