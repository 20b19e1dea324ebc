//! The classes and images under a folder.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use image::ImageFormat;
use regimen_core::BoxError;
use walkdir::{DirEntry, WalkDir};

use crate::data::fault::file_error;

/// The path of an image, and the number of its class.
pub(crate) type Image = (PathBuf, usize);

/// The names of the classes, and the images.
pub(crate) fn listed(root: &Path) -> Result<(Vec<String>, Vec<Image>), BoxError> {
    // By name: the order in which a system lists a folder is no order to rely on.
    let entries = WalkDir::new(root).min_depth(1).follow_links(true).sort_by_file_name();
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut images: Vec<Image> = Vec::new();
    for entry in entries.into_iter().filter_entry(|entry| !is_hidden(entry)) {
        let entry = entry.map_err(|error| file_error(error.path().unwrap_or(root), &error))?;
        if entry.depth() == 1 && entry.file_type().is_dir() {
            folders.push(entry.into_path());
        } else if is_image(&entry)? {
            let class = folders.len().checked_sub(1).filter(|_| entry.depth() > 1);
            let class = class.ok_or_else(|| file_error(entry.path(), "an image in no folder of a class"))?;
            images.push((entry.into_path(), class));
        }
    }
    if folders.is_empty() {
        return Err(file_error(root, "there is no folder of a class in it"));
    }
    for (class, folder) in folders.iter().enumerate() {
        if images.binary_search_by_key(&class, |&(_, class)| class).is_err() {
            return Err(file_error(folder, "there is no image in this folder"));
        }
    }
    let classes = folders.iter().map(|folder| {
        let name = folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        name.ok_or_else(|| file_error(folder, "the name of a class must be UTF-8; rename the folder"))
    });
    Ok((classes.collect::<Result<_, _>>()?, images))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// Whether a file is named as an image, or not named as anything and begins as one.
fn is_image(entry: &DirEntry) -> Result<bool, BoxError> {
    if !entry.file_type().is_file() {
        return Ok(false);
    }
    match entry.path().extension().map(|extension| extension.to_str()) {
        Some(Some(extension)) => Ok(ImageFormat::from_extension(extension).is_some()),
        // An ending that is not UTF-8 names nothing either.
        Some(None) | None => {
            let mut head = Vec::new();
            let read = File::open(entry.path()).and_then(|file| file.take(16).read_to_end(&mut head));
            read.map_err(|error| file_error(entry.path(), error))?;
            Ok(image::guess_format(&head).is_ok())
        }
    }
}
