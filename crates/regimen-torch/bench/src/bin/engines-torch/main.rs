//! `AutoUnit` over libtorch and the same step by hand, contestants of `cargo xtask bench engines`.
//!
//! Called with the number of threads; answers lines in the protocol of `serve`. It opts in to
//! [`keep_memory`], as the examples do, and is never measured without it. The networks are those of `engines`
//! and of `bench/peers/networks.py`.

mod by_hand;
mod by_unit;
mod networks;
// Of the package `regimen-bench`, on which this one cannot depend: Burn names another torch-sys.
#[allow(unreachable_pub, reason = "it is public where it belongs")]
#[path = "../../../../../../bench/src/serve.rs"]
mod serve;
mod transformer;

use networks::{Cnn, Line, Mlp, Network};
use regimen::BoxError;
use regimen_torch::{keep_memory, tch};
use serve::{Contestant, serve};
use transformer::Transformer;

const SEED: u64 = 7;
const LEARNING_RATE: f64 = 1e-3;

fn main() -> Result<(), BoxError> {
    // Only glibc has memory to keep; elsewhere the run is the same.
    keep_memory();
    let threads = std::env::args().nth(1).ok_or("usage: engines-torch THREADS")?;
    tch::set_num_threads(threads.parse()?);
    serve(|model, batch, trainer| match model {
        "mlp" => contestant::<Mlp>(batch, trainer),
        "cnn" => contestant::<Cnn>(batch, trainer),
        "chars" => contestant::<Transformer>(batch, trainer),
        "linear" => contestant::<Line>(batch, trainer),
        _ => Err(format!("there is no network `{model}`").into()),
    })
}

fn contestant<N: Network>(batch: usize, trainer: &str) -> Result<Contestant, BoxError> {
    match trainer {
        "hand-tch" => by_hand::contestant::<N>(batch),
        "regimen-torch" => by_unit::contestant::<N>(batch),
        _ => Err(format!("there is no trainer `{trainer}`").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regimen_torch::initialize;

    // One test alone: libtorch has one generator for the whole process.
    #[test]
    fn the_hand_and_the_unit_train_the_network_of_pytorch_to_the_same_losses() {
        check::<Mlp>(535_818);
        check::<Cnn>(1_199_882);
        check::<Transformer>(818_241);
        check::<Line>(2);
    }

    fn check<N: Network>(parameters: usize) {
        let (vars, _) = initialize(SEED, tch::Device::Cpu, |root| N::new(root));
        let count = vars.trainable_variables().iter().map(tch::Tensor::numel).sum::<usize>();
        assert_eq!(count, parameters, "parameters of {}", std::any::type_name::<N>());

        let losses = |trainer| {
            let mut contestant = contestant::<N>(2, trainer).unwrap();
            [1, 2, 3].map(|steps| contestant(steps).unwrap())
        };
        let (hand, unit) = (losses("hand-tch"), losses("regimen-torch"));
        assert_eq!(hand, unit, "losses of {}", std::any::type_name::<N>());
        assert!(hand[2] < hand[0], "it learns nothing: {hand:?}");
    }
}
