//! Folders of images, one folder a class.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use image::RgbImage;
use regimen_core::BoxError;

use super::{about, file_name};
use crate::data::Dataset;
use crate::data::dataset::beyond;

/// Images in folders named after their classes: `root/cat/1.png`, `root/dog/7.jpg`.
///
/// A sample is an image and the number of its class. Classes are numbered, and images ordered, by
/// name. Files that do not end in `png`, `jpg` or `jpeg` are passed over.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    name: String,
    classes: Vec<String>,
    images: Vec<(PathBuf, usize)>,
}

impl ImageFolder {
    /// Lists the images under `root`; they are read when they are asked for. A folder without
    /// images is an error.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, BoxError> {
        let root = root.as_ref();
        let (mut classes, mut images) = (Vec::new(), Vec::new());
        for folder in listed(root)?.into_iter().filter(|path| path.is_dir()) {
            let before = images.len();
            images.extend(
                listed(&folder)?.into_iter().filter(|path| is_image(path)).map(|path| (path, classes.len())),
            );
            if images.len() == before {
                return Err(about(&folder, "there is no image in this folder"));
            }
            classes.push(file_name(&folder));
        }
        Ok(ImageFolder { name: file_name(root), classes, images })
    }

    /// The names of the classes, in the order of their numbers.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }
}

impl Dataset for ImageFolder {
    type Item = (RgbImage, usize);

    fn len(&self) -> usize {
        self.images.len()
    }

    fn get(&self, index: usize) -> Result<Self::Item, BoxError> {
        let (path, class) = self.images.as_slice().get(index).ok_or_else(|| beyond(self.len()))?;
        let image = image::open(path).map_err(|error| about(path, error))?;
        Ok((image.into_rgb8(), *class))
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }
}

/// What is in a folder, by name: the order in which a system lists it is no order to rely on.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, BoxError> {
    let entries = std::fs::read_dir(folder).map_err(|error| about(folder, error))?;
    let mut paths = entries
        .map(|entry| Ok(entry.map_err(|error| about(folder, error))?.path()))
        .collect::<Result<Vec<_>, BoxError>>()?;
    paths.sort();
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    extension == "png" || extension == "jpg" || extension == "jpeg"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_numbered_by_name_and_a_torn_image_is_named() {
        let root = tempfile::tempdir().unwrap();
        for (class, shade) in [("dog", 9), ("cat", 7)] {
            let folder = root.path().join(class);
            std::fs::create_dir(&folder).unwrap();
            RgbImage::from_pixel(2, 1, image::Rgb([shade; 3])).save(folder.join("1.png")).unwrap();
            std::fs::write(folder.join("notes.txt"), "none").unwrap();
        }
        std::fs::write(root.path().join("dog/2.PNG"), b"\x89PNG torn").unwrap();
        let images = ImageFolder::open(root.path()).unwrap();
        assert_eq!((images.classes(), images.len()), (["cat".to_owned(), "dog".to_owned()].as_slice(), 3));
        let (image, class) = images.get(1).unwrap();
        assert_eq!((image.get_pixel(0, 0).0, class), ([9; 3], 1));
        assert!(images.get(2).unwrap_err().to_string().contains("dog/2.PNG`: "));
    }

    #[test]
    fn a_class_without_images_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("empty")).unwrap();
        let error = ImageFolder::open(root.path()).unwrap_err().to_string();
        assert!(error.ends_with("empty`: there is no image in this folder"), "{error}");
    }
}
