//! A picture.

use crate::BoxError;

/// A picture with 8 bits per channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    channels: u8,
    pixels: Vec<u8>,
}

impl Image {
    /// A picture of one channel: `pixels` has `width * height` bytes, row by row from the top, 0 is
    /// black. Returns an error if it has another number of bytes, or no pixel.
    pub fn grey(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, BoxError> {
        Image::new(width, height, 1, pixels)
    }

    /// A picture in colour: `pixels` has three bytes per pixel, red, green and blue; otherwise as
    /// [`grey`](Image::grey).
    pub fn rgb(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, BoxError> {
        Image::new(width, height, 3, pixels)
    }

    /// A picture in colour with an opacity: four bytes per pixel, the last of them 0 if it is
    /// transparent; otherwise as [`grey`](Image::grey).
    pub fn rgba(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, BoxError> {
        Image::new(width, height, 4, pixels)
    }

    fn new(width: u32, height: u32, channels: u8, pixels: Vec<u8>) -> Result<Self, BoxError> {
        let expected = u64::from(width).checked_mul(u64::from(height) * u64::from(channels));
        match expected {
            Some(bytes) if bytes > 0 && bytes == pixels.len() as u64 => {
                Ok(Image { width, height, channels, pixels })
            }
            _ => Err(format!(
                "an image of {width} by {height} pixels with {channels} bytes each cannot be made of {} bytes",
                pixels.len()
            )
            .into()),
        }
    }

    /// Pixels per row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes per pixel: 1, 3 or 4.
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// The bytes, row by row from the top.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_byte_for_each_channel_of_each_pixel() {
        let image = Image::rgb(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!((image.width(), image.height(), image.channels()), (2, 1, 3));
        assert_eq!(image.pixels(), [1, 2, 3, 4, 5, 6]);
        for (width, height, bytes) in [(2, 2, 3), (0, 5, 0), (u32::MAX, u32::MAX, 1)] {
            assert_eq!(
                Image::rgba(width, height, vec![0; bytes]).unwrap_err().to_string(),
                format!(
                    "an image of {width} by {height} pixels with 4 bytes each cannot be made of {bytes} bytes"
                )
            );
        }
    }
}
