//! Pictures as PNG files.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::metric::Image;

/// The bytes of a PNG file with 8 bits per channel.
pub(super) fn png(image: &Image) -> Vec<u8> {
    let colour = match image.channels() {
        1 => 0,
        3 => 2,
        _ => 6,
    };
    let mut header = [image.width().to_be_bytes(), image.height().to_be_bytes()].concat();
    header.extend([8, colour, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"IDAT", &compressed(image));
    chunk(&mut file, b"IEND", &[]);
    file
}

/// The rows of pixels, each behind a 0: the filter that changes nothing.
fn compressed(image: &Image) -> Vec<u8> {
    let row = image.width() as usize * usize::from(image.channels());
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    let written = image.pixels().chunks(row).try_for_each(|pixels| {
        rows.write_all(&[0])?;
        rows.write_all(pixels)
    });
    // A vector takes all bytes.
    written.and_then(|()| rows.finish()).unwrap_or_default()
}

fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], content: &[u8]) {
    file.extend((content.len() as u32).to_be_bytes());
    let begin = file.len();
    file.extend(kind);
    file.extend(content);
    let checksum = crc32fast::hash(&file[begin..]);
    file.extend(checksum.to_be_bytes());
}
