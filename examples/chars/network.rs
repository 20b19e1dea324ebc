//! The network: a causal transformer.

use regimen::BoxError;
use regimen_burn::burn;
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::attention::generate_autoregressive_mask;
use regimen_burn::burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use regimen_burn::burn::nn::{
    Dropout, DropoutConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
};
use regimen_burn::burn::tensor::{Device, Int, Tensor};

const HEADS: usize = 4;
const DROPOUT: f64 = 0.1;

/// A pre-norm transformer over embedded characters and positions.
#[derive(Module, Debug)]
pub(crate) struct Transformer {
    pub(crate) characters: Embedding,
    pub(crate) positions: Embedding,
    pub(crate) dropout: Dropout,
    pub(crate) blocks: TransformerEncoder,
    pub(crate) norm: LayerNorm,
    pub(crate) head: Linear,
}

/// Dimensions of a [`Transformer`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Number of distinct characters.
    pub(crate) alphabet: usize,
    /// Context length, including the newest character.
    pub(crate) context: usize,
    /// Embedding size.
    pub(crate) width: usize,
    /// Transformer blocks.
    pub(crate) layers: usize,
}

impl Size {
    /// Returns an error unless the width is a multiple of the number of attention heads.
    pub(crate) fn check(self) -> Result<Self, BoxError> {
        match self.width.is_multiple_of(HEADS) {
            true => Ok(self),
            false => {
                Err(format!("a width of {} cannot be used; give a multiple of {HEADS}", self.width).into())
            }
        }
    }
}

impl Transformer {
    pub(crate) fn new(size: Size, device: &Device) -> Self {
        let Size { alphabet, context, width, layers } = size;
        Transformer {
            characters: EmbeddingConfig::new(alphabet, width).init(device),
            positions: EmbeddingConfig::new(context, width).init(device),
            dropout: DropoutConfig::new(DROPOUT).init(),
            blocks: TransformerEncoderConfig::new(width, 4 * width, HEADS, layers)
                .with_norm_first(true)
                .with_dropout(DROPOUT)
                .init(device),
            norm: LayerNormConfig::new(width).init(device),
            head: LinearConfig::new(width, alphabet).init(device),
        }
    }

    /// Characters `[batch, length]` to logits of the next characters `[batch, length, alphabet]`.
    /// `length` is at most the context length.
    pub(crate) fn forward(&self, characters: Tensor<2, Int>) -> Tensor<3> {
        let [batch, length] = characters.dims();
        let device = characters.device();
        let positions = Tensor::arange(0..length as i64, &device).unsqueeze();
        let x = self.characters.forward(characters) + self.positions.forward(positions);
        let x = TransformerEncoderInput::new(self.dropout.forward(x))
            .mask_attn(generate_autoregressive_mask(batch, length, &device));
        self.head.forward(self.norm.forward(self.blocks.forward(x)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_depends_on_what_came_before_and_on_nothing_after() {
        let device = regimen_burn::device("cpu").unwrap();
        let size = Size { alphabet: 7, context: 6, width: 8, layers: 2 };
        let network =
            regimen_burn::initialize(3, &device, |device| Transformer::new(size, device)).unwrap().valid();
        let logits = |characters: [i64; 6]| -> Vec<Vec<f32>> {
            let logits = network.forward(Tensor::from_data([characters], &device));
            let logits: Vec<f32> = logits.into_data().iter().collect();
            logits.chunks(7).map(<[f32]>::to_vec).collect()
        };
        let (found, changed) = (logits([1, 2, 3, 4, 5, 6]), logits([1, 2, 3, 0, 5, 6]));
        assert_eq!(found[..3], changed[..3]);
        for position in 3..6 {
            assert_ne!(found[position], changed[position], "at {position}");
        }
    }

    #[test]
    fn a_width_that_the_heads_cannot_share_is_an_error() {
        let size = |width| Size { alphabet: 2, context: 2, width, layers: 1 };
        assert!(size(8).check().is_ok());
        let error = size(10).check().unwrap_err().to_string();
        assert_eq!(error, "a width of 10 cannot be used; give a multiple of 4");
    }
}
