//! Folders of images, one folder per class.

mod classes;
mod decode;
mod jpeg;

use std::borrow::Cow;
use std::path::Path;

use image::RgbImage;
use regimen_core::BoxError;

use self::classes::Image;
use self::decode::Decode;
use super::file_name;
use crate::data::Dataset;
use crate::data::fault::{file_error, out_of_range};

/// Images in folders named after their classes: `root/cat/1.png`, `root/dog/7.jpg`.
///
/// A sample is an image and the number of its class. Classes are numbered, and images ordered, by
/// name; images in deeper folders are of the class above them. Transparency is dropped, and sixteen
/// bits become eight. PNG and JPEG can be read, recognized by their content. A torn or damaged
/// image is an error.
///
/// An image is listed if its name ends as those of images do (`.png`, `.jpg`, `.webp`), or has
/// no ending and the first bytes of one. Other files, and files and folders whose names begin with
/// a dot, are passed over.
///
/// ```
/// use image::RgbImage;
/// use regimen::data::{Dataset, ImageFolder};
/// # fn main() -> Result<(), regimen::BoxError> {
/// # let root = tempfile::tempdir()?;
/// # let root = root.path();
/// std::fs::create_dir(root.join("cat"))?;
/// RgbImage::new(32, 24).save(root.join("cat/1.png"))?;
///
/// let images = ImageFolder::open(root)?.upright().max_pixels(1_000_000);
/// let (image, class) = images.sample(0)?;
/// assert_eq!((image.dimensions(), images.classes()[class].as_str()), ((32, 24), "cat"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    name: String,
    classes: Vec<String>,
    images: Vec<Image>,
    decode: Decode,
}

impl ImageFolder {
    /// Lists the images under `root`; they are read on access.
    ///
    /// Errors: no folder in `root`, a folder without images, one whose name is not UTF-8, an image
    /// that is in no class, and a link that leads nowhere or in a circle.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, BoxError> {
        let root = root.as_ref();
        let (classes, images) = classes::listed(root)?;
        Ok(ImageFolder { name: file_name(root), classes, images, decode: Decode::default() })
    }

    /// The names of the classes, in the order of their numbers.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Refuses images of more pixels than this, 100 million by default. It is looked at before
    /// memory is taken for them.
    pub fn max_pixels(mut self, max_pixels: u64) -> Self {
        self.decode.max_pixels = max_pixels;
        self
    }

    /// Turns and mirrors images as their EXIF data says. By default they are as they are stored,
    /// and a photograph may lie on its side.
    pub fn upright(mut self) -> Self {
        self.decode.upright = true;
        self
    }
}

impl Dataset for ImageFolder {
    type Item = (RgbImage, usize);

    fn len(&self) -> usize {
        self.images.len()
    }

    fn sample(&self, index: usize) -> Result<Self::Item, BoxError> {
        let (path, class) = self.images.get(index).ok_or_else(|| out_of_range(self.len()))?;
        let bytes = std::fs::read(path).map_err(|error| file_error(path, error))?;
        let image = self.decode.decode(bytes).map_err(|error| file_error(path, error))?;
        Ok((image, *class))
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }
}
