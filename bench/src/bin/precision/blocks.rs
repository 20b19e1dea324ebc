//! Networks that recompute the activations of their blocks.

use regimen::{BoxError, Loss};
use regimen_burn::burn::nn::attention::generate_autoregressive_mask;
use regimen_burn::burn::tensor::Tensor;
use regimen_burn::burn::tensor::activation::relu;
use regimen_burn::checkpoint_activations;

use crate::networks::{Cnn, Mlp, Network, cross_entropy};
use crate::transformer::Transformer;

/// The trait of networks made of blocks.
pub(crate) trait Blocks: Network {
    /// Loss of a batch. Only the inputs of the blocks are kept; the rest is recomputed.
    fn recomputed_loss(&self, batch: &Self::Batch) -> Result<Loss<Tensor<1>>, BoxError>;
}

/// Each hidden layer is a block.
impl Blocks for Mlp {
    fn recomputed_loss(&self, (pixels, classes): &Self::Batch) -> Result<Loss<Tensor<1>>, BoxError> {
        let x = checkpoint_activations(&self.first, pixels.clone(), |layer, x| relu(layer.forward(x)))?;
        let x = checkpoint_activations(&self.second, x, |layer, x| relu(layer.forward(x)))?;
        Ok(cross_entropy(self.output.forward(x), classes.clone()))
    }
}

/// The convolutions with their pooling are one block.
impl Blocks for Cnn {
    fn recomputed_loss(&self, (pixels, classes): &Self::Batch) -> Result<Loss<Tensor<1>>, BoxError> {
        let convolutions = (self.conv1.clone(), self.conv2.clone(), self.pool.clone());
        let x = pixels.clone().reshape([-1, 1, 28, 28]);
        let x = checkpoint_activations::<_, 4, 4>(&convolutions, x, |(conv1, conv2, pool), x| {
            pool.forward(relu(conv2.forward(relu(conv1.forward(x)))))
        })?;
        let x = relu(self.dense.forward(x.flatten::<2>(1, 3)));
        Ok(cross_entropy(self.output.forward(x), classes.clone()))
    }
}

/// Each layer of attention and feed-forward is a block.
impl Blocks for Transformer {
    fn recomputed_loss(&self, (characters, following): &Self::Batch) -> Result<Loss<Tensor<1>>, BoxError> {
        let ([batch, length], device) = (characters.dims(), characters.device());
        let mask = generate_autoregressive_mask(batch, length, &device);
        let positions = self.positions.forward(Tensor::arange(0..length as i64, &device).unsqueeze());
        let mut x = self.dropout.forward(self.characters.forward(characters.clone()) + positions);
        for block in &self.blocks.layers {
            let mask = mask.clone();
            x = checkpoint_activations(block, x, move |block, x| block.forward(x, None, Some(mask.clone())))?;
        }
        let logits = self.head.forward(self.norm.forward(x));
        Ok(cross_entropy(logits.flatten(0, 1), following.clone().flatten(0, 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regimen_burn::burn::module::{ModuleVisitor, Param};
    use regimen_burn::burn::tensor::{Device, Gradients};
    use regimen_burn::device;

    /// Compares the gradients of the parameters, and counts them.
    struct Same<'a>(&'a Gradients, &'a Gradients, usize);

    impl ModuleVisitor for Same<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let [kept, again] = [self.0, self.1].map(|gradients| param.grad(gradients).unwrap().into_data());
            assert_eq!(kept, again);
            self.2 += 1;
        }
    }

    fn losses<N: Blocks>(network: &N, device: &Device) -> [Tensor<1>; 2] {
        let batch = N::batch(2, device);
        [network.loss(&batch).mean, network.recomputed_loss(&batch).unwrap().mean]
    }

    fn check<N: Blocks>(parameters: usize) {
        let device = device("cpu").unwrap().autodiff();
        let network = N::new(&device);
        let gradients = losses(&network, &device).map(|loss| loss.backward());
        let mut same = Same(&gradients[0], &gradients[1], 0);
        network.visit(&mut same);
        assert_eq!(same.2, parameters);
    }

    #[test]
    fn what_is_computed_again_is_the_same() {
        check::<Mlp>(6);
        check::<Cnn>(8);
        // In evaluation mode: dropout differs between two passes.
        let device = device("cpu").unwrap();
        let [kept, again] = losses(&<Transformer as Network>::new(&device), &device);
        assert_eq!(kept.into_data(), again.into_data());
    }
}
