//! Texts, images, histograms and sounds that a run logs beside numbers.

use super::{Audio, Histogram, Image};

/// A text, an image, a histogram or a sound: given to [`State::log_media`](crate::State::log_media).
///
/// ```
/// use regimen_core::State;
/// use regimen_core::metric::{Histogram, Image};
///
/// fn log(state: &mut State, weights: &[f32]) -> Result<(), regimen_core::BoxError> {
///     state.log_media("sample", "to be or not");
///     state.log_media("digit", Image::grey(2, 1, vec![0, 255])?);
///     state.log_media("weights/linear", Histogram::of(weights));
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Media {
    /// A text in Markdown.
    Text(String),
    /// A picture.
    Image(Image),
    /// The distribution of many numbers.
    Histogram(Histogram),
    /// A sound. TensorBoard plays it; the other logs leave it out.
    Audio(Audio),
}

impl From<&str> for Media {
    fn from(text: &str) -> Self {
        Media::Text(text.to_owned())
    }
}

impl From<String> for Media {
    fn from(text: String) -> Self {
        Media::Text(text)
    }
}

impl From<Image> for Media {
    fn from(image: Image) -> Self {
        Media::Image(image)
    }
}

impl From<Histogram> for Media {
    fn from(histogram: Histogram) -> Self {
        Media::Histogram(histogram)
    }
}

impl From<Audio> for Media {
    fn from(audio: Audio) -> Self {
        Media::Audio(audio)
    }
}
