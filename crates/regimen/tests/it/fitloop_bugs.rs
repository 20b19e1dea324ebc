//! Mistakes of the loop that `FitLoop` takes over, each of which it must not make, and what is printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regimen::callback::{Event, ProgressBar};
use regimen::fitloop::{FitTable, Set, max, min, record};
use regimen::{Fit, State};
use regimen_test::Transcript;

use crate::fitloop::{
    Printed, Trainer, Unit, bare, classifier, differing, engine, loader, module, right, scored, trainer,
    weights_after,
};

#[test]
fn criteria_are_those_that_were_given_with_default_stages_too() {
    let share = |logits: &_, labels: &Vec<usize>| right(logits, labels) / labels.len() as f64;
    let mut trainer = trainer().metric("accuracy", share).criteria(min("loss"));
    let report = trainer.fit(3).unwrap();
    let best = &report.bests[0];
    assert_eq!((report.bests.len(), best.key.name()), (1, "eval/loss"));
    let losses: Vec<f64> = report.epochs.iter().filter_map(|epoch| epoch.metric(&best.key)).collect();
    assert_eq!((losses.len(), best.value), (3, losses.iter().copied().fold(f64::INFINITY, f64::min)));
}

#[test]
fn an_error_in_a_stage_does_not_spoil_the_next_fit() {
    for failing_step in [0, 4, 8, 13] {
        let calls = Arc::new(AtomicU64::new(0));
        let new = |fails: bool| {
            let calls = Arc::clone(&calls);
            classifier().criteria(max("accuracy")).step(move |s| {
                if fails && calls.fetch_add(1, Ordering::Relaxed) == failing_step {
                    return Err("once".into());
                }
                let output = s.output();
                let right = right(&output, &s.batch().1);
                Ok((s.loss(&output)?, record! { running_right: right }))
            })
        };
        let mut whole = new(false);
        whole.fit(2).unwrap();
        let mut trainer = new(true);
        trainer.fit(2).unwrap_err();
        // It goes on, and no value of the step that failed is counted.
        trainer.fit(2).unwrap();
        let records =
            |trainer: &Trainer<'_>| [Set::Train, Set::Valid].map(|set| trainer.record(set).to_vec());
        assert_eq!(records(&trainer), records(&whole), "step {failing_step}");
        assert_eq!(module(&mut trainer), module(&mut whole), "step {failing_step}");
        let progress = |trainer: &mut Trainer<'_>| trainer.runner().state().train_progress();
        assert_eq!(progress(&mut trainer), progress(&mut whole), "step {failing_step}");
    }
}

#[test]
fn a_test_leaves_the_best_weights_of_a_fit_that_did_not_load_them() {
    let mut trainer = scored(&[3.0, 1.0]).criteria(max("score")).load_best(false);
    trainer.fit(2).unwrap();
    trainer.test().unwrap();
    assert_eq!(module(&mut trainer), weights_after(2));
    assert!(trainer.load_best_weights().unwrap());
    assert_eq!(module(&mut trainer), weights_after(1));
}

#[test]
fn values_are_divided_by_the_samples_that_were_seen_and_the_size_of_the_data_is_there_too() {
    let data = || loader(0, 11).drop_last();
    let always = |_: &_, _: &Vec<usize>| 1.0;
    let mut by_default = bare().train_data(data()).metric("accuracy", always);
    by_default.fit(1).unwrap();
    assert_eq!(by_default.record(Set::Train)[1], ("accuracy".to_owned(), 1.0));
    let mut trainer = bare()
        .train_data(data())
        .epoch_end(|s| Ok(record! { seen: s.size(), all: s.dataset_size().ok_or("unknown")? }));
    trainer.fit(1).unwrap();
    assert_eq!(trainer.record(Set::Train), [("seen".to_owned(), 8.0), ("all".to_owned(), 11.0)]);
}

#[test]
fn a_schedule_steps_after_every_batch() {
    let mut trainer = bare()
        .train_data(loader(0, 12))
        .learning_rate(|updates: u64| 0.5_f64.powi(i32::try_from(updates).unwrap_or(i32::MAX)));
    trainer.fit(1).unwrap();
    assert_eq!(trainer.groups()[0].rate, 0.125);
}

#[test]
fn closures_before_and_after_the_loop_are_called_once_per_fit() {
    let transcript = Transcript::new();
    let [before, after] = [(); 2].map(|()| transcript.clone());
    let mut trainer = trainer()
        .on(Event::TrainStart, move |state: &mut State, _: &mut Unit| {
            before.write(format!("before:{}", state.train_progress().epochs));
        })
        .on(Event::TrainEnd, move |state: &mut State, _: &mut Unit| {
            after.write(format!("after:{}", state.train_progress().epochs));
        });
    trainer.fit(2).unwrap();
    trainer.test().unwrap();
    trainer.fit(1).unwrap();
    transcript.assert_reads("before:0 after:2 before:2 after:3");
}

#[test]
fn it_shows_its_epochs_and_its_best_score() {
    let shown = |trainer: &Trainer<'_>| format!("{trainer}");
    assert_eq!(shown(&bare()), "FitLoop :: epochs: 0");
    assert!(format!("{:?}", bare()).starts_with("FitLoop { runner: Runner { run: Run {"));
    assert_eq!(shown(&trainer().criteria(max("accuracy"))), "FitLoop :: epochs: 0 accuracy: -inf");
    assert_eq!(shown(&trainer().criteria(min("loss"))), "FitLoop :: epochs: 0 loss: inf");
    let mut trainer = scored(&[0.25, 0.875]).criteria(max("score"));
    trainer.fit(2).unwrap();
    assert_eq!(shown(&trainer), "FitLoop :: epochs: 2 score: 0.8750");
}

#[test]
fn a_best_score_is_printed_with_criteria_and_validation_alone() {
    let last = |trainer: Trainer<'static>| {
        let printed = Printed::default();
        let table = FitTable::to(printed.clone()).every(0).clock(|| Duration::ZERO);
        let mut trainer = trainer.callback(table);
        trainer.fit(1).unwrap();
        printed.take()
    };
    let total = "-----\ntotal time: 00 s 000 ms\n";
    assert_eq!(last(scored(&[0.5])), total);
    assert_eq!(last(scored(&[0.5]).criteria(max("score"))), format!("{total}best score: 0.5000\n"));
    // NaN is no score.
    assert_eq!(last(scored(&[f64::NAN]).criteria(max("score"))), format!("{total}best score: -inf\n"));
    assert_eq!(last(bare().train_data(loader(0, 4)).criteria(max("score"))), total);
    // Another rule that reports a best is not taken for the criteria.
    let stopping = regimen::callback::EarlyStopping::min(regimen::auto_unit::EVAL_LOSS, 9);
    let both = scored(&[0.5]).callback(stopping).criteria(max("score"));
    assert_eq!(last(both), format!("{total}best score: 0.5000\n"));
}

#[test]
fn a_table_and_a_progress_bar_do_not_tear_each_other_apart() {
    let printed = Printed::default();
    let bar = ProgressBar::to(printed.clone()).refresh(Duration::ZERO);
    let table = FitTable::to(bar.printer()).only(["score"]).clock(|| Duration::ZERO);
    let mut trainer = scored(&[0.5, 0.25]).criteria(max("score")).callback(bar).callback(table);
    trainer.fit(2).unwrap();
    // Of a line of the bar only its beginning is the same every time.
    let text = printed.take();
    let lines: Vec<&str> = text.lines().map(|line| line.split([':', ',']).next().unwrap_or(line)).collect();
    let bars = ["train epoch", "eval epoch"];
    let mut others: Vec<&str> =
        lines.iter().copied().filter(|line| !bars.iter().any(|bar| line.starts_with(bar))).collect();
    let report = others.iter().position(|line| line.starts_with("training complete")).unwrap();
    others.truncate(report);
    let block = |epoch: &'static str| [epoch, "        valid ", "        epoch time", ""];
    assert_eq!(others, [block("[1/2] - train "), block("[2/2] - train ")].concat());
    // The block of an epoch comes after the bars of its training and validation.
    let at = |start: &str| lines.iter().position(|line| line.starts_with(start)).unwrap();
    assert!(at("train epoch 1/2") < at("eval epoch") && at("eval epoch") < at("[1/2]"));
    assert!(at("[1/2]") < at("train epoch 2/2") && at("train epoch 2/2") < at("[2/2]"));
    assert!(text.ends_with("total time: 00 s 000 ms\nbest score: 0.5000\n"), "{text}");
}

#[test]
fn a_step_by_hand_trains_in_a_runner() {
    use regimen::runner::Runner;
    use regimen::unit::{EvalUnit, TrainUnit};

    /// Does all that `FitLoop` does for a stage: mode, gradients, update.
    struct ByHand(crate::fitloop::Engine);
    impl ByHand {
        fn loss(&mut self, mode: regimen::engine::Mode, batch: &Batch) -> regimen_test::toy::ToyArray {
            use regimen::engine::Engine as _;
            self.0.with_module(mode, |net| net.forward(&batch.0).cross_entropy(&batch.1))
        }
    }
    type Batch = (regimen_test::toy::ToyArray, Vec<usize>);
    impl TrainUnit for ByHand {
        type Batch = Batch;
        fn train_step(&mut self, state: &mut State, batch: Batch) -> Result<(), regimen::BoxError> {
            use regimen::engine::{Engine as _, Mode};
            self.0.seed(state.step_seed());
            let loss = self.loss(Mode::Train, &batch);
            self.0.backward(&loss, None)?;
            self.0.step(&[0.02])?;
            state.count_update();
            Ok(())
        }
    }
    impl EvalUnit for ByHand {
        type Batch = Batch;
        fn eval_step(&mut self, state: &mut State, batch: Batch) -> Result<(), regimen::BoxError> {
            let loss = self.loss(regimen::engine::Mode::Eval, &batch);
            state.log(regimen::metric::Key::mean("eval/loss"), loss.values()[0], batch.1.len() as f64);
            Ok(())
        }
    }
    let mut by_hand = Runner::of(ByHand(engine())).seed(3);
    let report = by_hand.fit(&loader(0, 12), &loader(12, 16), Fit::epochs(2)).unwrap();
    assert_eq!(report.train.updates, 6);
    let mut trainer = bare().train_data(loader(0, 12)).valid_data(loader(12, 16));
    trainer.fit(2).unwrap();
    let state = {
        use regimen::engine::{Engine as _, Part};
        by_hand.unit().0.state(Part::Module).unwrap()
    };
    assert_eq!(differing(&state, &module(&mut trainer)), [""; 0]);
}
