//! Early stopping: known traces, a second implementation of the rule, resumes, and bad settings.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use regimen::callback::{EarlyStopping, Event, Every};
use regimen::metric::Key;
use regimen::random::Random;
use regimen::run::{Ended, Evaluate, Train};
use regimen::state::{Phase, Progress};
use regimen::unit::{EvalUnit, TrainUnit};
use regimen::{BoxError, Fit, Run, State};

const LOSS: Key = Key::mean("loss");

/// Logs the n-th of `values` in the n-th epoch, in training and in evaluation; `None` logs nothing.
struct Trace {
    values: Vec<Option<f64>>,
}

impl Trace {
    fn new(values: &[f64]) -> Self {
        Trace { values: values.iter().copied().map(Some).collect() }
    }

    fn log(&self, state: &mut State) {
        let epoch = state.progress().epochs as usize;
        if let Some(value) = self.values[epoch.min(self.values.len() - 1)] {
            state.log(LOSS, value, 1.0);
        }
    }
}

impl TrainUnit for Trace {
    type Batch = ();
    fn train_step(&mut self, state: &mut State, (): ()) -> Result<(), BoxError> {
        self.log(state);
        Ok(())
    }
}

impl EvalUnit for Trace {
    type Batch = ();
    fn eval_step(&mut self, state: &mut State, (): ()) -> Result<(), BoxError> {
        self.log(state);
        Ok(())
    }
}

/// Fits up to one epoch per value, and returns the check at which it stopped, and the reason.
fn stopped(mut unit: Trace, rule: EarlyStopping) -> Option<(u64, String)> {
    let epochs = unit.values.len() as u64;
    let report = Run::new(&mut unit).callback(rule).fit(&[()], &[()], Fit::epochs(epochs)).unwrap();
    match report.ended {
        Ended::Finished(reason) => Some((report.eval.epochs, reason)),
        _ => None,
    }
}

fn check(values: &[f64], rule: EarlyStopping, expected: Option<(u64, &str)>) {
    let found = stopped(Trace::new(values), rule.clone());
    let found = found.as_ref().map(|(epoch, reason)| (*epoch, reason.as_str()));
    assert_eq!(found, expected, "{values:?} with {rule:?}");
}

#[test]
fn stops_after_as_many_checks_without_improvement_as_the_patience_says() {
    let waited =
        |n: u64, best: &str| format!("early stopping: loss has not improved on {best} in {n} checks");
    check(&[3.0, 2.0, 1.0], EarlyStopping::min(LOSS, 1), None);
    check(
        &[3.0, 2.0, 2.0, 1.0],
        EarlyStopping::min(LOSS, 1),
        Some((3, "early stopping: loss has not improved on 2 in 1 check")),
    );
    check(&[1.0, 1.0, 1.0, 1.0], EarlyStopping::min(LOSS, 2), Some((3, &waited(2, "1"))));
    check(&[1.0, 2.0, 0.5, 2.0, 2.0], EarlyStopping::min(LOSS, 2), Some((5, &waited(2, "0.5"))));
    check(&[0.1, 0.2, 0.2, 0.3, 0.3, 0.3], EarlyStopping::max(LOSS, 2), Some((6, &waited(2, "0.3"))));
}

#[test]
fn zero_and_negative_numbers_are_values_like_others() {
    check(&[1.0, 0.0, -1.0, -2.0], EarlyStopping::min(LOSS, 1), None);
    check(
        &[0.0, 0.5, 0.5],
        EarlyStopping::min(LOSS, 2),
        Some((3, "early stopping: loss has not improved on 0 in 2 checks")),
    );
    check(
        &[0.0, 1.0],
        EarlyStopping::min(LOSS, 1).stop_at(0.0),
        Some((1, "early stopping: loss reached 0, the aim was 0")),
    );
    // From -10, -9.5 is worse and -10.5 too small a change, for either sign of the best.
    let relative = || EarlyStopping::min(LOSS, 1).min_delta_relative(0.1);
    let not_improved = "early stopping: loss has not improved on -10 in 1 check";
    check(&[-10.0, -9.5], relative(), Some((2, not_improved)));
    check(&[-10.0, -10.5], relative(), Some((2, not_improved)));
    check(&[-10.0, -11.5], relative(), None);
}

#[test]
fn a_change_smaller_than_the_minimum_is_no_improvement() {
    check(
        &[1.0, 0.9, 0.8, 0.7],
        EarlyStopping::min(LOSS, 2).min_delta(0.25),
        Some((3, "early stopping: loss has not improved on 1 in 2 checks")),
    );
    check(&[1.0, 0.9, 0.7, 0.6], EarlyStopping::min(LOSS, 2).min_delta(0.25), None);
    check(
        &[1.0, 1.05, 1.5],
        EarlyStopping::max(LOSS, 1).min_delta_relative(0.1),
        Some((2, "early stopping: loss has not improved on 1 in 1 check")),
    );
}

#[test]
fn thresholds_stop_at_once_but_not_in_the_warm_up() {
    let rule = || EarlyStopping::max(LOSS, 9).stop_at(0.9).diverge_past(0.1);
    check(&[0.5, 0.89, 0.9], rule(), Some((3, "early stopping: loss reached 0.9, the aim was 0.9")));
    check(&[0.5, 0.1, 0.05], rule(), Some((3, "early stopping: loss diverged to 0.05, past 0.1")));
    check(
        &[0.95, 0.05, 0.5, 0.95],
        rule().warm_up(2),
        Some((4, "early stopping: loss reached 0.95, the aim was 0.9")),
    );
    check(
        &[0.1, 5.0, 5.0],
        EarlyStopping::min(LOSS, 1).warm_up(1),
        Some((3, "early stopping: loss has not improved on 5 in 1 check")),
    );
}

#[test]
fn what_is_not_finite_stops_unless_that_is_off() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    check(&[1.0, nan], EarlyStopping::min(LOSS, 9), Some((2, "early stopping: loss is NaN")));
    check(&[-inf, 1.0], EarlyStopping::min(LOSS, 9), Some((1, "early stopping: loss is -inf")));
    let off = || EarlyStopping::min(LOSS, 2).check_finite(false);
    check(&[nan, 1.0, nan, 0.5], off(), None);
    check(&[nan, nan], off(), Some((2, "early stopping: loss has not improved on NaN in 2 checks")));
    // An infinite best gives no relative change to ask for.
    check(&[inf, 5.0, 3.0], off().min_delta_relative(0.1), None);
}

/// The rule over the whole trace at once: the first check at which it stops, from 1.
struct Rule {
    values: Vec<f64>,
    max: bool,
    patience: usize,
    delta: f64,
    relative: bool,
    warm_up: usize,
    aim: Option<f64>,
    limit: Option<f64>,
    check_finite: bool,
}

impl Rule {
    fn random(random: &mut Random) -> Self {
        const VALUES: [f64; 12] =
            [-4.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.25, 2.0, 3.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let one = |random: &mut Random, n: u64| VALUES[random.below(n) as usize];
        let some = |random: &mut Random| (random.below(4) == 0).then(|| one(random, 9));
        let kinds = if random.below(2) == 0 { 9 } else { 12 };
        Rule {
            values: (0..8).map(|_| one(random, kinds)).collect(),
            max: random.below(2) == 0,
            patience: 1 + random.below(4) as usize,
            delta: [0.0, 0.25, 1.0][random.below(3) as usize],
            relative: random.below(2) == 0,
            warm_up: random.below(3) as usize,
            aim: some(random),
            limit: some(random),
            check_finite: random.below(2) == 0,
        }
    }

    fn callback(&self) -> EarlyStopping {
        let patience = self.patience as u64;
        let rule = match self.max {
            true => EarlyStopping::max(LOSS, patience),
            false => EarlyStopping::min(LOSS, patience),
        };
        let rule = rule.warm_up(self.warm_up as u64).check_finite(self.check_finite);
        let rule = match self.relative {
            true => rule.min_delta_relative(self.delta),
            false => rule.min_delta(self.delta),
        };
        let rule = self.aim.map_or(rule.clone(), |aim| rule.stop_at(aim));
        self.limit.map_or(rule.clone(), |limit| rule.diverge_past(limit))
    }

    /// Negated if larger is better, so that smaller always is.
    fn turned(&self, value: f64) -> f64 {
        if self.max { -value } else { value }
    }

    /// The last improvement up to check `end`, counted from the first judged check.
    fn last_improvement(&self, judged: &[f64]) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (i, value) in judged.iter().map(|&value| self.turned(value)).enumerate() {
            let needed = match best {
                None => f64::INFINITY,
                Some((_, best)) if self.relative && best.is_infinite() => best,
                Some((_, best)) if self.relative => best - self.delta * best.abs(),
                Some((_, best)) => best - self.delta,
            };
            if value < needed || (best.is_none() && value == f64::INFINITY) {
                best = Some((i, value));
            }
        }
        best.map(|(i, _)| i)
    }

    fn stops_at(&self) -> Option<u64> {
        let stops = |&end: &usize| {
            let judged = &self.values[self.warm_up..end];
            let value = judged[judged.len() - 1];
            let waited = match self.last_improvement(judged) {
                Some(i) => judged.len() - 1 - i,
                None => judged.len(),
            };
            (self.check_finite && !value.is_finite())
                || self.aim.is_some_and(|aim| self.turned(value) <= self.turned(aim))
                || self.limit.is_some_and(|limit| self.turned(value) > self.turned(limit))
                || waited >= self.patience
        };
        (self.warm_up + 1..=self.values.len()).find(stops).map(|end| end as u64)
    }
}

#[test]
fn agrees_with_a_second_implementation_that_sees_the_whole_trace() {
    let mut random = Random::new(1);
    let mut stops = 0;
    for _ in 0..3_000 {
        let rule = Rule::random(&mut random);
        let found = stopped(Trace::new(&rule.values), rule.callback()).map(|(check, _)| check);
        assert_eq!(found, rule.stops_at(), "{:?} {:?}", rule.values, rule.callback());
        stops += u64::from(found.is_some());
    }
    assert!((500..2_900).contains(&stops), "the traces say little: {stops} of 3000 stop");
}

#[test]
fn a_restored_run_stops_where_it_would_have() {
    let mut random = Random::new(2);
    for _ in 0..300 {
        let rule = Rule::random(&mut random);
        let whole = stopped(Trace::new(&rule.values), rule.callback());
        let pause = random.below(rule.values.len() as u64);
        let mut unit = Trace::new(&rule.values);
        let mut run = Run::new(&mut unit).callback(rule.callback());
        run.fit(&[()], &[()], Fit::epochs(pause)).unwrap();
        let saved = run.run_state().unwrap();
        let mut unit = Trace::new(&rule.values);
        let mut run = Run::new(&mut unit).callback(rule.callback());
        run.load_run_state(&saved).unwrap();
        let report = run.fit(&[()], &[()], Fit::epochs(rule.values.len() as u64)).unwrap();
        let resumed = match report.ended {
            Ended::Finished(reason) => Some((report.eval.epochs, reason)),
            _ => None,
        };
        assert_eq!(resumed, whole, "paused after {pause}: {:?} {:?}", rule.values, rule.callback());
    }
}

#[test]
fn a_run_that_goes_on_all_the_same_is_given_as_long_again() {
    let mut unit = Trace::new(&[1.0; 9]);
    let mut run = Run::new(&mut unit).callback(EarlyStopping::min(LOSS, 2));
    let epochs = |run: &mut Run<'_, Trace>| run.fit(&[()], &[()], Fit::epochs(9)).unwrap().train.epochs;
    assert_eq!(epochs(&mut run), 3);
    assert_eq!(epochs(&mut run), 3);
    run.go_on();
    assert_eq!(epochs(&mut run), 5);
}

#[test]
fn checks_come_where_the_phase_and_the_cadence_say() {
    let check = |rule: EarlyStopping, train: (u64, u64), eval: (u64, u64)| {
        let mut unit = Trace::new(&[1.0]);
        let mut run = Run::new(&mut unit).callback(rule.clone());
        let report = run.fit(&[(); 3], &[(); 2], Fit::epochs(20)).unwrap();
        let found = ((report.train.epochs, report.train.steps), (report.eval.epochs, report.eval.steps));
        assert_eq!(found, (train, eval), "{rule:?}");
    };
    let rule = || EarlyStopping::min(LOSS, 2);
    check(rule(), (3, 9), (3, 6));
    check(rule().every(Every::steps(1)), (2, 6), (1, 3));
    check(rule().every(Every::epochs(2)), (6, 18), (6, 12));
    check(rule().phase(Phase::Train), (3, 9), (2, 4));
    check(rule().phase(Phase::Train).every(Every::epochs(2)), (6, 18), (5, 10));
    check(rule().phase(Phase::Train).every(Every::steps(2)), (2, 6), (1, 2));
}

#[test]
fn an_epoch_in_which_it_is_not_logged_is_no_check() {
    let values = vec![Some(1.0), None, Some(1.0), None, None, Some(1.0)];
    let (check, _) = stopped(Trace { values }, EarlyStopping::min(LOSS, 2)).unwrap();
    assert_eq!(check, 6);
}

#[test]
fn a_metric_that_is_not_there_is_an_error_that_says_what_is() {
    let check = |rule: EarlyStopping, expected: &str| {
        let mut unit = Trace::new(&[1.0]);
        let error = Run::new(&mut unit).callback(rule).fit(&[()], &[()], Fit::epochs(3)).unwrap_err();
        assert_eq!(format!("{error:#}"), expected);
    };
    check(
        EarlyStopping::max(ACCURACY, 1),
        "callback EarlyStopping(max accuracy in eval) failed at eval epoch end in eval at epoch 1 step 1: \
         early stopping: `accuracy` was not logged in eval; logged in train: `loss`; logged in eval: `loss`; \
         log it in the step, or watch it in another `phase`",
    );
    check(
        EarlyStopping::max(ACCURACY, 1).phase(Phase::Train),
        "callback EarlyStopping(max accuracy in train) failed at train epoch end in train at epoch 1 step 1: \
         early stopping: `accuracy` was not logged in train; logged in train: `loss`; \
         log it in the step, or watch it in another `phase`",
    );
}

#[test]
fn settings_that_cannot_be_meant_are_refused_before_the_first_step() {
    let check = |rule: EarlyStopping, expected: &str| {
        let mut unit = Trace::new(&[1.0]);
        let mut run = Run::new(&mut unit).callback(rule);
        let error = run.fit(&[()], &[()], Fit::epochs(3)).unwrap_err();
        assert!(format!("{error:#}").ends_with(expected), "{error}");
        assert_eq!(run.state().train_progress().steps, 0);
    };
    let rule = || EarlyStopping::min(LOSS, 2);
    check(EarlyStopping::min(LOSS, 0), "early stopping: a patience of 0 stops at once; give 1 or more");
    check(
        rule().min_delta(-1.0),
        "early stopping: the minimum change is -1; give a finite number of at least 0",
    );
    check(
        rule().min_delta_relative(f64::NAN),
        "early stopping: the minimum change is NaN; give a finite number of at least 0",
    );
    check(rule().stop_at(f64::NAN), "early stopping: the threshold of `stop_at` is NaN; give a number");
    check(rule().every(Every::epochs(0)), "a cadence of 0 is never due; give 1 or more");
}

const ACCURACY: Key = Key::mean("accuracy");

/// Both of its metrics improve for ever, the loss with the steps of training.
struct Improves;

impl TrainUnit for Improves {
    type Batch = f64;
    fn train_step(&mut self, _: &mut State, _: f64) -> Result<(), BoxError> {
        Ok(())
    }
}

impl EvalUnit for Improves {
    type Batch = f64;
    fn eval_step(&mut self, state: &mut State, hardness: f64) -> Result<(), BoxError> {
        let steps = state.train_progress().steps as f64;
        state.log(LOSS, hardness / (1.0 + steps), 1.0);
        state.log(ACCURACY, 1.0 - hardness / (2.0 + steps), 1.0);
        Ok(())
    }
}

/// Continues, from a run with rules about loss and accuracy in this order, with `rules`. Returns how
/// that ended, and the notices at its start.
fn go_on(rules: Vec<EarlyStopping>) -> (Ended, Vec<String>) {
    let mut unit = Improves;
    let both = [EarlyStopping::min(LOSS, 3), EarlyStopping::max(ACCURACY, 3)];
    let mut run = both.into_iter().fold(Run::new(&mut unit), Run::callback);
    run.fit(&[0.0], &[1.0], Fit::epochs(3)).unwrap();
    let saved = run.run_state().unwrap();
    let mut unit = Improves;
    let mut run = rules.into_iter().fold(Run::new(&mut unit), Run::callback);
    run.load_run_state(&saved).unwrap();
    let report = run.fit(&[0.0], &[1.0], Fit::epochs(9)).unwrap();
    (report.ended, report.notices)
}

#[test]
fn what_was_saved_of_a_rule_goes_by_its_metric_and_goal_and_not_by_its_place() {
    let (loss, accuracy) = (EarlyStopping::min(LOSS, 3), EarlyStopping::max(ACCURACY, 3));
    let anew = |rule| format!("callback EarlyStopping({rule} in eval) begins anew: no state of it was saved");
    let unused = |rule| {
        let name = format!("EarlyStopping({rule} in eval)");
        format!("the state saved of callback {name} is not used: no such callback is registered")
    };
    let complete = |told: &[String]| (Ended::Complete, told.to_vec());
    assert_eq!(go_on(vec![loss.clone(), accuracy.clone()]), complete(&[]));
    assert_eq!(go_on(vec![accuracy.clone(), loss.clone()]), complete(&[]));
    assert_eq!(go_on(vec![accuracy.clone()]), complete(&[unused("min loss")]));
    let other = EarlyStopping::min(ACCURACY, 9);
    let told = [anew("min accuracy"), unused("max accuracy")];
    assert_eq!(go_on(vec![loss, other]), complete(&told));
}

#[test]
fn an_evaluation_by_hand_is_no_check_unless_it_is_asked_for() {
    let fit = |rule: EarlyStopping| {
        let mut unit = Improves;
        let mut run = Run::new(&mut unit).callback(rule);
        run.fit(&[0.0], &[1.0], Fit::epochs(1)).unwrap();
        for _ in 0..2 {
            run.evaluate(&[9.0], Evaluate::whole()).unwrap();
        }
        let report = run.fit(&[0.0], &[1.0], Fit::epochs(3)).unwrap();
        (report.ended, report.train.epochs)
    };
    assert_eq!(fit(EarlyStopping::min(LOSS, 2)), (Ended::Complete, 3));
    let reason = "early stopping: loss has not improved on 0.5 in 2 checks".to_owned();
    assert_eq!(fit(EarlyStopping::min(LOSS, 2).judge_evaluate()), (Ended::Finished(reason), 1));
}

#[test]
fn where_two_cadences_meet_there_is_one_check() {
    let every = Every::steps(2).or(Every::epochs(1));
    let mut unit = Improves;
    let mut run = Run::new(&mut unit).callback(EarlyStopping::min(LOSS, 1));
    let report = run.fit(&[0.0; 4], &[1.0], Fit::epochs(3).eval_every(every)).unwrap();
    assert_eq!((report.ended, report.eval.epochs), (Ended::Complete, 6));
    drop(run);
    // In training the loss falls in the second step of an epoch alone: a second look at that place, at
    // the end of the epoch, would be one without improvement.
    let log = |state: &mut State, _: &mut Improves| {
        let Progress { steps, steps_in_epoch, .. } = state.train_progress();
        state.log(LOSS, if steps_in_epoch == 1 { 1.0 / steps as f64 } else { 0.0 }, 1.0);
    };
    let rule = EarlyStopping::min(LOSS, 1).phase(Phase::Train).every(every);
    let mut run = Run::new(&mut unit).on(Event::TrainStepStart, log).callback(rule);
    let report = run.train(&[0.0; 2], Train::epochs(3)).unwrap();
    assert_eq!(report.ended, Ended::Complete);
}

#[test]
fn a_metric_that_is_watched_with_another_reduction_is_an_error() {
    let mut unit = Improves;
    let mut run = Run::new(&mut unit).callback(EarlyStopping::min(Key::last("loss"), 1));
    let error = run.fit(&[0.0], &[1.0], Fit::epochs(1)).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback EarlyStopping(min loss in eval) failed at eval epoch end in eval at epoch 1 step 1: early \
         stopping: `loss` is watched as Last, and logged as Mean; use one key"
    );
}
