//! Arrays whose samples can be mixed.

use std::ops::Range;

use crate::BoxError;

/// An array of a batch whose first dimension is the samples, on a device of type `D`.
///
/// Engine crates implement it for their tensors. `D` is the type of their devices, as that of
/// [`ToDevice`](crate::engine::ToDevice); the compiler finds it. The trait has the operations of adaptors that mix the samples of a batch:
/// sample `i` with sample `partners[i]`. Partners are as many as the samples, and each is below their number.
#[diagnostic::on_unimplemented(
    message = "samples of `{Self}` cannot be mixed",
    note = "inputs and masks are tensors of the engine, whose first dimension is the samples"
)]
pub trait SampleArray<D>: Sized {
    /// The length of each dimension.
    fn shape(&self) -> Vec<usize>;

    /// Replaces a box of each sample by that of its partner: `rows` of the dimension before the last, and `columns`
    /// of the last. Other holders of the same memory do not see it.
    fn paste(self, partners: &[usize], rows: Range<usize>, columns: Range<usize>) -> Result<Self, BoxError>;
}

/// A [`SampleArray`] of numbers with a weighted mean.
#[diagnostic::on_unimplemented(
    message = "samples of `{Self}` cannot be blended",
    note = "classes are blended as one-hot floats of shape [samples, classes], which the collate function can make"
)]
pub trait BlendSamples<D>: SampleArray<D> {
    /// `share` times each sample plus `1 - share` times its partner. Other holders of the same memory do not see it.
    fn blend(self, share: f64, partners: &[usize]) -> Result<Self, BoxError>;
}
