//! `Runner` and `FitLoop` on Burn, beside units written by hand.

#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use regimen::auto_unit::{Averaging, EVAL_LOSS, StepResults};
use regimen::data::{DataExt, Loader};
use regimen::fitloop::{FitLoop, Set, max, record};
use regimen::metric::Key;
use regimen::run::{Evaluate, Predict};
use regimen::runner::Runner;
use regimen::saved::save_parts;
use regimen::schedule::Phases;
use regimen::{AutoUnit, BoxError, Fit, Loss, Run, State, Step, Task};
use regimen_burn::burn::module::Module;
use regimen_burn::burn::nn::loss::CrossEntropyLossConfig;
use regimen_burn::burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use regimen_burn::burn::optim::AdamConfig;
use regimen_burn::burn::tensor::activation::tanh;
use regimen_burn::burn::tensor::{Device, Int, Tensor, TensorData};
use regimen_burn::{Burn, accuracy, burn, correct, cross_entropy, device, host_reads, initialize};

type Points = Tensor<2>;
type Sectors = Tensor<1, Int>;

const EVAL_ACCURACY: Key = Key::mean("eval/accuracy");

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    dropout: Dropout,
    output: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Net {
            hidden: LinearConfig::new(2, 16).init(device),
            dropout: DropoutConfig::new(0.25).init(),
            output: LinearConfig::new(16, 3).init(device),
        }
    }

    fn forward(&self, points: Points) -> Tensor<2> {
        self.output.forward(self.dropout.forward(tanh(self.hidden.forward(points))))
    }
}

/// Burn's CPU generator is one for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

fn engine() -> Burn<Net> {
    let cpu = device("cpu").unwrap();
    Burn::new(initialize(7, &cpu, Net::new).unwrap(), AdamConfig::new().init(), &cpu).unwrap()
}

/// Points on a circle with their sectors.
fn loader(numbers: std::ops::Range<usize>) -> Loader<(Points, Sectors)> {
    let batch = |numbers: Vec<usize>| {
        let angle = |&n: &usize| n as f32 * 2.4 % std::f32::consts::TAU;
        let points: Vec<f32> = numbers.iter().map(angle).flat_map(|a| [a.cos(), a.sin()]).collect();
        let sectors: Vec<i64> = numbers.iter().map(angle).map(|a| (a / 2.1) as i64).collect();
        let cpu = device("cpu")?;
        let points = Tensor::from_data(TensorData::new(points, [numbers.len(), 2]), &cpu);
        Ok((points, Tensor::from_data(&*sectors, &cpu)))
    };
    Loader::collate(numbers.collect::<Vec<_>>(), batch).batch_size(8)
}

/// The same by hand.
struct ReadSectors;

impl Task<Burn<Net>> for ReadSectors {
    type Batch = (Points, Sectors);
    type Output = Tensor<2>;

    fn compute_loss(
        &mut self,
        _: &Step,
        net: &Net,
        (points, sectors): &(Points, Sectors),
    ) -> Result<(Loss<Tensor<1>>, Tensor<2>), BoxError> {
        let logits = net.forward(points.clone());
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = loss.forward(logits.clone(), sectors.clone());
        Ok((Loss::mean(loss, points.dims()[0] as f64), logits))
    }

    fn on_eval_step_end(
        &mut self,
        state: &mut State,
        (_, sectors): &(Points, Sectors),
        results: StepResults<Tensor<2>>,
    ) -> Result<(), BoxError> {
        let right = results.output.argmax(1).flatten::<1>(0, 1).equal(sectors.clone()).int().sum();
        let share = right.into_scalar::<f32>() / results.weight as f32;
        state.log(EVAL_ACCURACY, f64::from(share), results.weight);
        Ok(())
    }
}

/// Accumulation, clipping, an average and phases of the rate.
fn settings<T: Task<Burn<Net>>>(unit: AutoUnit<Burn<Net>, T>) -> AutoUnit<Burn<Net>, T> {
    let phases = Phases::new(0.05, 4).unwrap().linear(1.0, 0.1, 1.0).unwrap();
    let phases = phases.cosine(2.0, 1.0, 0.01).unwrap();
    unit.accumulate(2).clip_norm(0.5).average(Averaging::ema(0.9)).learning_rate(phases)
}

fn by_hand() -> (AutoUnit<Burn<Net>, ReadSectors>, [f64; 2]) {
    let mut unit = settings(AutoUnit::new(engine(), ReadSectors));
    let report =
        Run::new(&mut unit).seed(3).fit(&loader(0..60).shuffle(), &loader(60..80), Fit::epochs(3)).unwrap();
    let values = [EVAL_LOSS, EVAL_ACCURACY].map(|key| report.metric(key).unwrap());
    (unit, values)
}

#[test]
fn a_runner_trains_evaluates_and_predicts_as_a_unit_by_hand() {
    let _alone = alone();
    let mut runner = Runner::new(engine(), |net, points: &Points| net.forward(points.clone()), cross_entropy)
        .metric("accuracy", accuracy(1))
        .map_unit(settings)
        .seed(3);
    let report = runner.fit(&loader(0..60).shuffle(), &loader(60..80), Fit::epochs(3)).unwrap();
    let (mut expected, values) = by_hand();
    assert_eq!([EVAL_LOSS, EVAL_ACCURACY].map(|key| report.metric(key).unwrap()), values);
    assert_eq!(save_parts(runner.unit_mut()).unwrap(), save_parts(&mut expected).unwrap());

    let report = runner.evaluate(&loader(60..80), Evaluate::whole()).unwrap();
    assert_eq!([EVAL_LOSS, EVAL_ACCURACY].map(|key| report.metric(key).unwrap()), values);
    let mut shapes = Vec::new();
    let points = loader(60..80).map_batches(|(points, _)| points);
    let keep = |logits: Tensor<2>| {
        shapes.push(logits.dims());
        Ok(())
    };
    runner.predict(&points, Predict::whole(), keep).unwrap();
    assert_eq!(shapes, [[8, 3], [8, 3], [4, 3]]);
}

#[test]
fn a_fit_by_stages_ends_with_the_parameters_of_a_unit_by_hand() {
    let _alone = alone();
    let mut trainer =
        FitLoop::new(engine(), |net, points: &Points| net.forward(points.clone()), cross_entropy)
            .train_data(loader(0..60).shuffle())
            .valid_data(loader(60..80))
            .test_data(loader(60..80))
            .step(|s| {
                let logits = s.output();
                let right = correct(1, &logits, &s.batch().1);
                Ok((s.loss(&logits)?, record! { running_right: right }))
            })
            .epoch_end(|s| {
                Ok(record! { loss: s.mean("loss")?, accuracy: s.sum("running_right")? / s.size() })
            })
            .criteria(max("accuracy"))
            .load_best(false)
            .map_unit(settings)
            .seed(3);
    trainer.fit(3).unwrap();
    let (mut expected, [loss, accuracy]) = by_hand();
    let mut found = save_parts(trainer.runner().unit_mut()).unwrap();
    found.remove("task");
    assert_eq!(found, save_parts(&mut expected).unwrap());

    let near = |record: &[(String, f64)]| {
        let names: Vec<&str> = record.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["loss", "accuracy"]);
        assert!((record[0].1 - loss).abs() < 1e-6 && (record[1].1 - accuracy).abs() < 1e-6, "{record:?}");
    };
    near(trainer.record(Set::Valid));
    trainer.test().unwrap();
    near(trainer.record(Set::Test));
}

#[test]
fn metrics_of_either_door_wait_for_no_device() {
    let _alone = alone();
    let runner = || {
        let engine = engine().reads_later(true);
        Runner::new(engine, |net, points: &Points| net.forward(points.clone()), cross_entropy)
    };
    let reads = |mut runner: Runner<'_, _>| {
        let before = host_reads();
        runner.evaluate(&loader(0..60), Evaluate::whole()).unwrap();
        host_reads() - before
    };
    // All numbers of an epoch are read at its end, in one piece.
    assert_eq!(reads(runner()), 1);
    assert_eq!(reads(runner().metric("accuracy", accuracy(1))), 1);
}
