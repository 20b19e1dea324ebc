//! Image folders, compared with the `image` crate.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat, ImageReader, RgbImage};
use regimen::BoxError;
use regimen::data::{Dataset, ImageFolder};
use regimen::random::Random;

use super::Subject;
use crate::fuzz::corpus::Corpus;
use crate::fuzz::trial::{Fault, Trial, demand};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

const WORDS: &[&[u8]] = &[
    b"\xFF\xD9",
    b"\xFF\xD8",
    b"\xFF\xC2",
    b"\xFF\xC4",
    b"\xFF\xDA",
    b"\xFF\xE1\0\x08Exif\0\0",
    b"\xFF\xFF",
    b"IHDR",
    b"IDAT",
    b"PLTE",
    b"tRNS",
    b"acTL",
    b"IEND\xAE\x42\x60\x82",
];

/// Most pixels that a header may declare before the reader refuses the image.
const PIXELS: u64 = 100_000_000;

#[derive(Debug)]
pub(super) struct Images(Corpus);

impl Images {
    pub(super) fn new(folder: &Path) -> Result<Self, BoxError> {
        fs::create_dir_all(folder.join("images/class"))?;
        let mut random = Random::new(0);
        let image = RgbImage::from_fn(37, 21, |x, y| {
            let noise = random.below(64) as u8;
            image::Rgb([(5 * x) as u8 + noise, (9 * y) as u8 + noise, noise])
        });
        let image = DynamicImage::from(image);
        let small = image.crop_imm(0, 0, 3, 2);
        let all = [
            (&image, ImageFormat::Png),
            (&image, ImageFormat::Jpeg),
            (&small, ImageFormat::Png),
            (&small, ImageFormat::Jpeg),
            (&DynamicImage::from(image.to_luma8()), ImageFormat::Jpeg),
            (&DynamicImage::from(image.to_luma_alpha8()), ImageFormat::Png),
            (&DynamicImage::from(small.to_rgba16()), ImageFormat::Png),
        ];
        let file = |(image, format): (&DynamicImage, ImageFormat)| {
            let mut bytes = Cursor::new(Vec::new());
            image.write_to(&mut bytes, format)?;
            Ok(bytes.into_inner())
        };
        Ok(Images(Corpus::new(all.into_iter().map(file).collect::<Result<_, BoxError>>()?, WORDS)))
    }
}

impl Subject for Images {
    fn name(&self) -> &'static str {
        "images"
    }

    /// An image is decoded with up to four times two bytes per pixel, and kept with three.
    fn multiple(&self) -> usize {
        8
    }

    fn attempt(&self, random: &mut Random, trial: &mut Trial) -> Result<(), Fault> {
        let drawn = self.0.draw(random);
        let mut bytes = drawn.bytes;
        if !drawn.is_whole && random.below(2) == 0 {
            sign(&mut bytes);
        }
        let name = if bytes.starts_with(PNG) { "1.png" } else { "1.jpg" };
        // The other name may be left from an earlier case.
        for name in ["1.png", "1.jpg"] {
            let _ = fs::remove_file(trial.folder().join("images/class").join(name));
        }
        trial.write(&format!("images/class/{name}"), &bytes)?;
        let root = trial.folder().join("images");
        let read = trial.read(bytes.len() + 3 * pixels(&bytes), || ImageFolder::open(root)?.sample(0))?;
        match read {
            Err(why) => demand(!drawn.is_whole, || format!("a valid image is refused: {why}")),
            Ok((image, _)) => {
                let size = image.dimensions();
                let second = second(&bytes).map_err(|why| format!("{size:?} pixels are read, and {why}"));
                let second = second.map_err(Fault::Mismatch)?;
                let other = second.dimensions();
                demand(image == second, || format!("{size:?} pixels are not the {other:?} of the image"))
            }
        }
    }
}

/// The number of pixels that a header declares; 0 if it is no image or must be refused.
fn pixels(bytes: &[u8]) -> usize {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok();
    let size = reader.and_then(|reader| reader.into_dimensions().ok());
    let pixels = size.map_or(0, |(width, height)| u64::from(width) * u64::from(height));
    if PIXELS < pixels { 0 } else { pixels as usize }
}

/// Decodes the image by the second reader. A JPEG without an end marker is truncated, even if a
/// decoder fills in the rest.
fn second(bytes: &[u8]) -> Result<RgbImage, String> {
    if bytes.starts_with(b"\xFF\xD8") && !bytes.windows(2).any(|pair| pair == b"\xFF\xD9") {
        return Err("the JPEG has no end".into());
    }
    Ok(image::load_from_memory(bytes).map_err(|error| error.to_string())?.into_rgb8())
}

/// Corrects the checksum of each PNG chunk, so that the code behind it is reached.
fn sign(bytes: &mut [u8]) {
    let mut at = PNG.len();
    while let Some(length) = bytes.get(at..at + 4).and_then(|length| length.first_chunk()) {
        let end = u32::from_be_bytes(*length) as usize + at + 8;
        let Some(checked) = bytes.get(at + 4..end) else { return };
        let checksum = crc32fast::hash(checked).to_be_bytes();
        let Some(place) = bytes.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&checksum);
        at = end + 4;
    }
}
