//! Samples mixed with others of their batch, as those of the toy engine are.
#![allow(clippy::unwrap_used)]

use regimen::BoxError;
use regimen::data::{At, Cutmix, Data, DataExt, Epoch, Mixup, SegmCutmix, each_epoch};
use regimen::random::{Random, keyed};
use regimen_test::toy::ToyArray;
use regimen_torch::tch::{Kind, Tensor};

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

fn tensor(array: &ToyArray, kind: Kind) -> Tensor {
    let shape: Vec<i64> = array.shape().iter().map(|&length| length as i64).collect();
    Tensor::from_slice(&array.values()).reshape(shape).to_kind(kind)
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).reshape([-1])).unwrap()
}

/// Batches that share the memory of one.
fn shared<'a>((x, y): &'a (Tensor, Tensor)) -> impl Data<Batch = (Tensor, Tensor)> + use<'a> {
    each_epoch(move |_| (0..BATCHES).map(move |_| (x.shallow_clone(), y.shallow_clone())))
}

#[track_caller]
fn assert_near(found: &Tensor, expected: &ToyArray) {
    let (found, expected) = (values(found), expected.values());
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
}

#[test]
fn inputs_and_targets_are_blended_as_toy_arrays() {
    let (x, y) = (bits(&[5, 2, 3]), bits(&[5, 4]));
    let mixup = Mixup::new(0.4).probability(1.0);
    let batch = (tensor(&x, Kind::Float), tensor(&y, Kind::Float));
    let of_torch = mixed(shared(&batch).mixup(mixup)).unwrap();
    let of_toy = mixed(vec![(x.clone(), y); BATCHES].mixup(mixup)).unwrap();
    for ((x, y), (toy_x, toy_y)) in of_torch.iter().zip(&of_toy) {
        assert_near(x, toy_x);
        assert_near(y, toy_y);
    }
    assert_eq!(values(&batch.0), x.values());
}

#[test]
fn boxes_of_tensors_of_every_kind_are_pasted_as_those_of_toy_arrays() {
    let (x, mask, y) = (bits(&[4, 3, 8, 10]), bits(&[4, 8, 10]), bits(&[4, 2]));
    let cutmix = Cutmix::new(1.0).probability(1.0);
    let batch = (tensor(&x, Kind::Float), tensor(&y, Kind::Float));
    let of_toy = mixed(vec![(x.clone(), y); BATCHES].cutmix(cutmix)).unwrap();
    for ((x, y), (toy_x, toy_y)) in mixed(shared(&batch).cutmix(cutmix)).unwrap().iter().zip(&of_toy) {
        assert_eq!(values(x), toy_x.values());
        assert_near(y, toy_y);
    }
    assert_eq!(values(&batch.0), x.values());

    let cutmix = SegmCutmix::new(1.0).probability(1.0);
    let of_toy = mixed(vec![(x.clone(), mask.clone()); BATCHES].segm_cutmix(cutmix)).unwrap();
    for kind in [Kind::Int64, Kind::Uint8, Kind::Bool] {
        let batch = (tensor(&x, Kind::Half), tensor(&mask, kind));
        for ((x, mask), (toy_x, toy_mask)) in
            mixed(shared(&batch).segm_cutmix(cutmix)).unwrap().iter().zip(&of_toy)
        {
            assert_eq!((values(x), values(mask)), (toy_x.values(), toy_mask.values()));
            assert_eq!((x.kind(), mask.kind()), (Kind::Half, kind));
        }
    }
}

#[test]
fn classes_that_are_no_floats_are_an_error_that_says_what_to_give() {
    let batch = (tensor(&bits(&[3, 2]), Kind::Float), tensor(&bits(&[3]), Kind::Int64));
    let error = mixed(shared(&batch).mixup(Mixup::new(1.0).probability(1.0))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mixup: samples of kind Int64 cannot be blended; give classes as one-hot floats"
    );
}
