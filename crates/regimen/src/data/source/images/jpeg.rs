//! JPEG images that are whole.
//!
//! `image` shows what it can of a torn file and paints the rest in one colour, as a browser does.
//! Here its decoder is asked to be strict, and the end of the image to be there: of data that are
//! cut off in the last rows even the strict decoder says nothing.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use regimen_core::BoxError;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The image and how it is to be turned. `allow` may refuse its width and height.
pub(super) fn decode(
    bytes: &[u8],
    allow: impl Fn(u32, u32) -> Result<(), BoxError>,
) -> Result<(DynamicImage, Orientation), BoxError> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers()?;
    let (width, height) = decoder.dimensions().ok_or("no dimensions")?;
    let (width, height) = (u32::try_from(width)?, u32::try_from(height)?);
    allow(width, height)?;
    if !has_end(bytes) {
        return Err("the image is cut off: it has no end".into());
    }
    let pixels = decoder.decode()?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let image = RgbImage::from_raw(width, height, pixels).ok_or("fewer pixels than its size says")?;
    Ok((DynamicImage::ImageRgb8(image), orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Whether the marker of the end is there, and not only that of a thumbnail in a segment.
fn has_end(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        // Within the data of a scan 0xff is followed by zero, or by a restart.
        let marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
        let Some(at) = rest.windows(2).position(marker) else { return false };
        let (kind, behind) = (rest[at + 1], &rest[at + 2..]);
        rest = match kind {
            0xd9 => return true,
            // The start of the image, and a marker without meaning: neither has a segment.
            0xd8 | 0x01 => behind,
            _ => {
                let Some(&length) = behind.first_chunk() else { return false };
                let Some(behind) = behind.get(usize::from(u16::from_be_bytes(length))..) else {
                    return false;
                };
                behind
            }
        };
    }
}
