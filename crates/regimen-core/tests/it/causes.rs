//! An error that becomes part of a text: its causes are in the text, each once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use crate::weighted::unit;
use regimen_core::error::{ErrorKind, Place};
use regimen_core::run::Train;
use regimen_core::saved::{AppState, Array, Parts, StateDict, Stateful, load_parts, save_parts};
use regimen_core::{BoxError, Error, Run};
use regimen_test::Fault;

/// The error of a run within a unit: `{}` is only `data failed`, and the cause is in `source`.
fn nested() -> BoxError {
    Error::new(ErrorKind::Data, Place { phase: None, epoch: 0, step: 0 }, "no such file").into()
}

/// A part that fails at one of its calls.
struct Part(Fault);

impl Part {
    fn call(&self, here: Fault) -> Result<(), BoxError> {
        if self.0 == here { Err(nested()) } else { Ok(()) }
    }
}

impl Stateful for Part {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        self.call(Fault::Save).map(|()| StateDict::new())
    }

    fn load_state_dict(&mut self, _: &StateDict) -> Result<(), BoxError> {
        self.call(Fault::Load)
    }

    fn check_state_dict(&self, _: &StateDict) -> Result<(), BoxError> {
        self.call(Fault::Check)
    }
}

impl AppState for Part {
    fn visit(&mut self, parts: &mut dyn Parts) -> Result<(), BoxError> {
        parts.part("inner", self)
    }
}

/// A number that is never read.
#[derive(Debug)]
struct Unreadable;

impl TryFrom<&Array> for Unreadable {
    type Error = BoxError;

    fn try_from(_: &Array) -> Result<Self, BoxError> {
        Err(nested())
    }
}

#[test]
fn saved_state_that_fails() {
    let check = |error: BoxError, expected: &str| assert_eq!(error.to_string(), expected);
    let saved = BTreeMap::from([("inner".to_owned(), StateDict::new())]);
    let told = "part `inner`: data failed: no such file";
    check(save_parts(&mut Part(Fault::Save)).unwrap_err(), told);
    check(load_parts(&mut Part(Fault::Check), &saved).unwrap_err(), told);
    check(load_parts(&mut Part(Fault::Load), &saved).unwrap_err(), told);
    let mut dict = StateDict::new();
    dict.insert("n", 1_u8).unwrap();
    check(dict.get::<Unreadable>("n").unwrap_err(), "`n`: data failed: no such file");
}

#[test]
fn an_update_that_fails_at_the_end_of_an_epoch() {
    let mut unit = unit().accumulate(4).before_update(|_, _| Err(nested()));
    let mut run = Run::new(&mut unit);
    run.train(&[(1.0, 1.0); 4], Train::steps(2)).unwrap();
    let error = run.train(&[(1.0, 1.0); 4], Train::epochs(1).steps_per_epoch(2)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "unit failed in on_train_epoch_end in train at epoch 1 step 2: the gradients of 2 steps are lost: data \
         failed: no such file"
    );
}
