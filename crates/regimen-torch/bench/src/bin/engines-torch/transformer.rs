//! The network of the example `chars` on libtorch, larger.

use regimen::Loss;
use regimen_torch::tch::nn::{self, Module, Path};
use regimen_torch::tch::{Device, Kind, Tensor};

use crate::networks::{Network, cross_entropy, linear};

const ALPHABET: i64 = 65;
const CONTEXT: i64 = 64;
const WIDTH: i64 = 128;
const HEADS: i64 = 4;
const LAYERS: i64 = 4;
const DROPOUT: f64 = 0.1;

/// A transformer of blocks that normalize first, over embedded characters and positions.
#[derive(Debug)]
pub(crate) struct Transformer {
    characters: nn::Embedding,
    positions: nn::Embedding,
    pub(crate) blocks: Vec<Block>,
    norm: nn::LayerNorm,
    head: nn::Linear,
}

impl Network for Transformer {
    /// Characters and their successors, each `[size, CONTEXT]`.
    type Batch = (Tensor, Tensor);

    fn new(root: &Path<'_>) -> Self {
        Transformer {
            characters: nn::embedding(root / "characters", ALPHABET, WIDTH, Default::default()),
            positions: nn::embedding(root / "positions", CONTEXT, WIDTH, Default::default()),
            blocks: (0..LAYERS).map(|layer| Block::new(&(root / "blocks" / layer))).collect(),
            norm: norm(&(root / "norm")),
            head: linear(&(root / "head"), WIDTH, ALPHABET),
        }
    }

    fn batch(size: usize) -> Self::Batch {
        let text = || Tensor::randint(ALPHABET, [size as i64, CONTEXT], (Kind::Int64, Device::Cpu));
        (text(), text())
    }

    fn loss(&self, (characters, following): &Self::Batch, is_train: bool) -> Loss<Tensor> {
        let x = self.embed(characters, is_train);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(&x, is_train));
        self.loss_of(&x, following)
    }
}

impl Transformer {
    /// The input of the first block.
    pub(crate) fn embed(&self, characters: &Tensor, is_train: bool) -> Tensor {
        let positions = Tensor::arange(CONTEXT, (Kind::Int64, Device::Cpu));
        let x = self.characters.forward(characters) + self.positions.forward(&positions);
        x.dropout(DROPOUT, is_train)
    }

    /// The loss of the last block's output.
    pub(crate) fn loss_of(&self, x: &Tensor, following: &Tensor) -> Loss<Tensor> {
        let logits = self.head.forward(&self.norm.forward(x));
        cross_entropy(&logits.flatten(0, 1), &following.flatten(0, 1))
    }
}

#[derive(Debug)]
pub(crate) struct Block {
    attention_norm: nn::LayerNorm,
    queries_keys_values: nn::Linear,
    context: nn::Linear,
    feed_forward_norm: nn::LayerNorm,
    inner: nn::Linear,
    outer: nn::Linear,
}

impl Block {
    fn new(root: &Path<'_>) -> Self {
        Block {
            attention_norm: norm(&(root / "attention_norm")),
            queries_keys_values: linear(&(root / "queries_keys_values"), WIDTH, 3 * WIDTH),
            context: linear(&(root / "context"), WIDTH, WIDTH),
            feed_forward_norm: norm(&(root / "feed_forward_norm")),
            inner: linear(&(root / "inner"), WIDTH, 4 * WIDTH),
            outer: linear(&(root / "outer"), 4 * WIDTH, WIDTH),
        }
    }

    pub(crate) fn forward(&self, x: &Tensor, is_train: bool) -> Tensor {
        let x = x + self.attention(&self.attention_norm.forward(x), is_train).dropout(DROPOUT, is_train);
        let inner = self.inner.forward(&self.feed_forward_norm.forward(&x)).gelu("none");
        let outer = self.outer.forward(&inner.dropout(DROPOUT, is_train));
        x + outer.dropout(DROPOUT, is_train)
    }

    fn attention(&self, x: &Tensor, is_train: bool) -> Tensor {
        let heads = |part: &Tensor| part.view([-1, CONTEXT, HEADS, WIDTH / HEADS]).transpose(1, 2);
        let parts = self.queries_keys_values.forward(x).chunk(3, -1);
        let [queries, keys, values] = [&parts[0], &parts[1], &parts[2]].map(heads);
        let (mask, dropout) = (None::<Tensor>, if is_train { DROPOUT } else { 0.0 });
        let x =
            Tensor::scaled_dot_product_attention(&queries, &keys, &values, mask, dropout, true, None, false);
        self.context.forward(&x.transpose(1, 2).reshape([-1, CONTEXT, WIDTH]))
    }
}

fn norm(path: &Path<'_>) -> nn::LayerNorm {
    nn::layer_norm(path, vec![WIDTH], Default::default())
}
