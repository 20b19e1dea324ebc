//! Boxes of images and masks pasted into others.

use regimen_core::BoxError;
use regimen_core::data::SampleArray;
use regimen_core::random::Random;

use super::mixing::{Mixed, Mixing, draw_box, image_size};

/// [`Cutmix`](super::Cutmix) for segmentation: the same box is pasted into image and mask, and no target is a mean. An
/// adaptor of the training data: [`DataExt::segm_cutmix`](super::DataExt::segm_cutmix).
///
/// Masks are numbers of any kind, of rank 3 or more, with the height and width of the images in the last two
/// dimensions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmCutmix(Mixing);

impl SegmCutmix {
    /// Replaces boxes whose share of the area is the smaller of a number from Beta(`alpha`, `alpha`) and its complement.
    /// With 1 it is uniform from 0 to 1/2.
    pub fn new(alpha: f64) -> Self {
        SegmCutmix(Mixing::new(alpha))
    }

    /// The probability that a batch is mixed: 0 is never, 1 always. Default: 0.5.
    pub fn probability(self, probability: f64) -> Self {
        SegmCutmix(Mixing { probability, ..self.0 })
    }

    pub(super) fn apply<D, X: SampleArray<D>, Y: SampleArray<D>>(
        &self,
        (images, masks): (X, Y),
        random: &mut Random,
    ) -> Result<(X, Y), BoxError> {
        let (size, of_masks) = (image_size(&images)?, image_size(&masks)?);
        if size != of_masks {
            return Err(format!("images of {size:?} pixels and masks of {of_masks:?}").into());
        }
        let Some(Mixed { share, partners }) = self.0.draw(&images, &masks, random)? else {
            return Ok((images, masks));
        };
        let [rows, columns] = draw_box(share, size, random);
        if rows.is_empty() || columns.is_empty() {
            return Ok((images, masks));
        }
        let images = images.paste(&partners, rows.clone(), columns.clone())?;
        Ok((images, masks.paste(&partners, rows, columns)?))
    }
}
