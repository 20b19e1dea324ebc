//! Checks that a JPEG image is whole.
//!
//! `image` shows what it can of a torn file and paints the rest in one colour, as a browser does.
//! Here its decoder is asked to be strict. That is not all: it says nothing where data are cut off
//! in the last rows, or where the end of the image comes before that of its data.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use regimen_core::BoxError;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The image and its orientation. `allow` may refuse its width and height.
pub(crate) fn decode(
    mut bytes: Vec<u8>,
    allow: impl Fn(u32, u32) -> Result<(), BoxError>,
) -> Result<(DynamicImage, Orientation), BoxError> {
    let end = end(&bytes).ok_or("the image is cut off: it has no end")?;
    if end.of_only_data {
        // At an end the decoder goes on with zeros for ever. Without one it sees that there is
        // nothing left, but not before it has read ahead, which must not be taken for that.
        bytes.truncate(end.at);
        // Markers may be filled up in front, which is no data either.
        let data = bytes.iter().rposition(|&byte| byte != 0xff).map_or(0, |last| last + 1);
        bytes.truncate(data);
        bytes.extend([0; READ_AHEAD]);
    }
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes.as_slice()), options);
    decoder.decode_headers()?;
    let (width, height) = decoder.dimensions().ok_or("no dimensions")?;
    let (width, height) = (u32::try_from(width)?, u32::try_from(height)?);
    allow(width, height)?;
    let pixels = decoder.decode()?;
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let image = RgbImage::from_raw(width, height, pixels).ok_or("fewer pixels than its size says")?;
    Ok((DynamicImage::ImageRgb8(image), orientation.unwrap_or(Orientation::NoTransforms)))
}

/// Bytes of data that the decoder holds at most, doubled.
const READ_AHEAD: usize = 16;

/// The end of an image.
struct End {
    at: usize,
    /// It ends the last data of an image that has each pixel once. In a progressive image data may
    /// end early.
    of_only_data: bool,
}

/// The marker of the end of the image, not that of a thumbnail in a segment.
fn end(bytes: &[u8]) -> Option<End> {
    let (mut at, mut sequential, mut last) = (0, false, 0);
    loop {
        // Within data 0xff is followed by zero, or is a restart.
        let marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
        at += bytes.get(at..)?.windows(2).position(marker)?;
        let kind = bytes[at + 1];
        sequential |= matches!(kind, 0xc0 | 0xc1);
        let length = match kind {
            0xd9 => return Some(End { at, of_only_data: sequential && last == 0xda }),
            // The start of the image, and a marker without meaning: neither has a segment.
            0xd8 | 0x01 => 0,
            _ => usize::from(u16::from_be_bytes(*bytes.get(at + 2..)?.first_chunk()?)),
        };
        (at, last) = (at + 2 + length, kind);
    }
}
