//! The images that both train on, and how a batch is made of them.

use std::path::Path;

use regimen::BoxError;
use regimen::random::Random;
use regimen_burn::burn::tensor::{Device, Int, Tensor, TensorData};
use regimen_examples::digits::{Digits, Image};

/// Pixels of one side.
pub(crate) const SIDE: usize = 28;
const TRAIN: usize = 8_000;
const VALID: usize = 1_000;

/// 8,000 images to train on and 1,000 to evaluate with.
pub(crate) struct Images {
    pub(crate) train: Vec<Image>,
    pub(crate) valid: Vec<Image>,
}

/// Images of shape [batch, side, side] and their digits.
pub(crate) type Batch = (Tensor<3>, Tensor<1, Int>);

impl Images {
    /// The first images in a folder of MNIST's files, or such as are made up.
    pub(crate) fn new(folder: Option<&Path>) -> Result<Self, BoxError> {
        let mut train = match folder {
            Some(folder) => Digits::mnist(folder)?.images,
            None => made_up(),
        };
        if train.len() < TRAIN + VALID {
            return Err(format!("{} images are too few: {} are needed", train.len(), TRAIN + VALID).into());
        }
        train.truncate(TRAIN + VALID);
        let valid = train.split_off(TRAIN);
        Ok(Images { train, valid })
    }
}

/// Noise, with a row that is bright for each digit.
fn made_up() -> Vec<Image> {
    let mut random = Random::new(7);
    let image = |i: usize| {
        let digit = i % 10;
        let bright = |pixel: usize| if pixel / SIDE == 2 * digit + 4 { 0.5 } else { 0.0 };
        let pixels = (0..SIDE * SIDE).map(|pixel| random.uniform() as f32 / 2.0 + bright(pixel)).collect();
        (pixels, digit as i64)
    };
    (0..TRAIN + VALID).map(image).collect()
}

pub(crate) fn batch(images: Vec<Image>, device: &Device) -> Batch {
    let (pixels, digits): (Vec<Vec<f32>>, Vec<i64>) = images.into_iter().unzip();
    let pixels = TensorData::new(pixels.concat(), [digits.len(), SIDE, SIDE]);
    (Tensor::from_data(pixels, device), Tensor::from_data(digits.as_slice(), device))
}
