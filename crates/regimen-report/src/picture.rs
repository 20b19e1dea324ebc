//! Pictures that a run has logged.

/// A picture that a run has logged, such as its confusion matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The name it was logged under.
    pub name: String,
    /// The training step of it.
    pub step: u64,
    /// A PNG file.
    pub png: Vec<u8>,
}
