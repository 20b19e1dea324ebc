//! States and models by name, and the state at the start.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use regimen::checkpoint::safetensors;
use regimen::data::Loader;
use regimen::engine::{Engine as _, Part};
use regimen::fitloop::{FitLoop, Set, max, min};
use regimen::saved::{StateDict, Stateful, load_parts, save_parts};
use regimen::{BoxError, Callback};
use regimen_test::toy::{ToyArray, ToyEngine, ToyMlp, ToyOptimizer, ToyVars};

use crate::fitloop::{Labels, Trainer, Unit, cause, classifier, module};
use crate::fitloop_dry_run::everything;

fn optimizer(trainer: &mut Trainer<'_>) -> StateDict {
    trainer.runner().unit().engine().state(Part::Optimizer).unwrap()
}

/// One whose folder is `folder` and that has trained `epochs` epochs.
fn trained<'a>(folder: &Path, epochs: u64) -> Trainer<'a> {
    let mut trainer = classifier().criteria(min("loss")).folder(folder);
    trainer.fit(epochs).unwrap();
    trainer
}

#[test]
fn a_loop_goes_on_from_a_state_by_name_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("not/there/yet");
    let mut whole = trained(&folder, 2);
    assert_eq!(whole.save("two").unwrap(), folder.join("two"));
    let best = format!("{whole}");
    whole.fit(1).unwrap();

    let mut other = trained(&folder, 1);
    other.load("two").unwrap();
    assert_eq!(format!("{other}"), best);
    assert_eq!(other.record(Set::Valid).len(), 2);
    other.fit(1).unwrap();
    assert_eq!(everything(&mut other), everything(&mut whole));
}

#[test]
fn a_name_that_is_taken_is_refused_unless_overwrite_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = trained(folder.path(), 1);
    trainer.save("a").unwrap();
    trainer.save_model("a").unwrap();
    let (state, weights) = (everything(&mut trainer), module(&mut trainer));
    let mut later = classifier().criteria(min("loss")).folder(folder.path()).load_best(false);
    later.fit(3).unwrap();
    let taken = |call| {
        let folder = folder.path().display();
        format!("`{call}`: there is a `a` in `{folder}` already; give another name, or set `overwrite(true)`")
    };
    assert_eq!(cause(&later.save("a").unwrap_err()), taken("save"));
    assert_eq!(cause(&later.save_model("a").unwrap_err()), taken("save_model"));
    // Nothing was written.
    trainer.fit(1).unwrap();
    trainer.load("a").unwrap();
    assert_eq!(everything(&mut trainer), state);
    trainer.load_model("a").unwrap();
    assert_eq!(module(&mut trainer), weights);

    let mut later = later.overwrite(true);
    later.save("a").unwrap();
    later.save_model("a").unwrap();
    trainer.load("a").unwrap();
    assert_eq!(everything(&mut trainer), everything(&mut later));
    // One state is left, and no half of a file.
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "a.safetensors"]);
    let steps = std::fs::read_dir(folder.path().join("a")).unwrap();
    let steps =
        steps.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("step-"));
    assert_eq!(steps.count(), 1);
}

#[test]
fn overwrite_is_for_saves_and_every_load_loads() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), 1).save("a").unwrap();
    trained(folder.path(), 1).save_model("a").unwrap();
    for overwrites in [false, true] {
        let mut trainer = trained(folder.path(), 2).overwrite(overwrites);
        trainer.load("a").unwrap();
        assert_eq!(trainer.runner().state().train_progress().epochs, 1);
        trainer.load_model("a").unwrap();
    }
}

#[test]
fn a_model_is_a_file_of_weights_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = trained(folder.path(), 1);
    let file = trainer.save_model("first").unwrap();
    assert_eq!(file, folder.path().join("first.safetensors"));
    let weights = module(&mut trainer);
    assert_eq!(safetensors::load_file(&file).unwrap(), weights);
    // By the reader that Python's package is.
    let bytes = std::fs::read(&file).unwrap();
    let read = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = read.names();
    names.sort();
    assert_eq!(names, weights.iter().map(|(name, _)| name).collect::<Vec<_>>());

    let mut other = trained(folder.path(), 3);
    let before = (optimizer(&mut other), other.runner().state().train_progress());
    other.load_model("first").unwrap();
    assert_eq!(module(&mut other), weights);
    assert_eq!((optimizer(&mut other), other.runner().state().train_progress()), before);
}

#[test]
fn a_name_that_is_not_there_is_an_error_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = classifier().folder(folder.path().join("new"));
    let errors = |trainer: &mut Trainer<'_>, name: &str| {
        [trainer.load(name), trainer.load_model(name), trainer.delete(name)]
            .map(|result| cause(&result.unwrap_err()))
    };
    let shown = folder.path().join("new").display().to_string();
    let none = |call| format!("`{call}`: there is no `c` in `{shown}`, and no other");
    assert_eq!(errors(&mut trainer, "c"), ["load", "load_model", "delete"].map(none));
    assert!(!folder.path().join("new").exists());
    for name in ["b", "a"] {
        trainer.save(name).unwrap();
    }
    trainer.save_model("m").unwrap();
    let there = |(call, names)| format!("`{call}`: there is no `c` in `{shown}`; there are {names}");
    let expected = [("load", "`a`, `b`"), ("load_model", "`m`"), ("delete", "`a`, `b`, `m`")].map(there);
    assert_eq!(errors(&mut trainer, "c"), expected);
    trainer.save("m").unwrap();
    trainer.delete("m").unwrap();
    trainer.delete("b").unwrap();
    assert_eq!(errors(&mut trainer, "c")[2], there(("delete", "`a`")));

    for name in ["", ".", "..", "../a", "a/b", "/a", "a\\b", "c:a", ".a", "a/"] {
        let refused =
            |call| format!("`{call}`: `{name}` cannot be a name in a folder; give a plain one, as `first`");
        assert_eq!(errors(&mut trainer, name), ["load", "load_model", "delete"].map(refused), "{name}");
        assert_eq!(cause(&trainer.save(name).unwrap_err()), refused("save"));
        assert_eq!(cause(&trainer.save_model(name).unwrap_err()), refused("save_model"));
    }
}

#[test]
fn a_load_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut vars = ToyVars::new();
    let wide = ToyMlp::plain(&mut vars, [2, 9, 3]);
    let mut wide: Trainer<'_> = FitLoop::new(
        ToyEngine::new(vars, wide, ToyOptimizer::adam_w(0.01)),
        |net: &ToyMlp, x: &ToyArray| net.forward(x),
        |logits: &ToyArray, labels: &Labels| logits.cross_entropy(labels),
    )
    .train_data(Loader::<(ToyArray, Labels)>::collate(vec![0_usize], |_| Err("never read".into())))
    .folder(folder.path());
    wide.save("wide").unwrap();
    wide.save_model("wide").unwrap();
    let mut trainer = trained(folder.path(), 2);
    let before = everything(&mut trainer);
    for failed in [trainer.load("wide"), trainer.load_model("wide")] {
        let text = cause(&failed.unwrap_err());
        assert!(text.contains("hidden.bias") || text.contains("centre"), "{text}");
    }
    assert_eq!(everything(&mut trainer), before);
}

#[test]
fn a_reset_puts_everything_back_as_it_was_at_the_start() {
    let new = || classifier().criteria(max("accuracy")).keep_initial();
    let mut trainer = new();
    let (start, shown) = (everything(&mut trainer), format!("{trainer}"));
    trainer.reset().unwrap();
    trainer.fit(2).unwrap();
    trainer.test().unwrap();
    let first = everything(&mut trainer);
    assert_ne!(first, start);
    trainer.reset().unwrap();
    assert_eq!((everything(&mut trainer), format!("{trainer}")), (start, shown));
    assert_eq!(trainer.fit(2).unwrap().notices, [""; 0]);
    trainer.test().unwrap();
    assert_eq!(everything(&mut trainer), first);
    assert_eq!(
        cause(&classifier().reset().unwrap_err()),
        "`reset`: the state at the start was not kept; ask for it with `keep_initial()`"
    );
    // A load is no start.
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), 2).save("two").unwrap();
    let mut loaded = classifier().criteria(min("loss")).folder(folder.path()).keep_initial();
    let start = everything(&mut loaded);
    loaded.load("two").unwrap();
    loaded.reset().unwrap();
    assert_eq!(everything(&mut loaded), start);
}

/// Keeps a number, and no longer takes it back once `refuses` is set.
struct Refusing {
    refuses: Arc<AtomicBool>,
}

impl Callback<Unit> for Refusing {
    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl Stateful for Refusing {
    fn state_dict(&self) -> Result<StateDict, BoxError> {
        let mut dict = StateDict::new();
        dict.insert("number", 1_u64)?;
        Ok(dict)
    }

    fn load_state_dict(&mut self, dict: &StateDict) -> Result<(), BoxError> {
        self.check_state_dict(dict)
    }

    fn check_state_dict(&self, _: &StateDict) -> Result<(), BoxError> {
        if self.refuses.load(Ordering::Relaxed) { Err("not again".into()) } else { Ok(()) }
    }
}

#[test]
fn a_reset_that_fails_changes_nothing() {
    let refuses = Arc::new(AtomicBool::new(false));
    let callback = Refusing { refuses: Arc::clone(&refuses) };
    let mut trainer = classifier().keep_initial().callback(callback);
    trainer.fit(1).unwrap();
    let before = everything(&mut trainer);
    refuses.store(true, Ordering::Relaxed);
    let error = trainer.reset().unwrap_err();
    assert!(cause(&error).contains("not again"), "{error:#}");
    assert_eq!(everything(&mut trainer), before);
}

#[test]
fn a_model_that_cannot_be_put_in_its_place_leaves_no_half_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("a.safetensors");
    std::fs::create_dir_all(place.join("a folder")).unwrap();
    let mut trainer = classifier().folder(folder.path()).overwrite(true);
    trainer.save_model("a").unwrap_err();
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["a.safetensors"]);
}

#[test]
fn a_state_whose_records_cannot_be_read_changes_nothing() {
    let saved = save_parts(classifier().runner().unit_mut()).unwrap();
    let mut trainer = classifier();
    trainer.fit(1).unwrap();
    let before = everything(&mut trainer);
    let load = |trainer: &mut Trainer<'_>, change: &dyn Fn(&mut StateDict)| {
        let mut saved = saved.clone();
        change(saved.get_mut("task").unwrap());
        load_parts(trainer.runner().unit_mut(), &saved)
    };
    for name in ["goal", "train.samples", "valid.record", "history.values"] {
        load(&mut trainer, &|task| drop(task.remove(name).unwrap())).unwrap_err();
        assert_eq!(everything(&mut trainer), before, "{name}");
    }
    load(&mut trainer, &|_| ()).unwrap();
}
