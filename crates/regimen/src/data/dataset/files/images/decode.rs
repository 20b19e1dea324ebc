//! The bytes of a file as an image.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, Limits, RgbImage};
use regimen_core::BoxError;

use super::jpeg;

/// The settings of decoding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decode {
    pub(crate) max_pixels: u64,
    pub(crate) upright: bool,
}

impl Default for Decode {
    fn default() -> Self {
        Decode { max_pixels: 100_000_000, upright: false }
    }
}

impl Decode {
    /// The image in `bytes`. The name of the file plays no part.
    pub(crate) fn decode(&self, bytes: Vec<u8>) -> Result<RgbImage, BoxError> {
        let (mut image, orientation) = match image::guess_format(&bytes) {
            Ok(ImageFormat::Png) => self.png(&bytes)?,
            Ok(ImageFormat::Jpeg) => jpeg::decode(bytes, |width, height| self.allow(width, height))?,
            Ok(other) => return Err(format!("a {other:?} image, where PNG and JPEG can be read").into()),
            Err(_) => return Err("neither PNG nor JPEG".into()),
        };
        if self.upright {
            image.apply_orientation(orientation);
        }
        Ok(image.into_rgb8())
    }

    fn png(&self, bytes: &[u8]) -> Result<(DynamicImage, Orientation), BoxError> {
        // For a row, and for the metadata of the file.
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(64 << 20);
        let mut decoder = PngDecoder::with_limits(Cursor::new(bytes), limits)?;
        let (width, height) = decoder.dimensions();
        self.allow(width, height)?;
        let orientation = decoder.orientation()?;
        Ok((DynamicImage::from_decoder(decoder)?, orientation))
    }

    /// Refuses an image of more pixels than are allowed.
    fn allow(&self, width: u32, height: u32) -> Result<(), BoxError> {
        match u64::from(width) * u64::from(height) {
            pixels if pixels > self.max_pixels => Err(format!(
                "{width} x {height} pixels are more than {}; `max_pixels` allows more",
                self.max_pixels
            )
            .into()),
            _ => Ok(()),
        }
    }
}
