//! Sweeps over learning rates, against sums by hand.

use regimen::auto_unit::{NonFinite, Plateau, TRAIN_LOSS};
use regimen::data::Rank;
use regimen::engine::{Engine, Part};
use regimen::finder::{LearningRateCurve, LearningRateFinder};
use regimen::run::Train;
use regimen::saved::Array;
use regimen::schedule::LearningRates;
use regimen::state::Phase;
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyOptimizer, ToyVars};

/// `x * w` is to be `3 * x`.
struct Slope;

impl Task<ToyEngine<ToyArray>> for Slope {
    type Batch = f64;
    type Output = ();

    fn compute_loss(&mut self, _: &Step, w: &ToyArray, x: &f64) -> Result<(Loss<ToyArray>, ()), BoxError> {
        // A batch of 0 counts for nothing.
        let weight = if *x == 0.0 { 0.0 } else { 1.0 };
        let [x, y] = [*x, 3.0 * x].map(|value| ToyArray::new(&[1, 1], &[value]));
        Ok((Loss::mean(x.matmul(w).mean_squared_error(&y), weight), ()))
    }
}

/// With a first weight of 1.
fn unit() -> AutoUnit<ToyEngine<ToyArray>, Slope> {
    let mut vars = ToyVars::new();
    let w = vars.parameter("w", &[1, 1], 1.0);
    let mut unit = AutoUnit::new(ToyEngine::new(vars, w, ToyOptimizer::sgd(0.0)), Slope);
    begin_anew(&mut unit);
    unit
}

/// Sets the weight to 1.
fn begin_anew(unit: &mut AutoUnit<ToyEngine<ToyArray>, Slope>) {
    let mut weights = unit.engine().state(Part::Module).unwrap();
    let w = weights.remove("w").unwrap();
    let one = Array::from_slice(&[1.0_f64]).into_bytes();
    weights.insert("w", Array::new(w.dtype(), w.shape().to_vec(), one).unwrap()).unwrap();
    unit.load_weights(&weights).unwrap();
}

/// The same sweep by hand: rates and losses.
fn by_hand(data: &[f64], per_update: usize, rates: &[f64]) -> Vec<(f64, f64)> {
    let mut w = 1.0;
    let mut batches = data.chunks(per_update).cycle();
    let mut points = Vec::new();
    for &rate in rates {
        let window = batches.next().unwrap();
        let mean = |f: &dyn Fn(f64) -> f64| window.iter().map(|&x| f(x)).sum::<f64>() / window.len() as f64;
        points.push((rate, mean(&|x| ((w - 3.0) * x).powi(2))));
        w -= rate * mean(&|x| 2.0 * (w - 3.0) * x * x);
    }
    points
}

#[track_caller]
fn check(curve: &LearningRateCurve, expected: &[(f64, f64)]) {
    assert_eq!(curve.points().len(), expected.len(), "{curve}");
    let near = |found: f64, expected: f64| (found - expected).abs() <= 1e-12 * expected.abs();
    for (i, (point, (rate, loss))) in curve.points().iter().zip(expected).enumerate() {
        assert!(near(point.rate, *rate) && near(point.loss, *loss), "{point:?} is not {rate}, {loss}");
        // The weights of the average, summed up.
        let weighted = expected[..=i].iter().rev().zip(0..).map(|((_, loss), n)| (0.98_f64.powi(n), loss));
        let (weights, sum) = weighted.fold((0.0, 0.0), |(all, sum), (w, loss)| (all + w, sum + w * loss));
        assert!(near(point.smoothed, sum / weights), "{point:?} is not smoothed to {}", sum / weights);
    }
}

#[test]
fn the_points_are_those_of_a_sweep_by_hand() {
    let powers: Vec<f64> = (0..40).map(|i| 1e-4 * 1e3_f64.powf(f64::from(i) / 39.0)).collect();
    let (data, sweep) = ([1.0, 2.0, 0.5], LearningRateFinder::new().low(1e-4).high(0.1).updates(40));
    let curve = sweep.find(&mut Run::new(&mut unit()), &data).unwrap();
    check(&curve, &by_hand(&data, 1, &powers));
    // The end of an epoch ends a window.
    let curve = sweep.find(&mut Run::new(&mut unit().accumulate(2)), &data).unwrap();
    check(&curve, &by_hand(&data, 2, &powers));
    let steps: Vec<f64> = (0..40).map(|i| 1e-4 + (0.1 - 1e-4) * f64::from(i) / 39.0).collect();
    let curve = sweep.linear().find(&mut Run::new(&mut unit()), &data).unwrap();
    check(&curve, &by_hand(&data, 1, &steps));
}

#[test]
fn the_sweep_has_its_own_rates_and_only_the_factors_of_groups() {
    let powers: Vec<f64> = (0..40).map(|i| 1e-4 * 1e3_f64.powf(f64::from(i) / 39.0)).collect();
    let data = [1.0, 2.0, 0.5];
    let plateau = Plateau::min(TRAIN_LOSS).phase(Phase::Train).patience(0).threshold_absolute(1e9);
    let mut unit = unit()
        .learning_rate(7.0)
        .group_learning_rate("default", |updates: u64| 0.01 + updates as f64 / 1e3)
        .scale_learning_rate("default", 0.5)
        .reduce_on_plateau(plateau);
    let mut run = Run::new(&mut unit);
    let sweep = LearningRateFinder::new().low(2e-4).high(0.2).updates(40);
    for _ in 0..2 {
        let curve = sweep.find(&mut run, &data).unwrap();
        // The losses are those of half the rates.
        let losses = by_hand(&data, 1, &powers);
        check(&curve, &losses.iter().map(|(rate, loss)| (2.0 * rate, *loss)).collect::<Vec<_>>());
        // Also after training, when the plateau has reduced the rates.
        run.train(&data, Train::epochs(3)).unwrap();
        let at = run.state().train_progress().updates as f64;
        let rate = run.unit().learning_rates()[0].1;
        assert!((rate - (0.01 + at / 1e3) * 0.5 * 1e-2).abs() < 1e-15, "{rate} after {at}");
        begin_anew(run.unit_mut());
    }
}

#[test]
fn a_sweep_ends_where_the_loss_diverges() {
    let data = [1.0];
    let mut unit = unit();
    let mut run = Run::new(&mut unit);
    let sweep = LearningRateFinder::new().low(1e-3).high(1e3);
    let curve = sweep.find(&mut run, &data).unwrap();
    // A step of a rate above 1 leaves a greater distance than it found.
    let (last, before) = (curve.points().len() - 1, curve.points().len() - 2);
    let best = curve.points().iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
    assert!(curve.points()[last].smoothed > 4.0 * best && curve.points()[before].smoothed <= 4.0 * best);
    assert!(curve.points()[last].rate < 100.0, "{curve}");
    let suggestions = [curve.suggestion(), curve.steepest(), curve.minimum()].map(Option::unwrap);
    assert!(suggestions.iter().all(|&rate| 1e-2 < rate && rate < 1.0), "{suggestions:?}");
    // A training with it comes to the minimum, and one at the hundredfold or a hundredth does not.
    let loss = |rate: f64| {
        let mut unit = self::unit().learning_rate(rate).non_finite(NonFinite::Ignore);
        let report = Run::new(&mut unit).train(&data, Train::epochs(30)).unwrap();
        report.metric(TRAIN_LOSS).unwrap()
    };
    let rate = curve.suggestion().unwrap();
    assert!(loss(rate) < 0.1, "{}", loss(rate));
    assert!(loss(rate / 100.0) > 1.0 && loss(rate * 100.0) > 4.0);
}

#[test]
fn a_number_that_is_not_finite_ends_a_sweep_under_every_policy() {
    for policy in [NonFinite::Error, NonFinite::Skip, NonFinite::Ignore] {
        let sweep = LearningRateFinder::new().low(1e-3).high(1e150).updates(20).stop_above(f64::INFINITY);
        let mut run_of = unit().non_finite(policy);
        let curve = sweep.find(&mut Run::new(&mut run_of), &[1.0]).unwrap();
        assert!((2..20).contains(&curve.points().len()), "{policy:?}: {curve}");
        assert!(curve.points().iter().all(|point| point.loss.is_finite() && point.smoothed.is_finite()));
        let error = sweep.find(&mut Run::new(&mut run_of), &[f64::NAN]).unwrap_err();
        let expected = match policy {
            NonFinite::Error => {
                "unit failed in train_step in train at epoch 0 step 0: the loss is not finite: NaN"
            }
            _ => {
                "`LearningRateFinder`: no update was made before the call was paused: the loss is not finite"
            }
        };
        assert_eq!(format!("{error:#}"), expected);
    }
}

#[test]
fn a_loss_below_zero_does_not_end_a_sweep_at_once() {
    /// The loss of [`Slope`] less 10.
    struct Below;
    impl Task<ToyEngine<ToyArray>> for Below {
        type Batch = f64;
        type Output = ();
        fn compute_loss(
            &mut self,
            step: &Step,
            w: &ToyArray,
            x: &f64,
        ) -> Result<(Loss<ToyArray>, ()), BoxError> {
            let (loss, ()) = Slope.compute_loss(step, w, x)?;
            let ten = ToyArray::new(&[], &[-10.0]);
            Ok((Loss::mean(loss.mean.add(&ten), 1.0), ()))
        }
    }
    let mut unit = AutoUnit::new(unit().into_parts().0, Below);
    let curve = LearningRateFinder::new().high(0.1).find(&mut Run::new(&mut unit), &[1.0]).unwrap();
    assert_eq!(curve.points().len(), 100);
}

#[test]
fn settings_that_cannot_be_used_are_refused() {
    let new = LearningRateFinder::new;
    let check = |sweep: LearningRateFinder, expected: &str| {
        let error = sweep.find(&mut Run::new(&mut unit()), &[1.0]).unwrap_err();
        assert_eq!(error.to_string(), format!("`LearningRateFinder`: {expected}"));
    };
    check(new().low(0.0), "rates from 0 to 1; give a positive `low`, and a greater `high`");
    check(new().low(2.0), "rates from 2 to 1; give a positive `low`, and a greater `high`");
    check(
        new().high(f64::INFINITY),
        "rates from 0.0000001 to inf; give a positive `low`, and a greater `high`",
    );
    check(new().low(f64::NAN), "rates from NaN to 1; give a positive `low`, and a greater `high`");
    check(new().updates(1), "a sweep of 1 updates; give at least 2");
    check(new().stop_above(0.5), "`stop_above` is 0.5; give a factor of at least 1");
    let mut unit = unit();
    let mut run = Run::new(&mut unit).rank(Rank { index: 0, count: 2 });
    let error = new().find(&mut run, &[1.0]).unwrap_err().to_string();
    assert_eq!(
        error,
        "`LearningRateFinder`: not among several ranks; find it in a run of one, and give all ranks the result"
    );
    // Data that count for nothing would be passed over for ever.
    let error = new().find(&mut Run::new(&mut self::unit()), &[0.0]).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "callback Watch failed at train epoch end in train at epoch 1 step 1: an epoch without a loss: the weight of \
         each is 0"
    );
    // Whatever else fails is the error.
    let error = new().find(&mut Run::new(&mut self::unit()), &[0.0; 0]).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "data failed in train at epoch 0 step 0: the train data gave no batch; fill it, or say `allow_empty()`"
    );
}

#[test]
fn a_curve_is_a_table_and_a_chart() {
    let sweep = LearningRateFinder::new().low(1e-3).high(1e3).updates(60);
    let curve = sweep.find(&mut Run::new(&mut unit()), &[1.0]).unwrap();
    let text = curve.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "     rate      loss  smoothed");
    assert_eq!(lines[1], " 0.001000     4.000     4.000");
    assert_eq!(lines.len(), curve.points().len() + 2);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rates.svg");
    curve.figure().save_svg(&path).unwrap();
    let svg = std::fs::read_to_string(&path).unwrap();
    assert!(svg.contains(">suggestion: 0.06769</text>") && svg.contains(">1e-2</text>"), "{svg}");
    // The last is far above all others, and left out.
    let shown =
        svg.lines().filter(|line| line.contains("#1f77b4")).flat_map(|line| line.split("points=").nth(1));
    let shown: usize = shown.map(|points| points.matches(',').count()).sum();
    assert_eq!(shown, curve.points().len() - 1);
    let chart = curve.figure().to_string();
    assert_eq!(chart.lines().next(), Some("     loss, smoothed   | suggestion: 0.06769"), "{chart}");
}
