//! Batches on a device: the moves of `#[derive(ToDevice)]`, moves of single values, and the compile
//! errors.
#![cfg(feature = "derive")]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use regimen::data::{AllBatches, BatchOfEach, Data, Mix, Padded, Stacked};
use regimen::engine::ToDevice;
use regimen::run::Train;
use regimen::unit::TrainUnit;
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_test::toy::{ToyArray, ToyDevice, ToyEngine, ToyMlp, ToyOptimizer, ToyVars, manual_seed};

/// Moves parts from any device, and refuses 13.
struct There;

/// A part of a batch, before the move.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Here(u8);

/// The same part, moved.
const fn moved(part: u8) -> Here {
    Here(part + 100)
}

impl ToDevice<There> for Here {
    fn move_to(self, _: &There) -> Result<Here, BoxError> {
        if self.0 == 13 { Err("there is no room".into()) } else { Ok(moved(self.0)) }
    }
}

#[track_caller]
fn check<B: ToDevice<There> + Debug + PartialEq>(batch: B, expected: B) {
    assert_eq!(batch.move_to(&There).unwrap(), expected);
}

#[derive(Debug, PartialEq, ToDevice)]
struct Named {
    image: Here,
    r#type: Vec<Here>,
    #[to_device(skip)]
    path: std::path::PathBuf,
    label: u8,
}

#[derive(Debug, PartialEq, ToDevice)]
struct Unnamed(Here, #[to_device(skip)] Here, Option<Here>);

#[derive(Debug, PartialEq, ToDevice)]
struct Nothing;

#[derive(Debug, PartialEq, ToDevice)]
struct Generic<'a, M: Clone, const N: usize, D = Here>
where
    D: PartialEq,
{
    parts: [M; N],
    more: D,
    #[to_device(skip)]
    name: &'a str,
}

#[derive(Debug, PartialEq, ToDevice)]
enum Either {
    Image { pixels: Here, rows: usize },
    Text(Here, #[to_device(skip)] Here),
    Neither,
}

#[derive(Debug, PartialEq, ToDevice)]
enum Never {}

#[test]
fn every_field_that_is_not_skipped_is_moved() {
    let named = |image, r#type| Named { image, r#type, path: "a.png".into(), label: 3 };
    check(named(Here(1), vec![Here(2), Here(3)]), named(moved(1), vec![moved(2), moved(3)]));
    check(Unnamed(Here(1), Here(2), Some(Here(3))), Unnamed(moved(1), Here(2), Some(moved(3))));
    check(Nothing, Nothing);
    let generic = |parts, more| Generic { parts, more, name: "first" };
    check(generic([Here(1), Here(2)], Here(3)), generic([moved(1), moved(2)], moved(3)));
    check(Either::Image { pixels: Here(1), rows: 2 }, Either::Image { pixels: moved(1), rows: 2 });
    check(Either::Text(Here(1), Here(2)), Either::Text(moved(1), Here(2)));
    check(Either::Neither, Either::Neither);
    check(None::<Never>, None);
}

#[test]
fn a_part_that_cannot_be_moved_is_the_error() {
    let batch = Unnamed(Here(1), Here(2), Some(Here(13)));
    assert_eq!(batch.move_to(&There).unwrap_err().to_string(), "there is no room");
}

/// A hasher without a default.
#[derive(Clone)]
struct Salted(u64);

impl BuildHasher for Salted {
    type Hasher = Salted;

    fn build_hasher(&self) -> Salted {
        self.clone()
    }
}

impl Hasher for Salted {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    }
}

#[test]
fn the_parts_of_maps_and_boxes_are_moved_and_keys_stay() {
    /// A key that cannot be moved.
    type Key = (std::path::PathBuf, i32);
    let key = |number| (format!("{number}").into(), number);
    check(
        BTreeMap::from([(key(1), Here(1)), (key(2), Here(2))]),
        BTreeMap::<Key, _>::from([(key(1), moved(1)), (key(2), moved(2))]),
    );
    check(HashMap::from([(key(1), Here(1))]), HashMap::<Key, _>::from([(key(1), moved(1))]));
    let salted = |part| {
        let mut map = HashMap::with_hasher(Salted(7));
        map.insert(key(1), part);
        map
    };
    check(salted(Here(1)), salted(moved(1)));
    check(Box::new(Here(1)), Box::new(moved(1)));
    check((Arc::<str>::from("books"), Here(1)), ("books".into(), moved(1)));
}

/// Trains on `first` of a batch, which is the loader's or a mix's.
struct First<B>(fn(&B) -> &ToyArray);

impl<B: ToDevice<ToyDevice>> Task<ToyEngine<ToyMlp>> for First<B> {
    type Batch = B;
    type Output = ();

    fn compute_loss(&mut self, _: &Step, mlp: &ToyMlp, batch: &B) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Loss::mean(mlp.forward((self.0)(batch)).mean(), 1.0), ()))
    }
}

/// Trains on the second device with batches that lie on the first.
#[track_caller]
fn trains<D: Data>(data: &D, first: fn(&D::Batch) -> &ToyArray)
where
    AutoUnit<ToyEngine<ToyMlp>, First<D::Batch>>: TrainUnit<Batch = D::Batch>,
    D::Batch: ToDevice<ToyDevice>,
{
    manual_seed(1);
    let mut vars = ToyVars::on(ToyDevice(1));
    let mlp = ToyMlp::plain(&mut vars, [1, 2, 1]);
    let engine = ToyEngine::new(vars, mlp, ToyOptimizer::sgd(0.0));
    let mut unit = AutoUnit::new(engine, First(first)).learning_rate(0.1);
    let report = Run::new(&mut unit).train(data, Train::epochs(1)).unwrap();
    assert_eq!(report.train.steps, 3);
}

#[test]
fn every_mix_of_sources_trains() {
    let column = || vec![ToyArray::new(&[1, 1], &[1.0]); 3];
    trains(&Mix::round_robin().source("books", column()), |batch| batch);
    let of_each: AllBatches<ToyArray> = AllBatches::new().source("books", column()).source("web", column());
    trains(&of_each, |batch: &BatchOfEach<ToyArray>| &batch["books"]);
    let padded: Vec<_> = column().into_iter().map(|batch| Padded { batch, samples: 1 }).collect();
    trains(&padded, |batch| &batch.batch);
}

#[test]
fn what_the_loader_makes_can_be_moved() {
    fn movable<B: ToDevice<There>>() {}
    movable::<Stacked<Here>>();
    movable::<Padded<(Vec<[f32; 4]>, Stacked<u32>)>>();
    movable::<BatchOfEach<Padded<Vec<Here>>>>();
}

#[test]
fn what_cannot_be_moved_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/to_device/*.rs");
}
