//! Folders of images: their classes, their images, and refused files.
#![cfg(feature = "images")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use regimen::BoxError;
use regimen::data::{Dataset, ImageFolder};

/// An image of noise.
fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 1_u32;
    RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
    })
}

fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A folder of the named files, each with its bytes.
fn folder<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root
}

/// The image in a file called `name` that holds `bytes`.
fn read(name: &str, bytes: &[u8]) -> Result<RgbImage, String> {
    read_as(name, bytes, |images| images)
}

/// The image in a file of `bytes`; an error without the file's name.
fn read_as(name: &str, bytes: &[u8], set: impl Fn(ImageFolder) -> ImageFolder) -> Result<RgbImage, String> {
    let root = folder([(format!("cat/{name}").as_str(), bytes)]);
    let images = set(ImageFolder::open(root.path()).unwrap());
    let file = about(&root.path().join("cat").join(name), "");
    let without_file = |error: BoxError| error.to_string().strip_prefix(&file).unwrap().to_owned();
    let (image, class) = images.sample(0).map_err(without_file)?;
    assert_eq!((images.len(), class), (1, 0));
    Ok(image)
}

fn refused(root: &Path) -> String {
    ImageFolder::open(root).unwrap_err().to_string()
}

/// The error about the file at `path`.
fn about(path: &Path, cause: &str) -> String {
    format!("file `{}`: {cause}", path.display())
}

#[test]
fn a_torn_image_is_an_error_wherever_it_is_torn() {
    let check = |whole: &[u8]| {
        let image = image::load_from_memory(whole).unwrap().into_rgb8();
        let root = folder([("cat/1", whole)]);
        let images = ImageFolder::open(root.path()).unwrap();
        let read = |bytes: &[u8]| {
            fs::write(root.path().join("cat/1"), bytes).unwrap();
            images.sample(0).ok().map(|(image, _)| image)
        };
        assert_eq!(read(whole).as_ref(), Some(&image));
        // Bytes after the image are no part of it.
        assert_eq!(read(&[whole, b"more"].concat()).as_ref(), Some(&image));
        let end = whole.len() - 40;
        for length in (0..end).step_by(7).chain(end..whole.len()) {
            // The last bytes of a PNG hold no pixel: torn there, it may be read.
            if let Some(read) = read(&whole[..length]) {
                assert!(whole.starts_with(b"\x89PNG") && read == image, "{length} of {} bytes", whole.len());
            }
        }
    };
    let jpeg = encoded(&noise(24, 20), ImageFormat::Jpeg);
    check(&jpeg);
    check(include_bytes!("../reference/progressive.jpg"));
    check(&encoded(&noise(12, 10), ImageFormat::Png));
    // A thumbnail has a separate end.
    let mut thumb = encoded(&noise(8, 8), ImageFormat::Jpeg);
    thumb.splice(..0, [0xff, 0xe1, ((thumb.len() + 2) >> 8) as u8, (thumb.len() + 2) as u8]);
    check(&[&jpeg[..2], &thumb, &jpeg[2..]].concat());
}

#[test]
fn an_end_that_comes_before_that_of_the_data_is_an_error() {
    let jpeg = encoded(&noise(64, 64), ImageFormat::Jpeg);
    for share in [3, 5, 8] {
        let repaired = [&jpeg[..jpeg.len() * share / 10], b"\xff\xd9"].concat();
        assert!(read("1.jpg", &repaired).is_err(), "{share} tenths");
    }
}

#[test]
fn damage_within_an_image_is_an_error() {
    let mut jpeg = encoded(&noise(40, 24), ImageFormat::Jpeg);
    let middle = jpeg.len() - 500;
    jpeg[middle..][..16].fill(0xff);
    assert!(read("1.jpg", &jpeg).is_err());
    let mut png = encoded(&noise(20, 12), ImageFormat::Png);
    let middle = png.len() / 2;
    png[middle] ^= 1;
    assert!(read("1.png", &png).is_err());
}

#[test]
fn the_format_is_told_by_content() {
    let image = noise(2, 2);
    let (png, jpeg) = (encoded(&image, ImageFormat::Png), encoded(&image, ImageFormat::Jpeg));
    for name in ["1.JPEG", "1.png", "1.webp", "1", "1.0"] {
        let files = [("cat/0.png", png.as_slice()), (&format!("cat/{name}"), &png)];
        let images = ImageFolder::open(folder(files).path()).unwrap();
        assert_eq!(images.len(), if name == "1.0" { 1 } else { 2 }, "{name}");
    }
    assert_eq!(read("1.JPEG", &png).unwrap(), image);
    assert_eq!(read("1", &png).unwrap(), image);
    assert_eq!(read("1.png", &jpeg).unwrap().dimensions(), (2, 2));
    let check = |bytes: &[u8], expected: &str| {
        let error = read("1.jpg", bytes).unwrap_err();
        assert_eq!(error, expected);
    };
    check(b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP image, where PNG and JPEG can be read");
    check(b"GIF89a", "a Gif image, where PNG and JPEG can be read");
    check(b"<!DOCTYPE html>", "neither PNG nor JPEG");
    check(b"", "neither PNG nor JPEG");
}

#[test]
fn hidden_files_and_folders_are_passed_over() {
    let png = encoded(&noise(2, 2), ImageFormat::Png);
    let names =
        ["cat/1.png", "cat/._1.png", "dog/1.png", ".ipynb_checkpoints/1.png", ".DS_Store", "dog/.x/1.png"];
    let root = folder(names.map(|name| (name, png.as_slice())));
    let images = ImageFolder::open(root.path()).unwrap();
    assert_eq!((images.classes(), images.len()), (["cat".into(), "dog".into()].as_slice(), 2));
    let outer = folder([(".data/cat/1.png", png.as_slice())]);
    assert_eq!(ImageFolder::open(outer.path().join(".data")).unwrap().len(), 1);
}

#[test]
fn no_image_is_left_out() {
    let png = encoded(&noise(2, 2), ImageFormat::Png);
    let files = |names: &[&'static str]| folder(names.iter().map(|name| (*name, png.as_slice())));
    let flat = files(&["1.png"]);
    assert_eq!(refused(flat.path()), about(&flat.path().join("1.png"), "an image in no folder of a class"));
    let mixed = files(&["1.png", "cat/1.png"]);
    assert_eq!(refused(mixed.path()), about(&mixed.path().join("1.png"), "an image in no folder of a class"));
    let none = files(&["notes.txt"]);
    assert_eq!(refused(none.path()), about(none.path(), "there is no folder of a class in it"));

    let deep = files(&["cat/b.png", "cat/a/2.png", "cat/c/d/3.png", "dog/1.png"]);
    let images = ImageFolder::open(deep.path()).unwrap();
    let classes: Vec<_> = (0..images.len()).map(|index| images.sample(index).unwrap().1).collect();
    assert_eq!(classes, [0, 0, 0, 1]);
    assert_eq!(images.classes(), ["cat", "dog"]);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8_are_neither_left_out_nor_confused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let root = folder([("cat/0.png", encoded(&noise(2, 2), ImageFormat::Png).as_slice())]);
    let image = root.path().join("cat/0.png");
    fs::copy(&image, root.path().join("cat").join(OsStr::from_bytes(b"1\xff.png"))).unwrap();
    fs::copy(&image, root.path().join("cat").join(OsStr::from_bytes(b"2.\xff"))).unwrap();
    let images = ImageFolder::open(root.path()).unwrap();
    assert_eq!(images.len(), 3);
    assert!((0..3).all(|index| images.sample(index).is_ok()));

    let class = root.path().join(OsStr::from_bytes(b"dog\xff"));
    fs::create_dir(&class).unwrap();
    fs::copy(&image, class.join("1.png")).unwrap();
    assert_eq!(refused(root.path()), about(&class, "the name of a class must be UTF-8; rename the folder"));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_those_that_lead_nowhere_or_in_a_circle_are_errors() {
    use std::os::unix::fs::symlink;

    let png = encoded(&noise(2, 2), ImageFormat::Png);
    let linked = || {
        let (root, far) = (folder([("cat/1.png", png.as_slice())]), folder([("1.png", png.as_slice())]));
        symlink(far.path(), root.path().join("dog")).unwrap();
        (root, far)
    };
    let (root, _far) = linked();
    assert_eq!(ImageFolder::open(root.path()).unwrap().classes(), ["cat", "dog"]);
    symlink(root.path(), root.path().join("cat/all")).unwrap();
    let all = root.path().join("cat/all");
    let circle =
        format!("File system loop found: {} points to an ancestor {}", all.display(), root.path().display());
    assert_eq!(refused(root.path()), about(&all, &circle));
    let (root, _far) = linked();
    symlink("none", root.path().join("cat/2.png")).unwrap();
    let nowhere = root.path().join("cat/2.png");
    let io =
        format!("IO error for operation on {}: No such file or directory (os error 2)", nowhere.display());
    assert_eq!(refused(root.path()), about(&nowhere, &io));
}

#[test]
fn images_of_too_many_pixels_are_refused_by_their_header() {
    let told = |size: &str, max| format!("{size} pixels are more than {max}; `max_pixels` allows more");
    let check = |bytes: &[u8], pixels: u64, size: &str| {
        let read = |max| read_as("1", bytes, |images| images.max_pixels(max));
        assert_eq!(read(pixels - 1).unwrap_err(), told(size, pixels - 1));
        read(pixels)
    };
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        assert!(check(&encoded(&noise(40, 24), format), 960, "40 x 24").is_ok());
    }
    // Headers alone, with a size but no data.
    let mut jpeg = encoded(&noise(40, 24), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..][..4].fill(0xff);
    assert!(check(&jpeg, 65_535 * 65_535, "65535 x 65535").is_err());
    assert_eq!(read("1", &jpeg).unwrap_err(), told("65535 x 65535", 100_000_000));
    let mut png = encoded(&noise(40, 24), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0x10, 0, 0, 0x7f, 0, 0, 0]);
    let sum = crc32fast::hash(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    assert_eq!(read("1", &png).unwrap_err(), told("1048576 x 2130706432", 100_000_000));
}

/// An image with `orientation` in its EXIF data.
fn turned(image: &RgbImage, format: ImageFormat, orientation: u8) -> Vec<u8> {
    // Big-endian, one directory of one entry: 0x0112, of the type of shorts, once.
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0".to_vec();
    exif[19] = orientation;
    let bytes = encoded(image, format);
    let (at, segment) = if format == ImageFormat::Png {
        let chunk = [b"eXIf", exif.as_slice()].concat();
        let length = (exif.len() as u32).to_be_bytes();
        (33, [&length, chunk.as_slice(), &crc32fast::hash(&chunk).to_be_bytes()].concat())
    } else {
        let length = (exif.len() as u16 + 8).to_be_bytes();
        (2, [b"\xff\xe1", length.as_slice(), b"Exif\0\0", &exif].concat())
    };
    [&bytes[..at], &segment, &bytes[at..]].concat()
}

/// A shade for each quarter, by the table of the EXIF standard: the position of its corners.
#[test]
fn images_are_turned_as_their_exif_data_says_when_it_is_asked_for() {
    let (a, b, c, d) = (0, 80, 160, 240);
    let quarters = |[left, right]: [u8; 2], [below_left, below_right]: [u8; 2]| {
        RgbImage::from_fn(16, 16, |x, y| {
            let shade = [[left, right], [below_left, below_right]][y as usize / 8][x as usize / 8];
            Rgb([shade; 3])
        })
    };
    let stored = quarters([a, b], [c, d]);
    let check = |orientation, above, below| {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let bytes = turned(&stored, format, orientation);
            let near = |image: RgbImage, expected: &RgbImage| {
                let pairs = image.iter().zip(expected.iter());
                pairs.map(|(left, right)| left.abs_diff(*right)).max().unwrap() <= 2
            };
            let upright = read_as("1", &bytes, ImageFolder::upright).unwrap();
            assert!(near(upright, &quarters(above, below)), "{orientation} of {format:?}");
            assert!(near(read("1", &bytes).unwrap(), &stored), "{orientation} of {format:?}, as stored");
        }
    };
    check(1, [a, b], [c, d]);
    check(2, [b, a], [d, c]);
    check(3, [d, c], [b, a]);
    check(4, [c, d], [a, b]);
    check(5, [a, c], [b, d]);
    check(6, [c, a], [d, b]);
    check(7, [d, b], [c, a]);
    check(8, [b, d], [a, c]);
}

#[test]
fn classes_are_numbered_by_name_and_a_bad_image_is_named() {
    let png = |shade| encoded(&RgbImage::from_pixel(2, 1, Rgb([shade; 3])), ImageFormat::Png);
    let (dog, cat) = (png(9), png(7));
    let files: [(&str, &[u8]); 4] = [
        ("dog/1.png", &dog),
        ("cat/1.png", &cat),
        ("cat/notes.txt", b"none"),
        ("dog/2.PNG", b"\x89PNG torn"),
    ];
    let root = folder(files);
    let images = ImageFolder::open(root.path()).unwrap();
    assert_eq!((images.classes(), images.len()), (["cat".to_owned(), "dog".to_owned()].as_slice(), 3));
    let (image, class) = images.sample(1).unwrap();
    assert_eq!((image.get_pixel(0, 0).0, class), ([9; 3], 1));
    let torn = about(&root.path().join("dog/2.PNG"), "neither PNG nor JPEG");
    assert_eq!(images.sample(2).unwrap_err().to_string(), torn);
    fs::create_dir(root.path().join("empty")).unwrap();
    assert_eq!(refused(root.path()), about(&root.path().join("empty"), "there is no image in this folder"));
}
