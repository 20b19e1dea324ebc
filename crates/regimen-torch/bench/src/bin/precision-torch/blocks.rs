//! The networks with activation checkpointing per block.

use regimen::{BoxError, Loss};
use regimen_torch::Recomputed;
use regimen_torch::tch::Tensor;
use regimen_torch::tch::nn::Module;

use crate::networks::{Cnn, Mlp, Network, cross_entropy};
use crate::transformer::Transformer;

/// A network of blocks.
pub(crate) trait Blocks: Network + Send {
    /// The loss of a batch, keeping only the input of each block.
    fn recomputed_loss(
        network: &Recomputed<Self>,
        batch: &Self::Batch,
        is_train: bool,
    ) -> Result<Loss<Tensor>, BoxError>;
}

/// Each hidden layer is a block.
impl Blocks for Mlp {
    fn recomputed_loss(
        network: &Recomputed<Self>,
        (pixels, classes): &Self::Batch,
        _is_train: bool,
    ) -> Result<Loss<Tensor>, BoxError> {
        let x = network.forward(pixels, |network, x| network.first.forward(x).relu())?;
        let x = network.forward(&x, |network, x| network.second.forward(x).relu())?;
        Ok(cross_entropy(&network.lock().output.forward(&x), classes))
    }
}

/// The convolutions with their pooling are one block.
impl Blocks for Cnn {
    fn recomputed_loss(
        network: &Recomputed<Self>,
        (pixels, classes): &Self::Batch,
        _is_train: bool,
    ) -> Result<Loss<Tensor>, BoxError> {
        let x = network.forward(&pixels.view([-1, 1, 28, 28]), |network, x| {
            let x = network.conv1.forward(x).relu();
            network.conv2.forward(&x).relu().max_pool2d_default(2)
        })?;
        let network = network.lock();
        let x = network.dense.forward(&x.flatten(1, -1)).relu();
        Ok(cross_entropy(&network.output.forward(&x), classes))
    }
}

/// Each layer of attention and feed-forward is a block.
impl Blocks for Transformer {
    fn recomputed_loss(
        network: &Recomputed<Self>,
        (characters, following): &Self::Batch,
        is_train: bool,
    ) -> Result<Loss<Tensor>, BoxError> {
        let mut x = network.lock().embed(characters, is_train);
        let layers = network.lock().blocks.len();
        for layer in 0..layers {
            x = network.forward(&x, move |network, x| network.blocks[layer].forward(x, is_train))?;
        }
        Ok(network.lock().loss_of(&x, following))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regimen_torch::{initialize, tch};

    // One test alone: libtorch has one generator for the whole process.
    #[test]
    fn what_is_computed_again_is_the_same() {
        check::<Mlp>();
        check::<Cnn>();
        check::<Transformer>();
    }

    fn check<N: Blocks>() {
        let (vars, network) = initialize(7, tch::Device::Cpu, |root| Recomputed::new(N::new(root)));
        let batch = N::batch(2);
        let [kept, again] = [true, false].map(|keeps| {
            tch::manual_seed(7);
            let loss = match keeps {
                true => network.lock().loss(&batch, true),
                false => N::recomputed_loss(&network, &batch, true).unwrap(),
            };
            loss.mean.backward();
            let gradient = |mut parameter: Tensor| {
                let gradient = parameter.grad().copy();
                parameter.zero_grad();
                gradient
            };
            vars.trainable_variables().into_iter().map(gradient).collect::<Vec<_>>()
        });
        assert_eq!(kept, again, "gradients of {}", std::any::type_name::<N>());
    }
}
