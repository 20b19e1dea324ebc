//! The monitors of parameters and gradients, on an `AutoUnit` whose numbers are known.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail and report as tests do")]

use std::sync::{Arc, Mutex};

use regimen::auto_unit::Averaging;
use regimen::callback::{Every, GradientMonitor, ParameterMonitor};
use regimen::engine::{Engine, Part, any_of};
use regimen::log::{MediaRecord, MetricLog, MetricSink, Record};
use regimen::metric::Media;
use regimen::run::Train;
use regimen::saved::{Array, Dtype, StateDict};
use regimen::{AutoUnit, BoxError, Loss, Run, Step, Task};
use regimen_test::toy::{ToyArray, ToyEngine, ToyLinear, ToyOptimizer, ToyVars};

/// The loss is the output of the layer for the input of the batch. So its gradient is the input for the
/// weight, and 1 for the bias.
struct Output;

impl Task<ToyEngine<ToyLinear>> for Output {
    type Batch = ToyArray;
    type Output = ();

    fn compute_loss(
        &mut self,
        _: &Step,
        layer: &ToyLinear,
        batch: &ToyArray,
    ) -> Result<(Loss<ToyArray>, ()), BoxError> {
        Ok((Loss::mean(layer.forward(batch).mean(), 1.0), ()))
    }
}

/// A weight of 3 and a bias of 4, whose norm is 5.
fn unit() -> AutoUnit<ToyEngine<ToyLinear>, Output> {
    let mut vars = ToyVars::new();
    let layer = ToyLinear::new(&mut vars, "layer", 1, 1);
    let mut engine = ToyEngine::new(vars, layer, ToyOptimizer::sgd(0.0));
    let mut weights = StateDict::new();
    let number = |shape, number: f64| Array::new(Dtype::F64, shape, number.to_le_bytes().into()).unwrap();
    weights.insert("layer.weight", number(vec![1, 1], 3.0)).unwrap();
    weights.insert("layer.bias", number(vec![1], 4.0)).unwrap();
    engine.load_state(Part::Module, &weights).unwrap();
    AutoUnit::new(engine, Output).learning_rate(0.4)
}

/// Inputs of 0.75, for which the norm of the gradient is 1.25, and a step moves the parameters by 0.5.
fn data() -> [ToyArray; 2] {
    [(); 2].map(|()| ToyArray::new(&[1, 1], &[0.75]))
}

/// Notes all but the loss.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl MetricSink for Notes {
    fn write(&mut self, records: &[Record<'_>]) -> Result<(), BoxError> {
        for Record { step, name, value, epoch, .. } in
            records.iter().filter(|record| record.name != "train/loss")
        {
            let at = epoch.map_or(format!("{step}"), |epoch| format!("epoch {epoch}"));
            self.0.lock().unwrap().push(format!("{at}: {name} {value:.4}"));
        }
        Ok(())
    }

    fn write_media(
        &mut self,
        MediaRecord { step, name, media, .. }: &MediaRecord<'_>,
    ) -> Result<(), BoxError> {
        let Media::Histogram(histogram) = media else { return Err("no histogram".into()) };
        let (counts, value) = (histogram.counts(), histogram.min());
        self.0.lock().unwrap().push(format!("{step}: histogram {name} {counts:?} {value:.4}"));
        Ok(())
    }
}

#[track_caller]
fn check(
    mut unit: AutoUnit<ToyEngine<ToyLinear>, Output>,
    monitor: Option<ParameterMonitor>,
    every: Every,
    expected: &[&str],
) {
    let notes = Notes::default();
    let mut run = Run::new(&mut unit).callback(MetricLog::to(notes.clone()).every(every));
    if let Some(monitor) = monitor {
        run = run.callback(monitor);
    }
    run.train(&data(), Train::epochs(1)).unwrap();
    assert_eq!(*notes.0.lock().unwrap(), expected);
}

#[test]
fn every_parameter_of_the_module_is_logged_at_the_end_of_an_epoch() {
    // After two steps of 0.3 and 0.4. The averaged weights are none of them.
    let unit = unit().average(Averaging::ema(0.5));
    check(
        unit,
        Some(ParameterMonitor::new()),
        Every::epochs(1),
        &[
            "2: histogram parameters/module/layer.bias [1] 3.2000",
            "2: histogram parameters/module/layer.weight [1] 2.4000",
            "epoch 1: parameter_norm/module/layer.bias 3.2000",
            "epoch 1: parameter_norm/module/layer.weight 2.4000",
        ],
    );
}

#[test]
fn a_pattern_chooses_parameters_and_a_ratio_is_over_those() {
    check(
        unit(),
        Some(ParameterMonitor::new().only(any_of(["*.bias"])).update_ratio()),
        Every::steps(2).or(Every::epochs(1)),
        // The bias is 3.6 before the second step, and is moved by 0.4.
        &[
            "2: train/update_ratio 0.1111",
            "2: histogram parameters/module/layer.bias [1] 3.2000",
            "epoch 1: train/update_ratio 0.1111",
            "epoch 1: parameter_norm/module/layer.bias 3.2000",
        ],
    );
}

#[test]
fn the_ratio_is_measured_in_steps_that_make_an_update() {
    let monitor = || Some(ParameterMonitor::new().only(any_of(["none"])).update_ratio());
    let of_all = Some(ParameterMonitor::new().update_ratio());
    let every = Every::steps(1);
    // 0.5 of 5, then of 4.5.
    let mut expected = vec!["1: train/update_ratio 0.1000", "2: train/update_ratio 0.1111"];
    let histograms = [
        "2: histogram parameters/module/layer.bias [1] 3.2000",
        "2: histogram parameters/module/layer.weight [1] 2.4000",
    ];
    expected.extend(histograms);
    check(unit(), of_all, every, &expected);
    check(unit(), monitor(), every, &[]);
    let accumulated = Some(ParameterMonitor::new().update_ratio());
    let expected = [
        "2: train/update_ratio 0.1000",
        "2: histogram parameters/module/layer.bias [1] 3.6000",
        "2: histogram parameters/module/layer.weight [1] 2.7000",
    ];
    check(unit().accumulate(2), accumulated, every, &expected);
}

#[test]
fn the_norm_of_gradients_is_that_before_they_are_clipped() {
    let unit = unit().before_update(GradientMonitor::new().into_hook()).clip_norm(0.1);
    check(
        unit,
        None,
        Every::steps(1).or(Every::epochs(1)),
        &[
            "1: train/gradient_norm 1.2500",
            "2: histogram gradients/layer.bias [1] 1.0000",
            "2: histogram gradients/layer.weight [1] 0.7500",
            "2: train/gradient_norm 1.2500",
            "epoch 1: train/gradient_norm 1.2500",
        ],
    );
}

#[test]
fn a_pattern_chooses_histograms_and_a_step_that_is_not_logged_has_no_norm() {
    let monitor = GradientMonitor::new().only(any_of(["*.weight"]));
    check(
        unit().before_update(monitor.into_hook()),
        None,
        Every::epochs(1),
        &["2: histogram gradients/layer.weight [1] 0.7500", "epoch 1: train/gradient_norm 1.2500"],
    );
    // The norm of the first step would be 1.
    let notes = Notes::default();
    let mut unit = unit().before_update(GradientMonitor::new().only(|_| false).into_hook());
    let mut run = Run::new(&mut unit).callback(MetricLog::to(notes.clone()).every(Every::epochs(1)));
    run.train(&[0.0, 0.75].map(|x| ToyArray::new(&[1, 1], &[x])), Train::epochs(1)).unwrap();
    assert_eq!(*notes.0.lock().unwrap(), ["epoch 1: train/gradient_norm 1.2500"]);
}
