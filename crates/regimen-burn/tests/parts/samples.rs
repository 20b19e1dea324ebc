//! Samples mixed with others of their batch, as those of the toy engine are.

use crate::support::Outcome;
use regimen::data::{At, Cutmix, Data, DataExt, Epoch, Mixup, SegmCutmix};
use regimen_burn::burn::tensor::{Bool, Int, Tensor, TensorData};
use regimen_burn::device;
use regimen_core::BoxError;
use regimen_core::random::{Random, keyed};
use regimen_test::toy::ToyArray;

/// The first `BATCHES` batches of an epoch.
fn mixed<B>(data: impl Data<Batch = B>) -> Result<Vec<B>, BoxError> {
    let mut epoch = data.epoch(At::epoch(1, 42))?;
    (0..BATCHES).map(|_| Ok(epoch.next().ok_or("too few batches")??.batch)).collect()
}

const BATCHES: usize = 20;

/// Numbers that are 0 or 1, so that every kind of tensor can hold them.
fn bits(shape: &[usize]) -> ToyArray {
    let mut random = Random::new(keyed(1, "bits", 0, shape.len() as u64));
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| random.below(2) as f64).collect();
    ToyArray::new(shape, &values)
}

fn tensor<const D: usize>(array: &ToyArray) -> Tensor<D> {
    let values: Vec<f32> = array.values().iter().map(|&value| value as f32).collect();
    Tensor::from_data(TensorData::new(values, array.shape().to_vec()), &device("cpu").unwrap())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[track_caller]
fn assert_near(found: Vec<f64>, expected: &ToyArray) {
    let expected = expected.values();
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
}

#[test]
fn inputs_and_targets_are_blended_as_toy_arrays() -> Outcome {
    let (x, y) = (bits(&[5, 2, 3]), bits(&[5, 4]));
    let mixup = Mixup::new(0.4).probability(1.0);
    let of_burn = vec![(tensor::<3>(&x), tensor::<2>(&y)); BATCHES];
    let of_toy = mixed(vec![(x, y); BATCHES].mixup(mixup))?;
    for ((x, y), (toy_x, toy_y)) in mixed(of_burn.mixup(mixup))?.into_iter().zip(of_toy) {
        assert_near(values(x), &toy_x);
        assert_near(values(y), &toy_y);
    }
    Ok(())
}

#[test]
fn boxes_of_tensors_of_every_kind_are_pasted_as_those_of_toy_arrays() -> Outcome {
    let (x, mask, y) = (bits(&[4, 3, 8, 10]), bits(&[4, 8, 10]), bits(&[4, 2]));
    let float = |array: &ToyArray| tensor::<4>(array);
    let clean = (float(&x), tensor::<2>(&y));
    let cutmix = Cutmix::new(1.0).probability(1.0);
    let of_toy = mixed(vec![(x.clone(), y); BATCHES].cutmix(cutmix))?;
    // All batches are clones of one tensor.
    for ((x, y), (toy_x, toy_y)) in
        mixed(vec![clean.clone(); BATCHES].cutmix(cutmix))?.into_iter().zip(of_toy)
    {
        assert_eq!(values(x), toy_x.values());
        assert_near(values(y), &toy_y);
    }
    assert_eq!(values(clean.0), x.values());

    let cutmix = SegmCutmix::new(1.0).probability(1.0);
    let of_toy = mixed(vec![(x.clone(), mask.clone()); BATCHES].segm_cutmix(cutmix))?;
    let mask = tensor::<3>(&mask);
    let ints: Vec<(Tensor<4>, Tensor<3, Int>)> = vec![(float(&x), mask.clone().int()); BATCHES];
    let bools: Vec<(Tensor<4>, Tensor<3, Bool>)> = vec![(float(&x), mask.bool()); BATCHES];
    let of_burn = mixed(ints.segm_cutmix(cutmix))?.into_iter().zip(mixed(bools.segm_cutmix(cutmix))?);
    for (((x, int), (_, bool)), (toy_x, toy_mask)) in of_burn.zip(of_toy) {
        assert_eq!(values(x), toy_x.values());
        assert_eq!([values(int.float()), values(bool.float())], [toy_mask.values(), toy_mask.values()]);
    }
    Ok(())
}
