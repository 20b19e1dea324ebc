//! Every kind of value in the logs that need no server: metrics, a text, an image, a sound, histograms and
//! hyper-parameters of one training, for TensorBoard, for Weights & Biases and in files.

use regimen::callback::{Event, Every, LearningRateMonitor, ParameterMonitor, SystemMonitor};
use regimen::log::{GraphNode, MetricLog};
use regimen::metric::{Audio, Image};
use regimen::state::HyperParameters;
use regimen::{BoxError, Fit, Run, State};
use regimen_examples::digits::{Digits, Split};
use regimen_examples::reading::{EVAL_ACCURACY, loader, unit};

const EPOCHS: u64 = 8;

fn main() -> Result<(), BoxError> {
    let Split { train, validation, .. } = Digits::bundled()?.split();
    let (pixels, digit) = validation.first().cloned().ok_or("there are no digits")?;
    let picture = Image::grey(8, 8, pixels.iter().map(|grey| (grey * 255.0) as u8).collect())?;
    let wave: Vec<f32> =
        (0..4000).map(|i| 0.3 * (i as f32 / 8000.0 * 440.0 * std::f32::consts::TAU).sin()).collect();
    let tone = Audio::mono(8000, &wave)?;
    let network = [
        GraphNode::new("images", "Input").shape([64, 64]),
        GraphNode::new("network/hidden", "Linear").input("images"),
        GraphNode::new("network/relu", "Relu").input("network/hidden"),
        GraphNode::new("network/output", "Linear").input("network/relu"),
    ];

    let mut unit = unit(7)?;
    let each = Every::steps(1).or(Every::epochs(1));
    let mut run = Run::new(&mut unit)
        .hyper_parameters(
            HyperParameters::new()
                .with("optimizer", "adam")
                .with("learning_rate", 5e-3)
                .with("epochs", EPOCHS),
        )
        .callback(LearningRateMonitor::new())
        .callback(ParameterMonitor::new())
        .callback(SystemMonitor::new())
        .on(Event::EvalEpochEnd, move |state: &mut State, _: &mut _| {
            let accuracy = state.value(EVAL_ACCURACY).unwrap_or_default();
            state
                .log_media("eval/report", format!("{:.1} % of the digits were read right", accuracy * 100.0));
            state.log_media(format!("eval/a_{digit}"), picture.clone());
            state.log_media("eval/done", tone.clone());
        })
        .callback(MetricLog::jsonl("runs/metrics.jsonl").every(each))
        .callback(MetricLog::wide_csv("runs/metrics.csv").every(each))
        .callback(MetricLog::tensorboard("runs/tensorboard").graph(network).every(each))
        .callback(MetricLog::wandb("runs").project("digits").every(each))
        .callback(MetricLog::stdout().every(Every::epochs(1)).only(|name| name.starts_with("eval/")));
    run.fit(&loader(train), &loader(validation), Fit::epochs(EPOCHS))?;

    println!("tensorboard --logdir runs");
    println!("wandb sync runs/wandb/offline-run-*");
    Ok(())
}
