//! Fits that are paused, restarted, or given other weights, and what then follows.

use regimen::State;
use regimen::callback::Event;
use regimen::checkpoint::Checkpointer;
use regimen::data::Rank;
use regimen::engine::{Engine as _, Part};
use regimen::fitloop::{Set, max, record};
use regimen::run::{Ended, Evaluate, Train};
use regimen::saved::save_parts;
use regimen::state::{EntryPoint, HyperParameters};

use crate::fitloop::{Trainer, Unit, bare, classifier, loader, module, scored, trainer, weights_after};

/// Pauses the fit after the `n`-th step of its validations.
fn pause_in_validation(trainer: Trainer<'static>, n: u64) -> Trainer<'static> {
    trainer.on(Event::EvalStepEnd, move |state: &mut State, _: &mut Unit| {
        if state.entry_point() == EntryPoint::Fit && state.eval_progress().steps == n {
            state.pause("stop");
        }
    })
}

#[test]
fn a_fit_paused_in_its_very_last_step_ends_in_the_next_call_with_the_best_weights() {
    let folder = tempfile::tempdir().unwrap();
    for restarts in [false, true] {
        let saver = || Checkpointer::new(folder.path().join(restarts.to_string()));
        let new = || pause_in_validation(scored(&[3.0, 1.0, 2.0]), 4).criteria(max("score")).saver(saver());
        let mut trainer = new();
        assert_eq!(trainer.fit(2).unwrap().ended, Ended::Paused("stop".into()));
        assert_eq!(module(&mut trainer), weights_after(2));
        if restarts {
            drop(trainer);
            trainer = new();
            trainer.restore_latest().unwrap().unwrap();
            assert_eq!(module(&mut trainer), weights_after(2));
        }
        let report = trainer.fit(4).unwrap();
        assert_eq!((report.train.epochs, report.ended), (2, Ended::Complete), "restarts: {restarts}");
        assert_eq!(module(&mut trainer), weights_after(1));
        assert_eq!(trainer.fit(1).unwrap().train.epochs, 3);
    }
}

#[test]
fn a_fit_after_a_restart_is_that_of_one_process_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    for loads_best in [false, true] {
        let new = |dir: &str| {
            let score = |epoch: u64| [3.0, 1.0, 4.0, 2.0][epoch as usize - 1];
            trainer()
                .epoch_end_on(Set::Valid, move |s| Ok(record! { score: score(s.epoch()) }))
                .criteria(max("score"))
                .load_best(loads_best)
                .saver(Checkpointer::new(folder.path().join(format!("{dir} {loads_best}"))))
        };
        let state = |trainer: &mut Trainer<'_>| {
            let runner = trainer.runner();
            (runner.run().run_state().unwrap(), save_parts(runner.unit_mut()).unwrap())
        };
        let mut whole = new("whole");
        whole.fit(2).unwrap();
        let first = state(&mut whole);
        whole.fit(2).unwrap();
        new("parts").fit(2).unwrap();
        let mut restarted = new("parts");
        restarted.restore_latest().unwrap().unwrap();
        assert_eq!(state(&mut restarted), first, "load_best: {loads_best}");
        restarted.fit(2).unwrap();
        assert_eq!(state(&mut restarted), state(&mut whole), "load_best: {loads_best}");
    }
}

#[test]
fn an_evaluation_by_hand_leaves_a_paused_validation_as_it_is() {
    let mut whole = classifier();
    whole.fit(2).unwrap();
    for pause in [1, 2, 3] {
        let mut trainer = pause_in_validation(classifier(), pause);
        trainer.fit(2).unwrap();
        let records = |trainer: &Trainer<'_>| Set::ALL.map(|set| trainer.record(set).to_vec());
        let before = records(&trainer);
        trainer.runner().evaluate(&loader(0, 9), Evaluate::whole()).unwrap();
        assert_eq!(records(&trainer), before, "paused after step {pause}");
        trainer.fit(2).unwrap();
        assert_eq!(records(&trainer), records(&whole), "paused after step {pause}");
        assert_eq!(format!("{:?}", trainer.history()), format!("{:?}", whole.history()));
    }
}

#[test]
fn a_paused_validation_starts_over_with_other_weights() {
    let folder = tempfile::tempdir().unwrap();
    classifier().folder(folder.path()).save_model("start").unwrap();
    for call in ["load_model", "load_best_weights"] {
        let mut trainer =
            pause_in_validation(classifier(), 3).criteria(max("accuracy")).folder(folder.path());
        trainer.fit(2).unwrap();
        match call {
            "load_model" => trainer.load_model("start").unwrap(),
            _ => assert!(trainer.load_best_weights().unwrap()),
        }
        let report = trainer.fit(2).unwrap();
        let notice = "the eval pass begun after 12 steps of training starts over: the weights have changed";
        assert_eq!((&report.notices[..], report.eval.steps), (&[notice.to_owned()][..], 5), "{call}");
    }
}

#[test]
fn a_validation_that_is_due_is_dropped_if_its_data_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let saved = |trainer: Trainer<'static>| trainer.saver(Checkpointer::new(folder.path().join("run")));
    let train = || bare().train_data(loader(0, 22).shuffle());
    saved(pause_in_validation(train().valid_data(loader(22, 28)), 1)).fit(2).unwrap();
    let mut without = saved(train());
    without.restore_latest().unwrap().unwrap();
    let report = without.fit(2).unwrap();
    assert_eq!((report.train.epochs, report.eval.epochs), (2, 0));
    // With a runner of its own.
    let mut trainer = pause_in_validation(trainer(), 1);
    trainer.fit(2).unwrap();
    let report = trainer.runner().train(&loader(0, 22), Train::epochs(3)).unwrap();
    assert_eq!((report.train.epochs, report.eval.epochs), (3, 0));
}

#[test]
fn a_checkpoint_at_a_path_is_restored_as_the_latest_is_and_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let new = || {
        scored(&[3.0, 1.0, 2.0])
            .criteria(max("score"))
            .keep_initial()
            .hyper_parameters(HyperParameters::new().with("width", 6))
            .rank(Rank { index: 0, count: 1 })
            .saver(Checkpointer::new(folder.path().join("run")))
    };
    let mut first = new();
    let (start, report) = (module(&mut first), first.fit(2).unwrap());
    let mut second = new();
    second.restore_path(report.saved.unwrap()).unwrap();
    assert_eq!(second.state().train_progress().epochs, 2);
    assert_eq!(second.unit().engine().state(Part::Module).unwrap(), weights_after(1));
    second.reset().unwrap();
    assert_eq!(module(&mut second), start);
}
