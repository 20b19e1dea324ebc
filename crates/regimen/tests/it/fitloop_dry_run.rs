//! Sanity check and profile.

use std::time::Duration;

use regimen::data::{DataExt, each_epoch};
use regimen::fitloop::{DryRun, Set, max, record};
use regimen::saved::save_parts;
use regimen::timer::Timer;
use regimen_test::Transcript;
use regimen_test::toy::ToyArray;

use crate::fitloop::{Trainer, bare, cause, classifier, loader, trainer};

/// Everything of a run, its records included.
pub(crate) fn everything(trainer: &mut Trainer<'_>) -> impl PartialEq + std::fmt::Debug + use<> {
    let records = Set::ALL.map(|set| trainer.record(set).to_vec());
    let runner = trainer.runner();
    (runner.run().run_state().unwrap(), save_parts(runner.unit_mut()).unwrap(), records)
}

/// The lines of `text` without those of times.
fn timeless(text: &str) -> String {
    text.lines().filter(|line| !line.contains("time:")).collect::<Vec<_>>().join("\n")
}

/// One that records sizes alone.
fn sized<'a>() -> Trainer<'a> {
    trainer().epoch_end(|s| Ok(record! { size: s.size() })).criteria(max("size"))
}

#[test]
fn a_sanity_check_prints_the_records_of_every_epoch_below_a_header_per_loop() {
    let check = sized().sanity_check(DryRun::epochs(2).steps(1)).unwrap();
    assert_eq!(
        timeless(&check.to_string()),
        "RUNNING SANITY CHECK: TRAIN LOOP - 2 EPOCH(s), 1 STEP(s)\n\
         [1/2] - train :: size: 4.0000\n        valid :: size: 4.0000\n\n\
         [2/2] - train :: size: 4.0000\n        valid :: size: 4.0000\n\n\
         -----\n\n\
         RUNNING SANITY CHECK: TEST LOOP - 1 STEP(s)\ntest :: size: 4.0000\n\n-----"
    );
    // After validations too there is no score: it is that of a fit.
    let mut trained = sized();
    trained.fit(1).unwrap();
    assert!(!trained.sanity_check(DryRun::epochs(1).steps(1)).unwrap().to_string().contains("best score"));
    let check = bare().train_data(loader(0, 6)).sanity_check(DryRun::epochs(1)).unwrap();
    let loss = check.train.metric(regimen::auto_unit::TRAIN_LOSS).unwrap();
    assert_eq!(
        timeless(&check.to_string()),
        format!(
            "RUNNING SANITY CHECK: TRAIN LOOP - 1 EPOCH(s), all STEP(s)\n\
             [1/1] - train :: loss: {loss:.4}\n\n-----"
        )
    );
}

#[test]
fn the_test_stages_run_over_the_validation_data_unless_the_test_data_are_asked_for() {
    let sizes = |trainer: Trainer<'_>, length: DryRun| {
        let transcript = Transcript::new();
        let ends = transcript.clone();
        let mut trainer = trainer.epoch_end(move |s| {
            ends.write(format!("{}:{}", s.set().name(), s.size()));
            Ok(record! {})
        });
        trainer.sanity_check(length).unwrap();
        transcript.take()
    };
    let train = || bare().train_data(loader(0, 5));
    let all = || train().valid_data(loader(0, 3)).test_data(loader(0, 2));
    let length = DryRun::epochs(1);
    assert_eq!(sizes(all(), length), "train:5 valid:3 test:3");
    assert_eq!(sizes(all(), length.use_test_data()), "train:5 valid:3 test:2");
    assert_eq!(sizes(train().test_data(loader(0, 2)), length), "train:5 test:2");
    // Without test data there is nothing to check, with and without the option.
    assert_eq!(sizes(train().valid_data(loader(0, 3)), length), "train:5 valid:3");
    assert_eq!(sizes(train().valid_data(loader(0, 3)), length.use_test_data()), "train:5 valid:3");
    assert_eq!(sizes(train(), length.use_test_data()), "train:5");
}

#[test]
fn a_sanity_check_or_a_profile_changes_nothing_also_if_a_stage_fails() {
    let new = || classifier().criteria(max("accuracy"));
    let mut whole = new();
    whole.fit(1).unwrap();
    whole.fit(1).unwrap();
    let mut trainer = new();
    trainer.fit(1).unwrap();
    let before = everything(&mut trainer);
    let best = |trainer: &Trainer<'_>| format!("{trainer}");
    let best_before = best(&trainer);
    trainer.sanity_check(DryRun::epochs(3)).unwrap();
    trainer.profile(DryRun::epochs(3), Timer::new()).unwrap();
    assert_eq!((everything(&mut trainer), best(&trainer)), (before, best_before));
    trainer.fit(1).unwrap();
    assert_eq!(everything(&mut trainer), everything(&mut whole));

    let mut failing = new().epoch_end_on(Set::Test, |_| Err("no test today".into()));
    let before = everything(&mut failing);
    let length = DryRun::epochs(1).steps(1);
    assert_eq!(cause(&failing.sanity_check(length).unwrap_err()), "no test today");
    assert_eq!(cause(&failing.profile(length, Timer::new()).unwrap_err()), "no test today");
    assert_eq!(everything(&mut failing), before);
    let missing = |call| format!("`{call}`: there is no train data; give it with `train_data`");
    assert_eq!(bare().sanity_check(length).unwrap_err().to_string(), missing("sanity_check"));
    assert_eq!(bare().profile(length, Timer::new()).unwrap_err().to_string(), missing("profile"));
}

/// A timer that is a millisecond later at each look.
fn timer() -> Timer {
    let mut looks = 0;
    Timer::with_clock(move || {
        looks += 1;
        Duration::from_millis(looks)
    })
}

#[test]
fn a_profile_has_the_data_of_each_loop_and_the_mean_time_and_count_of_each_part() {
    let profile = sized().profile(DryRun::epochs(2).steps(2), timer()).unwrap();
    assert_eq!(
        profile.to_string(),
        "RUNNING PROFILER: TRAIN LOOP - 2 EPOCH(s), 2 STEP(s)\n  \
         train data :: batches: 6 | batch size: 4 | last batch: 2 | dataset size: 22\n  \
         valid data :: batches: 2 | batch size: 4 | last batch: 2 | dataset size: 6\n\n\
         RUNNING PROFILER: TEST LOOP - 2 STEP(s)\n  \
         valid data :: batches: 2 | batch size: 4 | last batch: 2 | dataset size: 6\n\n\
         AVERAGE TIMES\n\
         1. initialize       1.00ms x1\n\
         2. epoch           29.00ms x2\n\
         3. train           13.00ms x2\n   \
         1. epoch start   1.00ms x2\n   \
         2. fetch         1.00ms x4\n   \
         3. step          1.00ms x4\n   \
         4. epoch end     1.00ms x2\n\
         4. valid           13.00ms x2\n   \
         1. epoch start   1.00ms x2\n   \
         2. fetch         1.00ms x4\n   \
         3. step          1.00ms x4\n   \
         4. epoch end     1.00ms x2\n\
         5. test            13.00ms x1\n   \
         1. epoch start   1.00ms x1\n   \
         2. fetch         1.00ms x2\n   \
         3. step          1.00ms x2\n   \
         4. epoch end     1.00ms x1\n\
         total time:        77.00ms"
    );
    let step = profile.timer().get(&["total", "epoch", "train", "step"]).unwrap();
    assert_eq!((step.count(), step.total()), (4, Duration::from_millis(4)));
}

#[test]
fn a_profile_leaves_out_what_is_not_known_of_the_data() {
    let batches = |_| (0..3).map(|_| (ToyArray::new(&[2, 2], &[0.5; 4]), vec![0, 1]));
    let mut trainer = bare()
        .train_data(each_epoch(batches).count_samples(|(_, labels)| labels.len() as u64))
        .valid_data(loader(0, 9).drop_last());
    let text = trainer.profile(DryRun::epochs(1), timer()).unwrap().to_string();
    let head: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(
        head,
        [
            "RUNNING PROFILER: TRAIN LOOP - 1 EPOCH(s), all STEP(s)",
            "  train data :: batch size: 2",
            "  valid data :: batches: 2 | batch size: 4 | last batch: 4 | dataset size: 9",
        ]
    );
}
