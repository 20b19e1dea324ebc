//! Weighted means of samples.

use regimen_core::BoxError;
use regimen_core::data::BlendSamples;
use regimen_core::random::Random;

use super::mixing::{Mixed, Mixing};

/// Mixup (Zhang et al., 2018): every sample becomes a weighted mean of itself and another of its batch, and so does
/// its target. An adaptor of the training data: [`DataExt::mixup`](super::DataExt::mixup). Data of an evaluation get none,
/// and stay as they are.
///
/// The weight of a batch is drawn from Beta(alpha, alpha), and the partners are a permutation of its samples. Both are
/// keyed by (seed, epoch, number of the batch, rank), so a resumed run mixes the same. A batch of one sample stays as
/// it is.
///
/// Inputs are floats of any rank whose first dimension is the samples. Targets are floats as well, such as one-hot
/// classes of shape `[samples, classes]`; the loss must take them. Other numbers of samples, an alpha that is not above
/// 0, and a probability outside 0 to 1 are errors of the first batch.
///
/// ```
/// use regimen::data::{Data, DataExt, Loader, Mixup};
/// use regimen_test::toy::ToyArray;
///
/// let digits = vec![([0.0, 0.5], 1_usize), ([1.0, 0.5], 2), ([0.2, 0.1], 0)];
/// let train = Loader::collate(digits, |samples| {
///     let (x, classes): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
///     let one_hot: Vec<f64> =
///         classes.iter().flat_map(|&class| (0..3).map(move |k| f64::from(k == class))).collect();
///     Ok((ToyArray::new(&[x.len(), 2], &x.concat()), ToyArray::new(&[x.len(), 3], &one_hot)))
/// });
/// let train = train.batch_size(2).shuffle().mixup(Mixup::new(0.2).probability(0.5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixup(Mixing);

impl Mixup {
    /// Mixes with weights from Beta(`alpha`, `alpha`): the smaller, the closer most of them are to 0 and 1.
    pub fn new(alpha: f64) -> Self {
        Mixup(Mixing::new(alpha))
    }

    /// The probability that a batch is mixed: 0 is never, 1 always. Default: 0.5.
    pub fn probability(self, probability: f64) -> Self {
        Mixup(Mixing { probability, ..self.0 })
    }

    pub(super) fn apply<D, X: BlendSamples<D>, Y: BlendSamples<D>>(
        &self,
        (inputs, targets): (X, Y),
        random: &mut Random,
    ) -> Result<(X, Y), BoxError> {
        let Some(Mixed { share, partners }) = self.0.draw(&inputs, &targets, random)? else {
            return Ok((inputs, targets));
        };
        Ok((inputs.blend(share, &partners)?, targets.blend(share, &partners)?))
    }
}
