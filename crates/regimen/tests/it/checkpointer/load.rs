//! Loading parts without a run.

use std::path::PathBuf;

use regimen::checkpoint::{Checkpointer, Load, LoadReport, load_parts_from};
use regimen::run::Train;
use regimen::saved::{AppState, Array, StateDict, Stateful};
use regimen::{BoxError, Run};

use super::common::*;

/// A module of arrays by name; loading requires all of them.
#[derive(Clone, Debug, PartialEq)]
struct Module(StateDict);

impl Module {
    fn new(arrays: &[(&str, &[f32])]) -> Self {
        let mut dict = StateDict::new();
        for (name, values) in arrays {
            dict.insert(*name, Array::from_slice(values)).unwrap();
        }
        Module(dict)
    }
}

impl Stateful for Module {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        Ok(self.0.clone())
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_state_dict(dict)?;
        self.0 = dict.clone();
        Ok(())
    }

    fn check_state_dict(&self, dict: &StateDict) -> Result<(), BoxError> {
        self.0.check_same_layout(dict)
    }
}

#[derive(AppState, Clone, Debug, PartialEq)]
struct Model {
    module: Module,
    optimizer: u64,
}

impl regimen::unit::TrainUnit for Model {
    type Batch = u64;

    fn train_step(&mut self, _: &mut regimen::State, _: u64) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A run directory with a checkpoint of a model with an encoder and a head.
fn saved() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let module =
        Module::new(&[("encoder.bias", &[1.0]), ("encoder.weight", &[2.0, 3.0]), ("head", &[4.0; 3])]);
    let mut unit = Model { module, optimizer: 5 };
    let run = dir.path().join("run");
    Run::new(&mut unit).saver(Checkpointer::new(&run)).train(&[0], Train::epochs(1)).unwrap();
    (dir, run)
}

#[test]
fn the_parts_that_are_named_are_loaded_and_the_others_stay() {
    let (_dir, run) = saved();
    for path in [run.clone(), run.join("step-000000001")] {
        let module =
            Module::new(&[("encoder.bias", &[0.0]), ("encoder.weight", &[0.0; 2]), ("head", &[0.0; 3])]);
        let mut unit = Model { module, optimizer: 0 };
        let report = load_parts_from(&path, &mut unit, &["module"]).unwrap();
        assert_eq!((report.step, report.from), (1, run.join("step-000000001")));
        assert_eq!(report.loaded, ["module/encoder.bias", "module/encoder.weight", "module/head"]);
        assert_eq!(unit.module.0.array("head").unwrap().to_vec::<f32>().unwrap(), [4.0; 3]);
        assert_eq!(unit.optimizer, 0);
        Load::from(&path).into_unit(&mut unit).unwrap();
        assert_eq!(unit.optimizer, 5);
    }
}

/// The arrays loaded, missing, unexpected and mismatched.
type Lists =
    (&'static [&'static str], &'static [&'static str], &'static [&'static str], &'static [&'static str]);

/// Loads into a model with `arrays`; compares the report, and checks that an error changes nothing.
#[track_caller]
fn check(load: impl FnOnce(Load) -> Load, arrays: &[(&str, &[f32])], expected: Result<Lists, &str>) -> Model {
    let (_dir, run) = saved();
    let mut unit = Model { module: Module::new(arrays), optimizer: 0 };
    let before = unit.clone();
    match (load(Load::from(run)).into_unit(&mut unit), expected) {
        (Ok(report), Ok((loaded, missing, unexpected, mismatched))) => {
            let LoadReport { loaded: l, missing: m, unexpected: u, mismatched: d, .. } = report;
            assert_eq!(
                (&*l, &*m, &*u, &*d),
                (&*own(loaded), &*own(missing), &*own(unexpected), &*own(mismatched))
            );
        }
        (Err(error), Err(expected)) => {
            assert!(format!("{error:#}").contains(expected), "{error}");
            assert_eq!(unit, before);
        }
        (came, expected) => panic!("{came:?} in place of {expected:?}"),
    }
    unit
}

fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_does_not_fit_is_an_error_or_is_left_and_listed() {
    let all: &[(&str, &[f32])] =
        &[("encoder.bias", &[0.0]), ("encoder.weight", &[0.0; 2]), ("head", &[0.0; 3])];
    let wide: &[(&str, &[f32])] = &[("encoder.bias", &[0.0]), ("head", &[0.0; 9]), ("tail", &[7.0])];
    let of_encoder: &[(&str, &[f32])] = &[("backbone.bias", &[0.0]), ("backbone.weight", &[0.0; 2])];
    let part = |load: Load| load.part("module");

    check(part, all, Ok((&["module/encoder.bias", "module/encoder.weight", "module/head"], &[], &[], &[])));
    check(part, wide, Err("`tail` is missing"));
    let expected: Lists = (
        &["module/encoder.bias"],
        &["module/tail"],
        &["module/encoder.weight"],
        &["module/head: F32[3], not F32[9]"],
    );
    let unit = check(|load| part(load).lenient(), wide, Ok(expected));
    assert_eq!(unit.module.0.array("tail").unwrap().to_vec::<f32>().unwrap(), [7.0]);
    let renamed = |load: Load| part(load).rename("encoder.", "backbone.");
    check(renamed, of_encoder, Err("`head` is not known here"));
    let taken: &[&str] = &["module/backbone.bias", "module/backbone.weight"];
    check(|load| renamed(load).lenient(), of_encoder, Ok((taken, &[], &["module/head"], &[])));
    check(|load| load.part("moduel"), all, Err("the unit has no part `moduel`"));
    let twice = |load: Load| part(load).rename("encoder.bias", "head");
    check(twice, all, Err("two arrays are named `head`"));
}

#[test]
fn a_path_without_a_checkpoint_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = load_parts_from(dir.path(), &mut Walk::new(), &["weights"])
        .map_err(|error| format!("{error:#}"))
        .unwrap_err();
    assert_eq!(error, format!("`{}` is no checkpoint, and holds none that is whole", dir.path().display()));
}
