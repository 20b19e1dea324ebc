//! Pictures as PNG files.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::metric::Image;

/// The file of a picture.
pub(crate) fn png(image: &Image) -> io::Result<Vec<u8>> {
    let row = image.width() as usize * usize::from(image.channels());
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::fast());
    for row in image.pixels().chunks(row) {
        // Each row begins with its filter: the bytes as they are.
        pixels.write_all(&[0])?;
        pixels.write_all(row)?;
    }
    let colour = match image.channels() {
        1 => 0,
        3 => 2,
        _ => 6,
    };
    let mut header = [image.width().to_be_bytes(), image.height().to_be_bytes()].concat();
    header.extend([8, colour, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, *b"IHDR", &header);
    // The length of a chunk has 31 bits.
    pixels.finish()?.chunks(1 << 30).for_each(|part| chunk(&mut file, *b"IDAT", part));
    chunk(&mut file, *b"IEND", &[]);
    Ok(file)
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) {
    file.extend((content.len() as u32).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(content);
    let checksum = crc32fast::hash(&file[start..]);
    file.extend(checksum.to_be_bytes());
}

#[cfg(test)]
#[cfg(feature = "images")]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_each_number_of_channels_are_read_back() {
        let (width, height) = (3, 2);
        let pixels = |channels: u8| (0..6 * channels).map(|n| n * 10).collect::<Vec<_>>();
        for image in [
            Image::grey(width, height, pixels(1)),
            Image::rgb(width, height, pixels(3)),
            Image::rgba(width, height, pixels(4)),
        ] {
            let image = image.unwrap();
            let read = image::load_from_memory(&png(&image).unwrap()).unwrap();
            assert_eq!((read.width(), read.height()), (width, height));
            assert_eq!(read.color().channel_count(), image.channels());
            assert_eq!(read.as_bytes(), image.pixels());
        }
    }
}
