//! Folders of images: what is a class, what is an image, and what is refused.
#![cfg(feature = "images")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
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

/// A folder of the files named, each with its bytes.
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
    let root = folder([(format!("cat/{name}").as_str(), bytes)]);
    let images = ImageFolder::open(root.path()).unwrap();
    let (image, class) = images.get(0).map_err(|error| error.to_string())?;
    assert_eq!((images.len(), class), (1, 0));
    Ok(image)
}

fn refused(root: &Path) -> String {
    ImageFolder::open(root).unwrap_err().to_string()
}

#[test]
fn a_torn_image_is_an_error_wherever_it_is_torn() {
    let check = |whole: &[u8]| {
        let image = image::load_from_memory(whole).unwrap().into_rgb8();
        assert_eq!(read("1.jpg", whole).unwrap(), image);
        // Bytes behind the image are no part of it.
        assert_eq!(read("1.jpg", &[whole, b"more"].concat()).unwrap(), image);
        for length in 0..whole.len() {
            // The last bytes of a PNG hold no pixel: torn there, it may be read.
            if let Ok(read) = read("1.jpg", &whole[..length]) {
                assert!(whole.starts_with(b"\x89PNG") && read == image, "{length} of {} bytes", whole.len());
            }
        }
    };
    check(&encoded(&noise(40, 24), ImageFormat::Jpeg));
    check(&encoded(&noise(20, 12), ImageFormat::Png));
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
        assert!(error.contains("cat/1.jpg`: ") && error.contains(expected), "{error}");
    };
    check(b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP image");
    check(b"GIF89a", "a Gif image");
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
    assert!(refused(flat.path()).ends_with("1.png`: an image in no folder of a class"));
    let mixed = files(&["1.png", "cat/1.png"]);
    assert!(refused(mixed.path()).ends_with("1.png`: an image in no folder of a class"));
    let none = files(&["notes.txt"]);
    assert!(refused(none.path()).ends_with("`: there is no folder of a class in it"));

    let deep = files(&["cat/b.png", "cat/a/2.png", "cat/c/d/3.png", "dog/1.png"]);
    let images = ImageFolder::open(deep.path()).unwrap();
    let classes: Vec<_> = (0..images.len()).map(|index| images.get(index).unwrap().1).collect();
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
    assert!((0..3).all(|index| images.get(index).is_ok()));

    let class = root.path().join(OsStr::from_bytes(b"dog\xff"));
    fs::create_dir(&class).unwrap();
    fs::copy(&image, class.join("1.png")).unwrap();
    assert!(refused(root.path()).contains("`: the name of a class is to be UTF-8"));
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
    assert!(refused(root.path()).contains("cat/all"));
    let (root, _far) = linked();
    symlink("none", root.path().join("cat/2.png")).unwrap();
    assert!(refused(root.path()).contains("cat/2.png"));
}
