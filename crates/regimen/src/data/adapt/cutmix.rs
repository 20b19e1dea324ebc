//! Boxes of images pasted into others.

use regimen_core::BoxError;
use regimen_core::data::{BlendSamples, SampleArray};
use regimen_core::random::Random;

use super::mixing::{Mixed, Mixing, draw_box, image_size};

/// CutMix (Yun et al., 2019): a box of every image is replaced by that of another in its batch, and its target becomes
/// the mean of both, weighted by area. An adaptor of the training data: [`DataExt::cutmix`](super::DataExt::cutmix).
///
/// The box is the same for all images of a batch. A number is drawn from Beta(alpha, alpha); the box has the smaller of
/// it and its complement as its share of the area, the proportions of the image, and a uniform centre. In the paper the
/// share is the number itself, so that a box can be the whole image; here it is never above 1/2. The box is clipped at
/// the edges, and the target counts the area that is left. Partners, keys and errors are those of
/// [`Mixup`](super::Mixup).
///
/// Images are of rank 3 or more, with height and width in the last two dimensions. Targets are floats, such as one-hot
/// classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cutmix(Mixing);

impl Cutmix {
    /// Replaces boxes whose share of the area is the smaller of a number from Beta(`alpha`, `alpha`) and its complement.
    /// With 1 it is uniform from 0 to 1/2.
    pub fn new(alpha: f64) -> Self {
        Cutmix(Mixing::new(alpha))
    }

    /// The probability that a batch is mixed: 0 is never, 1 always. Default: 0.5.
    pub fn probability(self, probability: f64) -> Self {
        Cutmix(Mixing { probability, ..self.0 })
    }

    pub(super) fn apply<D, X: SampleArray<D>, Y: BlendSamples<D>>(
        &self,
        (images, targets): (X, Y),
        random: &mut Random,
    ) -> Result<(X, Y), BoxError> {
        let size = image_size(&images)?;
        let Some(Mixed { share, partners }) = self.0.draw(&images, &targets, random)? else {
            return Ok((images, targets));
        };
        let [rows, columns] = draw_box(share, size, random);
        if rows.is_empty() || columns.is_empty() {
            return Ok((images, targets));
        }
        let pasted = (rows.len() * columns.len()) as f64 / (size[0] * size[1]) as f64;
        Ok((images.paste(&partners, rows, columns)?, targets.blend(1.0 - pasted, &partners)?))
    }
}
